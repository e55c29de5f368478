"""Tells a data scientist which files of a lake count at this moment.

While a run writes a date, the folders `features/` and `projections/` also hold files that do not count yet, or that no
longer count. The files that count are those that the ledgers name. These functions list them, for any reader of
Parquet. `lake` is a folder, or an address such as `s3://fruits-lake`. `ingest_dates` are calendar days, written
yyyy-mm-dd or as `datetime.date`: several, or just one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Final

import pyarrow.parquet as pq
from pyarrow import fs

from fruit_contract import lake as layout
from fruit_contract.commit import Commit, commit_from_metadata

Days = str | date | Collection[str | date] | None
"""Ingest dates: one, several, or all (None)."""

_LEDGERS_AT_ONCE: Final = 16


class NoLedgerError(LookupError):
    """Raised if there is no ledger at all where the lake should be. The message names the address."""


class NoPcaVersionError(LookupError):
    """Raised if the lake has no PCA version yet, or not the one that was named."""


def features_files(
    lake: str | os.PathLike[str], ingest_dates: Days = None, embedder_id: str | None = None
) -> list[str]:
    """Returns the files of features that count, sorted.

    They are those of all dates and all embedders, unless you name some dates or one embedder. While a lake changes from
    one embedder to another, an image may have features of both, so name the embedder then. A date that no run has
    committed has no files, and neither has an embedder without features. Raises NoLedgerError if you name no dates and
    the lake has no ledger; LakeNameError for a date that is no calendar day.
    """
    address, days = os.fspath(lake), _days(ingest_dates)
    filesystem, root = _open(address)
    commits = _commits(filesystem, root, _days_with_ledgers(filesystem, root, address) if days is None else days)
    keys = (key for commit in commits.values() for key in _features_keys(commit, embedder_id))
    return [f"{address.rstrip('/')}/{key}" for key in sorted(keys)]


def projections_files(lake: str | os.PathLike[str], ingest_dates: Days = None, version: str | None = None) -> list[str]:
    """Returns the files of projections that count, sorted.

    They are those of the current PCA version, unless you name another version. Features that were committed a moment
    ago, which the run's next step projects, have none yet. Raises NoPcaVersionError if there is no version, or not the
    one that you name; NoLedgerError and LakeNameError as `features_files` does.
    """
    address, days = os.fspath(lake), _days(ingest_dates)
    filesystem, root = _open(address)
    chosen = version or current_version(address)
    try:
        with filesystem.open_input_stream(f"{root}/{layout.pca_provenance_key(chosen)}") as stream:
            embedder_id = json.loads(stream.read())["embedder_id"]
    except FileNotFoundError:
        raise NoPcaVersionError(f"{address} has no PCA version {chosen!r}.") from None
    commits = _commits(filesystem, root, _days_with_ledgers(filesystem, root, address) if days is None else days)
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
    return [f"{address.rstrip('/')}/{key}" for key in keys]


def current_version(lake: str | os.PathLike[str]) -> str:
    """Returns the name of the PCA version that readers should use. Raises NoPcaVersionError if there is none."""
    address = os.fspath(lake)
    filesystem, root = _open(address)
    try:
        with filesystem.open_input_stream(f"{root}/{layout.CURRENT_PCA_KEY}") as stream:
            return str(json.loads(stream.read())["version"])
    except FileNotFoundError:
        raise NoPcaVersionError(f"{address} has no {layout.CURRENT_PCA_KEY}: no run has fitted a PCA yet.") from None


def _open(address: str) -> tuple[fs.FileSystem, str]:
    """Returns the file system that holds the lake, and the lake's path in it."""
    if "://" not in address:
        return fs.LocalFileSystem(), address.rstrip("/")
    filesystem, root = fs.FileSystem.from_uri(address)
    return filesystem, root.rstrip("/")


def _features_keys(commit: Commit, embedder_id: str | None) -> list[str]:
    """Returns the files of features that a commit names, of one embedder or of all."""
    chosen = (files for of_embedder, files in commit.embedders.items() if embedder_id in (None, of_embedder))
    return [layout.date_prefix(layout.FEATURES, commit.ingest_date) + name for files in chosen for name in files.files]


def _files_below(filesystem: fs.FileSystem, root: str, prefix: str) -> set[str]:
    selector = fs.FileSelector(f"{root}/{prefix}", allow_not_found=True, recursive=True)
    return {info.path.removeprefix(f"{root}/") for info in filesystem.get_file_info(selector)}


def _days(ingest_dates: Days) -> list[str] | None:
    """Returns the dates that were named, or None if none were. Raises LakeNameError for one that is no calendar day."""
    if ingest_dates is None:
        return None
    named = [ingest_dates] if isinstance(ingest_dates, str | date) else ingest_dates
    return [layout.parse_ingest_date(str(day)) for day in named]


def _days_with_ledgers(filesystem: fs.FileSystem, root: str, address: str) -> list[str]:
    """Returns all dates that have a ledger. Raises NoLedgerError if none has."""
    selector = fs.FileSelector(f"{root}/{layout.LEDGER}", allow_not_found=True)
    names = (info.base_name for info in filesystem.get_file_info(selector))
    days = sorted(name.partition("=")[2] for name in names if name.startswith("ingest_date="))
    if not days:
        raise NoLedgerError(
            f"{address} has no {layout.LEDGER}/ingest_date=…/: it is no lake, or no run has committed a date yet."
        )
    return days


def _commits(filesystem: fs.FileSystem, root: str, ingest_dates: Collection[str]) -> dict[str, Commit]:
    """Returns the commits of those dates that have one."""

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
