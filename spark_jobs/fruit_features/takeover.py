"""Takes over dates that were written by a release without commits: what their tables agree on becomes the first commit.

In that form a ledger is a folder of Spark's files and names no files of features, so a line counts if there is a row of
features with its content. Everything else that lies there, even from an interrupted run, is garbage afterwards.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import lake, tables
from fruit_contract.commit import Commit, EmbedderFiles, file_key, file_name
from fruit_contract.tables import Status
from fruit_features.lake import files
from fruit_features.lake.commit import (
    delete_of_date,
    is_of_earlier_ledger,
    list_date,
    list_ledgers,
    no_ledger,
    projected_versions,
    put_ledger,
    put_rejected,
    read_ledger,
)
from fruit_features.lake.store import LostPlaceError, at_once
from fruit_features.lake.vectors import rows_of_embedder
from fruit_features.moments.parts import ImageMoments
from fruit_features.moments.store import write_moments
from fruit_features.spark.dealing import run_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from pyspark.sql import SparkSession

    from fruit_features.lake.commit import Ledger
    from fruit_features.lake.store import Store

_IN_PROGRESS: Final = f"{lake.LEDGER}/_in_progress/"
_STATES: Final = f"{lake.MOMENTS}/_states/"
_PROJECTED: Final = "_projected.json"


def take_over(session: Callable[[], SparkSession], store: Store, ingest_dates: Sequence[str]) -> None:
    """Gives each of these dates its first commit. A worker reads all of a date once, vectors included."""
    if not ingest_dates:
        return
    print(f"{len(ingest_dates):,} dates were written by an earlier release and are taken over.", flush=True)
    for said in run_tasks(session(), list(ingest_dates), partial(take_over_date, store)):
        print(said, flush=True)
    if not list_ledgers(store).earlier:
        # That release also wrote these objects beside its tables, even for dates that never had a ledger.
        for prefix in (_IN_PROGRESS, _STATES):
            store.delete_below(prefix)
        store.delete([f"{lake.projections_prefix(version)}{_PROJECTED}" for version in projected_versions(store)])


def take_over_date(store: Store, ingest_date: str) -> str:
    """Commits what the date's earlier tables agree on, removes the rest of them, and returns in words what it did.

    If an earlier takeover was interrupted after its commit, only the rest of it is done.
    """
    ledger = read_ledger(store, ingest_date)
    if ledger.commit is not None:
        _finish(store, ledger)
        return f"{ingest_date}: it had been taken over, and is rid of what was left beside."
    there = list_date(store, ingest_date, projected_versions(store))
    write = uuid.uuid4().hex[:12]
    rows = _read_rows(store, sorted(there.ledger), files.LEDGER.names).sort_by(tables.IMAGE_KEY)
    details = _read_rows(store, sorted(there.rejected), (tables.IMAGE_KEY, tables.DETAIL))
    found = _Found(ingest_date, rows)
    for number, key in enumerate(
        sorted(key for key in there.features if lake.parse_features_file(key) and key.endswith(".parquet"))
    ):
        found.add(
            key, files.read_rows(store.uri(key), store.read(key), files.FEATURES.names), store, f"{write}-t{number:05d}"
        )
    committed = found.rows(details)
    embedders = {}
    for embedder_id, file_rows in found.file_rows.items():
        own = found.moments[embedder_id]
        moments = write_moments(store, ingest_date, write, embedder_id, own.running.total(), own.digest)
        embedders[embedder_id] = EmbedderFiles(sum(file_rows.values()), dict(sorted(file_rows.items())), moments)
    commit = Commit(ingest_date, write, committed.num_rows, files.rejected_rows(committed).num_rows, embedders)
    try:
        ledger = put_ledger(store, no_ledger(ingest_date), committed, commit)
    except LostPlaceError:
        return f"{ingest_date}: another run has taken it over meanwhile."
    _finish(store, ledger)
    return f"{ingest_date}: {committed.num_rows:,} of {rows.num_rows:,} images are taken over; the others count as new."


def _finish(store: Store, ledger: Ledger) -> None:
    """Writes `rejected/` of a date's first commit, and removes what that does not name, the earlier ledger last.

    As long as the earlier ledger's files are there, no step computes images of the date. So if they are there after the
    listing, no running step needs what was listed.
    """
    there = list_date(store, ledger.ingest_date, projected_versions(store))
    earlier = list(filter(is_of_earlier_ledger, store.list_keys(lake.date_prefix(lake.LEDGER, ledger.ingest_date))))
    if not earlier:
        return
    put_rejected(store, ledger)
    delete_of_date(store, ledger, [key for key in there.garbage(ledger.commit) if key not in earlier])
    delete_of_date(store, ledger, earlier)


@dataclass
class _Found:
    """Holds the lines of an earlier ledger, and finds out which of them have a row of features."""

    ingest_date: str
    lines: pa.Table
    file_rows: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    moments: dict[str, ImageMoments] = field(default_factory=lambda: defaultdict(ImageMoments))

    def __post_init__(self) -> None:
        n_lines = self.lines.num_rows
        self._files = np.full(n_lines, None, dtype=object)
        self._sizes = np.zeros((n_lines, 2), dtype=np.int32)

    def add(self, key: str, features: pa.Table, store: Store, write: str) -> None:
        """Adds the rows of a file of features that belong to a line. A file that also has others is rewritten."""
        for number, embedder_id in enumerate(pc.unique(features.column(tables.EMBEDDER_ID)).to_pylist()):
            own = rows_of_embedder(features, embedder_id)
            lines, taken = self._lines_of(own, embedder_id)
            if not len(lines):
                continue
            name = file_name(key)
            rows = own.filter(pa.array(taken))
            if len(lines) < features.num_rows:
                name = f"{name.rpartition('/')[0]}/{write}-{number:02d}.parquet"
                store.write(file_key(self.ingest_date, name), files.features_to_parquet(rows))
            self.file_rows[embedder_id][name] = len(lines)
            self._files[lines] = file_key(self.ingest_date, name)
            self._sizes[lines] = np.column_stack(
                [rows.column(side).to_numpy() for side in (tables.WIDTH, tables.HEIGHT)]
            )
            for batch in rows.to_batches():
                self.moments[embedder_id].add(batch)

    def rows(self, details: pa.Table) -> pa.Table:
        """Returns the rows of the first commit: lines with features and their file, and rejects with their details."""
        has_file = np.array([file is not None for file in self._files], dtype=bool)
        found = pc.index_in(self.lines.column(tables.IMAGE_KEY), details.column(tables.IMAGE_KEY).combine_chunks())
        columns = {
            tables.FILE: pa.array(list(self._files), pa.string()),
            tables.WIDTH: pa.array(self._sizes[:, 0], mask=~has_file),
            tables.HEIGHT: pa.array(self._sizes[:, 1], mask=~has_file),
            tables.DETAIL: pc.take(details.column(tables.DETAIL), found),
        }
        rows = files.with_ledger_columns(self.lines, columns)
        is_rejected = pc.equal(rows.column(tables.STATUS), Status.REJECTED.value)
        return rows.filter(pc.or_(is_rejected, pa.array(has_file)))

    def _lines_of(self, features: pa.Table, embedder_id: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Returns the numbers of the lines that get their features from these rows, and which rows those are."""
        index = pc.index_in(features.column(tables.IMAGE_KEY), self.lines.column(tables.IMAGE_KEY).combine_chunks())
        line = self.lines.take(index)
        conditions = [
            pc.equal(line.column(tables.CONTENT_SHA256), features.column(tables.CONTENT_SHA256)),
            pc.equal(line.column(tables.EMBEDDER_ID), embedder_id),
            pc.equal(line.column(tables.STATUS), Status.FEATURISED.value),
        ]
        is_of_line = np.logical_and.reduce([pc.fill_null(condition, False).to_numpy() for condition in conditions])
        numbers = pc.fill_null(index, 0).to_numpy()
        taken = np.zeros(len(numbers), dtype=bool)
        seen: set[int] = set()
        for row in np.flatnonzero(is_of_line):
            number = int(numbers[row])
            if self._files[number] is None and number not in seen:
                taken[row] = True
                seen.add(number)
        return numbers[taken], taken


def _read_rows(store: Store, keys: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Reads the rows of some files. A column that a file lacks has nulls."""
    schema = pa.schema([files.LEDGER.field(name) for name in columns])
    rows = [schema.empty_table()]
    tables_there = [key for key in keys if key.endswith(".parquet")]
    for key, content in zip(tables_there, at_once(store.read, tables_there), strict=True):
        with files.open_parquet(store.uri(key), content) as file:
            table = file.read(use_threads=False)
        arrays = [
            table.column(field.name).cast(field.type)
            if field.name in table.column_names
            else pa.nulls(table.num_rows, field.type)
            for field in schema
        ]
        rows.append(pa.Table.from_arrays(arrays, schema=schema))
    return pa.concat_tables(rows)
