"""Projects files of features under PCA versions. A file's projections have the same name as the file.

A date is projected under a version exactly if its files of that version's embedder and its files of projections have
the same names.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa

from fruit_contract import lake, tables
from fruit_contract.commit import file_key
from fruit_contract.listing import ListedObject
from fruit_features.lake import files
from fruit_features.lake.commit import find_ledgers, read_commits, read_ledger
from fruit_features.lake.store import ObjectNotFoundError, at_once, load_library
from fruit_features.lake.transfer import Uploads, read_ahead
from fruit_features.lake.vectors import rows_of_embedder, to_list_array, to_matrix
from fruit_features.pca.fit import Projector
from fruit_features.pca.versions import load_version
from fruit_features.spark.dealing import run_tasks
from fruit_features.spark.session import task_slots
from fruit_features.spark.task_planning import plan_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from obstore import Bytes
    from pyspark.sql import SparkSession

    from fruit_contract.commit import Commit
    from fruit_features.lake.store import Store

# The loss of a task costs so much work.
_BYTES_A_TASK: Final = 128 * 1024 * 1024
# The request for a file takes as long as reading so many bytes.
_BYTES_A_FILE: Final = 256 * 1024
_TASKS_A_SLOT: Final = 4
# A round projects so many dates. The names of its files are in memory, and a failure does not undo earlier rounds.
_DATES_A_ROUND: Final = 256
# If others write a date while it is projected, it is projected again so often, and then left to the next step.
_TRIES: Final = 5


class FeaturesGoneError(RuntimeError):
    """Raised if a file of features that a ledger names is not there."""


@dataclass
class Projected:
    """Says what was projected.

    `ingest_dates` got projections, and `etags` has the ETags of the ledgers that were projected. Other runs kept
    writing the `unsettled` dates. Nothing was projected under `unreadable` versions, which are gone or damaged.
    """

    etags: dict[str, str] = field(default_factory=dict)
    ingest_dates: set[str] = field(default_factory=set)
    unsettled: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)


class _Due(NamedTuple):
    """Names a file of features, its estimated size, and the versions under which it has no projections yet."""

    key: str
    size_bytes: int
    versions: tuple[str, ...]


def project_dates(
    session: Callable[[], SparkSession],
    store: Store,
    embedders: Mapping[str, str],
    ingest_dates: Collection[str],
    n_slots: int | None = None,
) -> Projected:
    """Projects `ingest_dates` under the versions in `embedders`, and removes the projections whose features are gone.

    `embedders` has the embedder of each version. New projections are written before old ones are removed, so no reader
    misses a row that was there. Dates that other runs commit meanwhile are done again. `n_slots` is how many tasks run
    at once, if the caller knows it better than the session. Raises FeaturesGoneError if a ledger names a file that is
    not there.
    """
    projected = Projected()
    due = sorted(ingest_dates)
    for _ in range(_TRIES):
        if not due:
            return projected
        ledgers = find_ledgers(store, due)
        for start in range(0, len(due), _DATES_A_ROUND):
            days = due[start : start + _DATES_A_ROUND]
            _project_round(session, store, embedders, {day: ledgers.get(day) for day in days}, projected, n_slots)
        now = find_ledgers(store, due)
        due = [day for day in due if day in now and projected.etags.get(day) != now[day].etag]
    projected.unsettled.update(due)
    return projected


def _project_round(
    session: Callable[[], SparkSession],
    store: Store,
    embedders: Mapping[str, str],
    days: Mapping[str, ListedObject | None],
    projected: Projected,
    n_slots: int | None,
) -> None:
    """Projects some dates. `days` has their ledgers as they were listed; a date without a ledger has no features."""
    commits = read_commits(store, {day: ledger for day, ledger in days.items() if ledger is not None})
    places = [(version, day) for version in embedders for day in days]
    listings = at_once(lambda place: set(store.list_keys(lake.projections_date_prefix(*place))), places)
    there = dict(zip(places, listings, strict=True))
    due: defaultdict[str, list[str]] = defaultdict(list)
    rows: dict[str, int] = {}
    lacking: list[tuple[str, str]] = []
    stale: list[str] = []
    for day in days:
        commit = commits[day][0] if day in commits else None
        for version, embedder_id in embedders.items():
            expected = _expected(commit, version, embedder_id)
            stale += sorted(there[version, day] - expected.keys())
            for key, (features_key, n_rows) in expected.items():
                if key not in there[version, day]:
                    lacking.append((version, features_key))
                    rows[features_key] = n_rows
    lacking_versions = sorted({version for version, _ in lacking} - projected.unreadable)
    projected.unreadable.update(version for version in lacking_versions if not _is_readable(store, version))
    for version, features_key in lacking:
        if version not in projected.unreadable:
            due[features_key].append(version)
            projected.ingest_dates.add(str(lake.ingest_date_of(features_key)))
    files_due = [_Due(key, rows[key] * files.BYTES_A_ROW, tuple(versions)) for key, versions in sorted(due.items())]
    gone = _project(session, store, embedders, files_due, n_slots)
    _raise_if_lost(store, gone, commits)
    # Old projections are removed only when the new ones are there.
    store.delete(stale)
    gone_days = {lake.ingest_date_of(key) for key in gone}
    for day in days:
        if day in commits and day not in gone_days:
            projected.etags[day] = commits[day][1]


def _expected(commit: Commit | None, version: str, embedder_id: str) -> dict[str, tuple[str, int]]:
    """Returns the keys of the projections that a date should have under a version.

    Each comes with the key of its file of features and that file's number of rows.
    """
    found = commit.embedders.get(embedder_id) if commit else None
    if commit is None or found is None:
        return {}
    features = {file_key(commit.ingest_date, name): n_rows for name, n_rows in found.files.items()}
    return {lake.projections_file_key(version, key): (key, n_rows) for key, n_rows in features.items()}


def _project(
    session: Callable[[], SparkSession],
    store: Store,
    embedders: Mapping[str, str],
    due: Sequence[_Due],
    n_slots: int | None,
) -> list[str]:
    """Projects the files, and returns the keys of those that were gone."""
    task = ProjectionTask(store, dict(embedders))
    if sum(file.size_bytes for file in due) <= files.ROWS_READ_BY_DRIVER * files.BYTES_A_ROW:
        return task.run(due)
    sizes = [file.size_bytes + _BYTES_A_FILE for file in due]
    spark = session()
    chunks = plan_chunks(sizes, max(_TASKS_A_SLOT * (n_slots or task_slots(spark)), sum(sizes) // _BYTES_A_TASK))
    return [
        key
        for keys in run_tasks(spark, [[due[index] for index in chunk] for chunk in chunks], task.run)
        for key in keys
    ]


def _raise_if_lost(store: Store, gone: Iterable[str], commits: Mapping[str, tuple[Commit, str]]) -> None:
    """Raises FeaturesGoneError if files are gone although nobody has committed their date anew."""
    for day in sorted({day for key in gone if (day := lake.ingest_date_of(key)) is not None}):
        if read_ledger(store, day).etag == commits[day][1]:
            lost = ", ".join(store.uri(key) for key in gone if lake.ingest_date_of(key) == day)
            raise FeaturesGoneError(
                f"The ledger of {day} names files of features that are gone: {lost}. Run {day} again: their images are "
                "computed again."
            )


@dataclass(frozen=True)
class ProjectionTask:
    """Projects files of features, in a worker or where the step runs."""

    store: Store
    embedders: dict[str, str]

    def run(self, due: Sequence[_Due]) -> list[str]:
        """Projects the files, and returns the keys of those that were gone."""
        load_library()
        gone: list[str] = []
        remaining = list(due)
        with Uploads(self.store) as uploads:
            while remaining:
                n_done = 0
                try:
                    for file, (_, content) in zip(
                        remaining,
                        read_ahead(self.store, [ListedObject(file.key, "", file.size_bytes) for file in remaining]),
                        strict=True,
                    ):
                        for version in file.versions:
                            projections = project_rows(self.store, file.key, content, version, self.embedders[version])
                            uploads.put(
                                lake.projections_file_key(version, file.key), files.projections_to_parquet(projections)
                            )
                        n_done += 1
                except ObjectNotFoundError:
                    gone.append(remaining[n_done].key)
                    n_done += 1
                remaining = remaining[n_done:]
        return gone


def project_rows(store: Store, key: str, content: Bytes, version: str, embedder_id: str) -> pa.Table:
    """Returns the projections of a file's features of one embedder, in the columns of `files.PROJECTIONS`.

    Raises DamagedFileError if the `content` of `key` is not as it was written.
    """
    projector = _projector(store, version)
    batches = []
    for batch in files.read_batches(store.uri(key), content, (tables.IMAGE_KEY, tables.EMBEDDER_ID, tables.VECTOR)):
        own = rows_of_embedder(batch, embedder_id)
        components = projector.project(to_matrix(own.column(tables.VECTOR), tables.N_FEATURES))
        batches.append(
            pa.record_batch([own.column(tables.IMAGE_KEY), to_list_array(list(components))], schema=files.PROJECTIONS)
        )
    return pa.Table.from_batches(batches, files.PROJECTIONS)


def _is_readable(store: Store, version: str) -> bool:
    """Says whether a version can be loaded, and logs why if it can't."""
    try:
        _projector(store, version)
    except (ObjectNotFoundError, files.DamagedFileError) as error:
        print(f"{error} Nothing is projected under PCA version {version}.", flush=True)
        return False
    return True


@cache
def _projector(store: Store, version: str) -> Projector:
    """Returns a version's projector, which is loaded once in a process, because versions never change."""
    return Projector(load_version(store, version)[0])
