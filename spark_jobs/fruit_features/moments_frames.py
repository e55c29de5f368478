"""Moments inside Spark: one pass over features, merged where the data is; the driver sees matrices, never images."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import tables
from fruit_features.arrow_vectors import to_matrix
from fruit_features.lake_tables import schema_of
from fruit_features.moments import Moments, merge, merge_all, moments_of, pack_upper_triangle, unpack_upper_triangle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from pyspark.sql import DataFrame

_GROUP = (tables.INGEST_DATE, tables.EMBEDDER_ID)
_COLUMNS = (*_GROUP, tables.N_SAMPLES, tables.MEAN, tables.SCATTER)
# Changes when an image comes, goes, moves or changes, whatever the order of the rows.
_CONTENT_DIGEST = f"bit_xor(xxhash64({tables.IMAGE_KEY}, {tables.CONTENT_SHA256}, {tables.CATEGORY}))"
_ARROW_SCHEMA = pa.schema(
    [
        pa.field(tables.INGEST_DATE, pa.string()),
        pa.field(tables.EMBEDDER_ID, pa.string()),
        pa.field(tables.N_SAMPLES, pa.int64()),
        pa.field(tables.MEAN, pa.list_(pa.float64())),
        pa.field(tables.SCATTER, pa.list_(pa.float64())),
    ]
)


def moments_by_date(features: DataFrame) -> DataFrame:
    """One row of moments an ingest date and embedder, from rows of `features/`."""
    schema = schema_of(_COLUMNS)
    partial = features.select(*_GROUP, tables.VECTOR).mapInArrow(_accumulate, schema)
    merged = partial.repartition(tables.INGEST_DATE).mapInArrow(_merge_rows, schema)
    digests = features.groupBy(*_GROUP).agg(F.expr(_CONTENT_DIGEST).alias(tables.CONTENT_DIGEST))
    return merged.join(digests, on=list(_GROUP), how="inner")


def doubles_of(column: pa.ListArray, index: int) -> NDArray[np.float64]:
    """One list of a list<double> column as float64[n], over Arrow's own buffer."""
    values = column[index].values
    return np.frombuffer(values.buffers()[1], dtype=np.float64, count=len(values), offset=values.offset * 8)


def _accumulate(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    totals: dict[tuple[str, str], Moments] = {}
    for batch in batches:
        if batch.num_rows == 0:
            continue
        vectors = to_matrix(batch.column(2), tables.N_FEATURES)
        for group, rows in _rows_by_group(batch).items():
            part = moments_of(vectors[rows])
            totals[group] = merge(totals[group], part) if group in totals else part
    for (ingest_date, embedder_id), total in totals.items():
        yield _to_batch(ingest_date, embedder_id, total)


def _rows_by_group(batch: pa.RecordBatch) -> dict[tuple[str, str], NDArray[np.intp]]:
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, group in enumerate(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)):
        rows[group].append(index)
    return {group: np.array(indices) for group, indices in rows.items()}


def _merge_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    groups: dict[tuple[str, str], list[Moments]] = defaultdict(list)
    for group, part in _read(batches):
        groups[group].append(part)
    for (ingest_date, embedder_id), parts in groups.items():
        yield _to_batch(ingest_date, embedder_id, merge_all(parts, tables.N_FEATURES))


def _read(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[tuple[str, str], Moments]]:
    for batch in batches:
        for index in range(batch.num_rows):
            ingest_date, embedder_id, n_samples = (batch.column(column)[index].as_py() for column in range(3))
            mean, scatter = (doubles_of(batch.column(column), index) for column in (3, 4))
            yield (ingest_date, embedder_id), Moments(n_samples, mean, _unpack(scatter))


def _unpack(packed: NDArray[np.float64]) -> NDArray[np.float64]:
    return unpack_upper_triangle(packed, tables.N_FEATURES)


def _to_batch(ingest_date: str, embedder_id: str, total: Moments) -> pa.RecordBatch:
    arrays = [
        pa.array([ingest_date]),
        pa.array([embedder_id]),
        pa.array([total.n_samples], pa.int64()),
        _one_list(total.mean),
        _one_list(pack_upper_triangle(total.scatter)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_ARROW_SCHEMA)


def _one_list(values: NDArray[np.float64]) -> pa.ListArray:
    flat = np.ascontiguousarray(values, dtype=np.float64)
    doubles = pa.Array.from_buffers(pa.float64(), len(flat), [None, pa.py_buffer(flat)])
    offsets = np.array([0, len(flat)], dtype=np.int32)
    return pa.Array.from_buffers(pa.list_(pa.float64()), 1, [None, pa.py_buffer(offsets)], children=[doubles])
