"""Compares the files that a date's commit names with those that are listed: tells which are lost, which no commit
names, and which are not projected.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fruit_contract import lake as lake_layout
from fruit_contract.commit import file_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fruit_contract.commit import Commit
    from fruit_pipeline.lake.facts import DatedObject


@dataclass(frozen=True)
class ListedFiles:
    """Holds a date's files by their keys; those below `projections/` are grouped by PCA version first.

    `others` never count once a step is done: they are parts of moments, and what is left of a ledger of the earlier
    form.
    """

    features: Mapping[str, DatedObject] = field(default_factory=dict)
    moments: Mapping[str, DatedObject] = field(default_factory=dict)
    rejected: Mapping[str, DatedObject] = field(default_factory=dict)
    projections: Mapping[str, Mapping[str, DatedObject]] = field(default_factory=dict)
    others: Mapping[str, DatedObject] = field(default_factory=dict)


def lost_features(commit: Commit | None, listed: ListedFiles) -> frozenset[str]:
    """Returns the keys of the files of features/ that the commit names and that are gone."""
    return frozenset(commit.features_keys() - listed.features.keys()) if commit else frozenset()


def lost_moments(commit: Commit | None, listed: ListedFiles) -> frozenset[str]:
    """Returns the keys of the moments that the commit names and that are gone."""
    return frozenset(commit.moments_keys() - listed.moments.keys()) if commit else frozenset()


def lost_rejects(commit: Commit | None, listed: ListedFiles) -> frozenset[str]:
    """Returns the key of the file of rejects if the commit calls for one and it is gone. It is written after the
    ledger, so a run may have died between the two.
    """
    if commit is None or not commit.n_rejected:
        return frozenset()
    key = lake_layout.rejected_key(commit.ingest_date, commit.write)
    return frozenset(() if key in listed.rejected else (key,))


def unswept_files(commit: Commit | None, listed: ListedFiles) -> frozenset[str]:
    """Returns the keys of the files that no commit names, which an interrupted run left. Without a commit, that is all
    of them.
    """
    named = set[str]()
    if commit is not None:
        features = commit.features_keys()
        named |= features | commit.moments_keys()
        named |= {lake_layout.projections_file_key(version, key) for version in listed.projections for key in features}
        if commit.n_rejected:
            named.add(lake_layout.rejected_key(commit.ingest_date, commit.write))
    there = (listed.features, listed.moments, listed.rejected, listed.others, *listed.projections.values())
    return frozenset(key for files in there for key in files if key not in named)


def unprojected_files(commit: Commit | None, listed: ListedFiles, version: str, embedder_id: str) -> frozenset[str]:
    """Returns the keys of the files of features/ of a PCA version's embedder that have no file of projections/ under
    it.
    """
    if commit is None or embedder_id not in commit.embedders:
        return frozenset()
    there = listed.projections.get(version, {})
    keys = (file_key(commit.ingest_date, name) for name in commit.embedders[embedder_id].files)
    return frozenset(key for key in keys if lake_layout.projections_file_key(version, key) not in there)
