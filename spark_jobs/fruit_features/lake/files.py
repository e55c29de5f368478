"""Holds the columns of the lake's Parquet files, and reads and writes them as Arrow tables."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fruit_contract import tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from obstore import Bytes

_TYPES: Final = {
    "string": pa.string(),
    "int": pa.int32(),
    "list<float>": pa.list_(pa.float32()),
    "list<double>": pa.list_(pa.float64()),
}
_LONG: Final = frozenset({tables.SIZE_BYTES, tables.N_SAMPLES, tables.CONTENT_DIGEST})
# A reader holds so many rows at a time. 2,048 vectors are 10 MB, and 21 MB in float64.
ROWS_AT_ONCE: Final = 2048
# A row of features takes about this much in its file.
BYTES_A_ROW: Final = 5_200
# So few rows of features are read by the driver, which is done before a Spark job would begin.
ROWS_READ_BY_DRIVER: Final = 2_048
_ROWS_PER_ROW_GROUP: Final = 8_192


class DamagedFileError(OSError):
    """Raised if a file of the lake is not as it was written: it is cut off, another one, or some bytes have changed."""


def _schema(columns: Sequence[str]) -> pa.Schema:
    return pa.schema([(name, pa.int64() if name in _LONG else _TYPES[tables.COLUMN_TYPES[name]]) for name in columns])


FEATURES: Final = _schema(tables.FEATURES_COLUMNS)
REJECTED: Final = _schema(tables.REJECTED_COLUMNS)
PROJECTIONS: Final = _schema(tables.PROJECTIONS_COLUMNS)
MOMENTS: Final = _schema(tables.MOMENTS_COLUMNS)
LEDGER: Final = _schema(tables.LEDGER_COLUMNS)


def features_to_parquet(rows: pa.Table) -> memoryview:
    """Returns the content of a file of `features/`.

    It has a dictionary for the embedder, the only column whose values repeat, and no statistics of the vectors.
    """
    without_vectors = [name for name in FEATURES.names if name != tables.VECTOR]
    return _to_parquet(rows, "snappy", use_dictionary=[tables.EMBEDDER_ID], write_statistics=without_vectors)


def projections_to_parquet(rows: pa.Table) -> memoryview:
    """Returns the content of a file of `projections/`."""
    return _to_parquet(rows, "snappy", use_dictionary=False, write_statistics=[tables.IMAGE_KEY])


def moments_to_parquet(rows: pa.Table) -> memoryview:
    """Returns the content of a file of `moments/`, without dictionary or compression: no two numbers are alike."""
    return _to_parquet(rows, "none", use_dictionary=False, write_statistics=False)


def rows_to_parquet(rows: pa.Table, metadata: Mapping[str, str] | None = None) -> memoryview:
    """Returns the content of a file of `ledger/` or `rejected/`, with `metadata` in its footer."""
    return _to_parquet(rows, "zstd", row_group_size=131_072, metadata=metadata)


@contextmanager
def open_parquet(uri: str, content: Bytes | memoryview) -> Iterator[pq.ParquetFile]:
    """Opens a file of the lake. Pages that carry a checksum are compared with it as they are read.

    Raises DamagedFileError, which names the file by its `uri`, if something in it can't be read within the context.
    """
    try:
        yield pq.ParquetFile(pa.BufferReader(pa.py_buffer(content)), page_checksum_verification=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{uri} is not as it was written: {error}") from error


def read_batches(uri: str, content: Bytes | memoryview, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yields a file's rows, 2,048 at a time. Raises DamagedFileError if they can't be read."""
    with open_parquet(uri, content) as file:
        n_values = Counter(dict.fromkeys(columns, 0))
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(columns), use_threads=False):
            n_values.update(_n_values(batch))
            yield batch
        _require_all_values(file, n_values)


def read_rows(uri: str, content: Bytes | memoryview, columns: Sequence[str]) -> pa.Table:
    """Returns a file's rows. Raises DamagedFileError if they can't be read."""
    with open_parquet(uri, content) as file:
        rows = file.read(columns=list(columns), use_threads=False)
        _require_all_values(file, dict.fromkeys(columns, 0) | _n_values(rows))
        return rows


def rejected_rows(rows: pa.Table) -> pa.Table:
    """Returns the rows of a ledger whose images were rejected."""
    return rows.filter(pc.equal(rows.column(tables.STATUS), tables.Status.REJECTED.value))


def with_ledger_columns(rows: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """Returns the rows of a ledger with other values in some columns."""
    for name, values in columns.items():
        rows = rows.set_column(rows.schema.get_field_index(name), LEDGER.field(name), values)
    return rows


def _n_values(rows: pa.Table | pa.RecordBatch) -> dict[str, int]:
    """Returns how many values each column holds, as Parquet counts them: an empty list is one, and so is a null."""

    def count(column: pa.Array | pa.ChunkedArray) -> int:
        if not pa.types.is_list(column.type):
            return len(column)
        lengths = pc.fill_null(pc.list_value_length(column), 0)
        return int(pc.sum(pc.max_element_wise(lengths, 1), min_count=0).as_py())

    return {name: count(rows.column(name)) for name in rows.schema.names}


def _require_all_values(file: pq.ParquetFile, n_values: Mapping[str, int]) -> None:
    """Raises OSError unless these columns are there and have as many values as the footer says.

    The number of values in a page's head is not covered by the page's checksum, so a vector could be read too short.
    """
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    said = Counter[str]()
    for column in (group.column(number) for group in groups for number in range(group.num_columns)):
        said[column.path_in_schema.partition(".")[0]] += column.num_values
    for name, n in n_values.items():
        if name not in file.schema_arrow.names:
            raise OSError(f"it has no column '{name}'")
        if n != said[name]:
            raise OSError(f"'{name}' has {n} values, and the file says {said[name]}")


def _to_parquet(
    rows: pa.Table,
    compression: str,
    row_group_size: int = _ROWS_PER_ROW_GROUP,
    metadata: Mapping[str, str] | None = None,
    **options: object,
) -> memoryview:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.schema, compression=compression, write_page_checksum=True, **options) as writer:
        writer.write_table(rows, row_group_size=row_group_size)
        if metadata:
            writer.add_key_value_metadata(metadata)
    # Arrow's buffer has signed bytes, which the store does not accept as bytes.
    return memoryview(sink.getvalue()).cast("B")
