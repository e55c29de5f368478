"""Reads the ledger of an ingest date: its commit from the footer, its rows as a stream. Only this module knows both
forms of a ledger.

A ledger is one object, `ledger.parquet`, whose metadata hold the commit and whose rows ascend by image key. In the
*earlier form* it is Spark's own files (`part-*.parquet`), without a commit and in no order; the cluster's steps take
those over.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from threading import Semaphore
from typing import TYPE_CHECKING, Any, Final, cast

import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import lake as lake_layout
from fruit_contract import tables
from fruit_contract.commit import Commit, commit_from_metadata
from fruit_pipeline.lake.dates.image_rows import KNOWN, check_ascending
from fruit_pipeline.lake.facts import is_visible_parquet
from fruit_pipeline.lake.parquet import open_parquet
from fruit_pipeline.lake.store import READ_AHEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import pyarrow.parquet as pq

    from fruit_pipeline.lake.facts import DatedObject
    from fruit_pipeline.lake.store import Lake

ROWS_A_BATCH: Final = 8_192
# So many images of a ledger are looked for in the listing at once, which S3 lists in four pages.
ROWS_A_RANGE: Final = 4_000
# So much of each column of a large ledger is read at once.
_COLUMN_BUFFER_BYTES: Final = 2 * 1024 * 1024
# To read a ledger takes some 20 MB however large it is, and a run may look at sixteen dates at once. A ledger of this
# size has some 20,000 rows.
_LARGE_BYTES: Final = 1024 * 1024
_LARGE_AT_ONCE: Final = Semaphore(2)
_PLANNED_BY: Final = (tables.IMAGE_KEY, tables.ETAG, tables.CATEGORY, tables.STATUS, tables.REASON, tables.EMBEDDER_ID)


@dataclass(frozen=True)
class DateLedger:
    """Describes a date's ledger. Without a `commit`, `stored` is empty or holds the files of the earlier form.

    `leftovers` are files of the earlier form beside a commit: whoever took the date over was interrupted before it
    removed them.
    """

    stored: tuple[DatedObject, ...]
    commit: Commit | None
    leftovers: tuple[DatedObject, ...] = ()

    @property
    def is_of_earlier_form(self) -> bool:
        return bool(self.stored) and self.commit is None


def find_ledger(lake: Lake, ingest_date: str) -> DateLedger:
    """Returns a date's ledger. Raises CommitFormatError if this release can't read it."""
    return ledger_of_listing(
        lake, ingest_date, lake.list_objects(lake_layout.date_prefix(lake_layout.LEDGER, ingest_date))
    )


def ledger_of_listing(lake: Lake, ingest_date: str, listing: Iterable[DatedObject]) -> DateLedger:
    """Returns a date's ledger, as `find_ledger` does. `listing` is that of the date's folder below `ledger/`."""
    prefix = lake_layout.date_prefix(lake_layout.LEDGER, ingest_date)
    files = {stored.key: stored for stored in listing if is_visible_parquet(stored.key, prefix)}
    ledger = files.pop(lake_layout.ledger_key(ingest_date), None)
    if ledger is None:
        return DateLedger(tuple(files.values()), None)
    return DateLedger((ledger,), _read_commit(lake, ledger), tuple(files.values()))


def ledger_batches(
    lake: Lake, ledger: DateLedger, columns: Sequence[str], rows_a_batch: int = ROWS_A_BATCH
) -> Iterator[pa.RecordBatch]:
    """Yields the ledger's rows in its own order, a few thousand at once. Of a large ledger, only these columns are
    read, piece by piece.

    If two large ledgers are being read already, this waits until one of them is done.
    """
    is_large = sum(stored.size_bytes for stored in ledger.stored) > _LARGE_BYTES
    with _LARGE_AT_ONCE if is_large else nullcontext():
        for stored in ledger.stored:
            with _opened(lake, stored, buffer_size=_COLUMN_BUFFER_BYTES) as file:
                yield from file.iter_batches(rows_a_batch, columns=list(columns))


def ledger_schema(lake: Lake, ledger: DateLedger) -> tuple[pa.Schema, int]:
    """Returns the columns of the ledger's first file, and the number of rows of all its files, from their footers."""
    schema, n_rows = pa.schema([]), 0
    for stored in ledger.stored:
        with _opened(lake, stored) as file:
            schema = schema if schema.names else file.schema_arrow
            n_rows += file.metadata.num_rows
    return schema, n_rows


def known_batches(lake: Lake, ledger: DateLedger, lost: Collection[str] = ()) -> Iterator[pa.RecordBatch]:
    """Yields the ledger's images as rows of KNOWN, ascending by key. Images whose file of features/ is one of the
    `lost` ones have no features.

    Raises UnsortedImagesError if the ledger is not in order.
    """
    if ledger.is_of_earlier_form:
        batches: Iterable[pa.RecordBatch] = _sorted_batches(lake, ledger)
    else:
        batches = ledger_batches(lake, ledger, (*_PLANNED_BY, *((tables.FILE,) if lost else ())), ROWS_A_RANGE)
    gone = pa.array(sorted(lost), pa.string())
    before = None
    for batch in batches:
        columns = {name: batch.column(name).cast(pa.string()) for name in _PLANNED_BY}
        check_ascending(columns[tables.IMAGE_KEY], before)
        before = columns[tables.IMAGE_KEY][-1].as_py() if len(batch) else before
        # Spark's ledgers have ETags as S3 writes them, in quotes.
        columns[tables.ETAG] = pc.utf8_trim(columns[tables.ETAG], '"')
        is_lost = pc.is_in(batch.column(tables.FILE), gone) if lost else pa.repeat(pa.scalar(value=False), len(batch))
        yield pa.record_batch([*columns.values(), pc.invert(is_lost)], schema=KNOWN)


def values_of(column: pa.Array) -> list[Any]:
    """Returns a column as Python values. If few of them differ, each different one is made only once."""
    if len(column) and pa.types.is_string(column.type):
        encoded = column.dictionary_encode()
        if 2 * len(encoded.dictionary) < len(column):
            words = [*encoded.dictionary.to_pylist(), None]
            return [words[index] for index in encoded.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False)]
    return cast("list[Any]", column.to_pylist())


def _sorted_batches(lake: Lake, ledger: DateLedger) -> list[pa.RecordBatch]:
    """Returns the rows of an earlier form by key, through a table in Arrow's memory of about a hundred bytes a row. A
    date of this form is read only once.
    """
    batches = list(ledger_batches(lake, ledger, _PLANNED_BY))
    return pa.Table.from_batches(batches).sort_by(tables.IMAGE_KEY).to_batches(ROWS_A_RANGE) if batches else []


def _read_commit(lake: Lake, stored: DatedObject) -> Commit:
    with _opened(lake, stored) as file:
        return commit_from_metadata(lake_layout.uri(lake.bucket, stored.key), file.metadata.metadata)


def _opened(lake: Lake, stored: DatedObject, **options: Any) -> AbstractContextManager[pq.ParquetFile]:
    """Opens a ledger. A small one is read at once, of a large one only what is asked for."""
    return open_parquet(lake, stored, ranges_only=stored.size_bytes > READ_AHEAD_BYTES, **options)
