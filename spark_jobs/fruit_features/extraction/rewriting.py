"""Rewrites files of features and their projections: without images that have left, or several small ones as one."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import lake, tables
from fruit_contract.commit import file_key
from fruit_features.lake import files
from fruit_features.lake.commit import projected_versions
from fruit_features.lake.store import at_once

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from obstore import Bytes

    from fruit_features.lake.store import Store

# When a partition has more small files than this, they become one file.
MOST_SMALL_FILES: Final = 16
_SMALL_ROWS: Final = 2_048
# 12,288 vectors are 63 MB.
_MOST_ROWS: Final = 12_288


@dataclass(frozen=True)
class Rewrite:
    """Names files of one partition and embedder, below the date's prefix, that become one file, the target.

    Images that `leaving` names for a source are left out.
    """

    ingest_date: str
    embedder_id: str
    sources: tuple[str, ...]
    target: str
    leaving: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Rewritten:
    """Says what came of a rewrite: how many rows the target has, and how many have left (`n_left`).

    A target without rows is not written, and neither is one that is the same as its only source.
    """

    rewrite: Rewrite
    n_rows: int
    n_left: int

    @property
    def is_changed(self) -> bool:
        return bool(self.n_left or len(self.rewrite.sources) > 1)


def plan_merges(
    file_rows: Mapping[str, int], versions: Mapping[str, frozenset[str]] = MappingProxyType({})
) -> list[list[str]]:
    """Returns groups of small files of a partition that should become one file each.

    `file_rows` has an embedder's files of a date with their numbers of rows, and `versions` the PCA versions under
    which a file has projections. Files that differ in these stay apart, because one file of both would have the
    projections of neither.
    """
    small: defaultdict[tuple[str, frozenset[str]], list[str]] = defaultdict(list)
    for name, n_rows in sorted(file_rows.items()):
        if n_rows < _SMALL_ROWS:
            small[name.rpartition("/")[0], versions.get(name, frozenset())].append(name)
    groups: list[list[str]] = []
    for names in small.values():
        if len(names) <= MOST_SMALL_FILES:
            continue
        group: list[str] = []
        for name in names:
            if group and sum(file_rows[other] for other in group) + file_rows[name] > _MOST_ROWS:
                groups.append(group)
                group = []
            group.append(name)
        groups.append(group)
    return groups


def rewrite_files(store: Store, rewrite: Rewrite, versions: Collection[str]) -> Rewritten:
    """Writes the target, and its projections under each of `versions` that has those of all sources.

    Raises ObjectNotFoundError if a source is gone, and DamagedFileError if one can't be read.
    """
    sources = {name: file_key(rewrite.ingest_date, name) for name in rewrite.sources}
    contents = {name: (store.uri(key), store.read(key)) for name, key in sources.items()}
    staying, n_rows = _staying(rewrite, contents, files.FEATURES.names)
    done = Rewritten(rewrite, staying.num_rows, n_rows - staying.num_rows)
    if done.is_changed and staying.num_rows:
        target = file_key(rewrite.ingest_date, rewrite.target)
        for version in versions:
            _rewrite_projections(store, rewrite, version, target)
        store.write(target, files.features_to_parquet(staying))
    return done


def complete_projections(store: Store, ingest_date: str, rewritten: Sequence[Rewritten]) -> None:
    """Writes the projections of targets that lack them, under versions that have those of all their sources.

    A PCA step that runs meanwhile projects what the ledger names, and that is the sources until the ledger is replaced.
    """
    targets = [(done.rewrite, file_key(ingest_date, done.rewrite.target)) for done in rewritten if done.n_rows]
    if not targets:
        return
    versions = projected_versions(store)
    listings = at_once(lambda version: store.list_keys(lake.projections_date_prefix(version, ingest_date)), versions)
    there = {key for keys in listings for key in keys}
    for version in versions:
        for rewrite, target in targets:
            sources = {lake.projections_file_key(version, file_key(ingest_date, name)) for name in rewrite.sources}
            if sources <= there and lake.projections_file_key(version, target) not in there:
                _rewrite_projections(store, rewrite, version, target)


def _rewrite_projections(store: Store, rewrite: Rewrite, version: str, target: str) -> None:
    """Writes the target's projections under a version, if those of all sources are there and can be read.

    Others are left to the PCA step.
    """
    contents = {}
    for name in rewrite.sources:
        key = lake.projections_file_key(version, file_key(rewrite.ingest_date, name))
        content = store.find(key)
        if content is None:
            return
        contents[name] = (store.uri(key), content)
    with suppress(files.DamagedFileError):
        staying, _ = _staying(rewrite, contents, files.PROJECTIONS.names)
        store.write(lake.projections_file_key(version, target), files.projections_to_parquet(staying))


def renamed(file: pa.ChunkedArray, rewritten: Sequence[Rewritten]) -> pa.ChunkedArray:
    """Returns the keys of files, in which rewritten files have the key of their target."""
    names = {
        file_key(done.rewrite.ingest_date, source): file_key(done.rewrite.ingest_date, done.rewrite.target)
        for done in rewritten
        for source in done.rewrite.sources
    }
    if not names:
        return file
    index = pc.index_in(file, pa.array(list(names)))
    return pc.coalesce(pc.take(pa.array(list(names.values())), index), file)


def _staying(
    rewrite: Rewrite, contents: Mapping[str, tuple[str, Bytes]], columns: Sequence[str]
) -> tuple[pa.Table, int]:
    """Returns the rows of the sources that stay, and how many rows there were.

    `contents` has the address and the content of each source.
    """
    staying, n_rows = [], 0
    for source, (uri, content) in contents.items():
        rows = files.read_rows(uri, content, columns)
        n_rows += rows.num_rows
        leaving = pa.array(sorted(rewrite.leaving.get(source, ())), pa.string())
        staying.append(rows.filter(pc.invert(pc.is_in(rows.column(tables.IMAGE_KEY), leaving))))
    return pa.concat_tables(staying), n_rows
