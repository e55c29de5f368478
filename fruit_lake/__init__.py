"""Tells a data scientist which files of a lake count at this moment.

While a run writes a date, the folders `features/` and `projections/` also hold files that do not count yet, or that no
longer count. The files that count are those that the ledgers name. These functions list them, for any reader of
Parquet. `lake` is a folder, or an address such as `s3://fruits-lake`.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pyarrow.parquet as pq
from pyarrow import fs

from fruit_contract import lake as layout
from fruit_contract.commit import Commit, commit_from_metadata

if TYPE_CHECKING:
    from collections.abc import Collection

_LEDGERS_AT_ONCE: Final = 16


class NoPcaVersionError(LookupError):
    """Raised if the lake has no PCA version yet."""


def features_files(lake: str, ingest_dates: Collection[str] | None = None, embedder_id: str | None = None) -> list[str]:
    """Returns the files of features that count, sorted.

    They are those of all dates and all embedders, unless you name some dates or one embedder. While a lake changes from
    one embedder to another, an image may have features of both, so name the embedder then.
    """
    filesystem, root = _open(lake)
    keys = (
        key
        for commit in _commits(filesystem, root, ingest_dates).values()
        for key in _features_keys(commit, embedder_id)
    )
    return [f"{lake.rstrip('/')}/{key}" for key in sorted(keys)]


def projections_files(lake: str, ingest_dates: Collection[str] | None = None, version: str | None = None) -> list[str]:
    """Returns the files of projections that count, sorted.

    They are those of the current PCA version, unless you name another version. Features that were committed a moment
    ago, which the run's next step projects, have none yet. Raises NoPcaVersionError if there is no version.
    """
    filesystem, root = _open(lake)
    chosen = version or current_version(lake)
    with filesystem.open_input_stream(f"{root}/{layout.pca_provenance_key(chosen)}") as stream:
        embedder_id = json.loads(stream.read())["embedder_id"]
    commits = _commits(filesystem, root, ingest_dates)
    there = _files_below(filesystem, root, layout.projections_prefix(chosen))

    def projections(ingest_date: str) -> list[str]:
        return [layout.projections_file_key(chosen, key) for key in _features_keys(commits[ingest_date], embedder_id)]

    # A run may have replaced a date's files between the two looks: its projections are where they were before its
    # commit, or after it.
    while lacking := [day for day in commits if not there.issuperset(projections(day))]:
        again = _commits(filesystem, root, lacking)
        changed = [day for day in lacking if again.get(day) != commits[day]]
        if not changed:
            break
        for day in changed:
            commits.pop(day)
            prefix = layout.projections_date_prefix(chosen, day)
            there = {key for key in there if not key.startswith(prefix)} | _files_below(filesystem, root, prefix)
        commits |= {day: again[day] for day in changed if day in again}
    keys = sorted(there.intersection(key for day in commits for key in projections(day)))
    return [f"{lake.rstrip('/')}/{key}" for key in keys]


def current_version(lake: str) -> str:
    """Returns the name of the PCA version that readers should use. Raises NoPcaVersionError if there is none."""
    filesystem, root = _open(lake)
    try:
        with filesystem.open_input_stream(f"{root}/{layout.CURRENT_PCA_KEY}") as stream:
            return str(json.loads(stream.read())["version"])
    except FileNotFoundError:
        raise NoPcaVersionError(f"{lake} has no {layout.CURRENT_PCA_KEY}: no run has fitted a PCA yet.") from None


def _open(lake: str) -> tuple[fs.FileSystem, str]:
    """Returns the file system that holds the lake, and the lake's path in it."""
    if "://" not in lake:
        return fs.LocalFileSystem(), lake.rstrip("/")
    filesystem, root = fs.FileSystem.from_uri(lake)
    return filesystem, root.rstrip("/")


def _features_keys(commit: Commit, embedder_id: str | None) -> list[str]:
    """Returns the files of features that a commit names, of one embedder or of all."""
    chosen = (files for of_embedder, files in commit.embedders.items() if embedder_id in (None, of_embedder))
    return [layout.date_prefix(layout.FEATURES, commit.ingest_date) + name for files in chosen for name in files.files]


def _files_below(filesystem: fs.FileSystem, root: str, prefix: str) -> set[str]:
    selector = fs.FileSelector(f"{root}/{prefix}", allow_not_found=True, recursive=True)
    return {info.path.removeprefix(f"{root}/") for info in filesystem.get_file_info(selector)}


def _commits(filesystem: fs.FileSystem, root: str, ingest_dates: Collection[str] | None) -> dict[str, Commit]:
    if ingest_dates is None:
        selector = fs.FileSelector(f"{root}/{layout.LEDGER}", allow_not_found=True)
        names = (info.base_name for info in filesystem.get_file_info(selector))
        ingest_dates = sorted(name.partition("=")[2] for name in names if name.startswith("ingest_date="))

    def read(ingest_date: str) -> Commit | None:
        path = f"{root}/{layout.ledger_key(ingest_date)}"
        try:
            with filesystem.open_input_file(path) as stream:
                metadata = pq.read_metadata(stream).metadata
        except FileNotFoundError:
            return None
        return commit_from_metadata(path, metadata)

    with ThreadPoolExecutor(_LEDGERS_AT_ONCE) as pool:
        return {commit.ingest_date: commit for commit in pool.map(read, ingest_dates) if commit is not None}
