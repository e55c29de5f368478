"""Gathers what all ledgers say of an embedder, and merges the moments of all its images.

It reads few files, however long the history is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from fruit_contract import tables
from fruit_contract.pca_files import CachedDate, EmbedderDate
from fruit_features.lake.commit import read_commits, read_ledger
from fruit_features.moments.history_tree import HistoryTree, LostBlockError, LostMomentsError, Source
from fruit_features.moments.of_files import moments_of_files
from fruit_features.moments.store import LakeMoments, find_moments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyspark.sql import SparkSession

    from fruit_contract.commit import Commit
    from fruit_contract.listing import ListedObject
    from fruit_features.lake.store import Store
    from fruit_features.moments.algebra import Moments


_DATES_NAMED: Final = 10
_TRIES: Final = 5


class ImagesDifferError(RuntimeError):
    """Raised if the moments are of more or fewer images than have features, as the ledgers say. It names the dates."""


@dataclass
class MomentsHistory:
    """Holds all dates that have a ledger: the ledgers' ETags, and what they say of each embedder."""

    etags: dict[str, str] = field(default_factory=dict)
    dates: dict[str, dict[str, EmbedderDate]] = field(default_factory=dict)

    def remember(self, commit: Commit, etag: str) -> None:
        """Adds what a date's commit says, in place of what was known of the date."""
        self.etags[commit.ingest_date] = etag
        self.dates[commit.ingest_date] = {
            embedder_id: EmbedderDate(found.n_images, found.n_rows, len(found.files), found.moments)
            for embedder_id, found in commit.embedders.items()
        }

    def of_embedder(self, embedder_id: str) -> dict[str, EmbedderDate]:
        """Returns what the ledgers say of an embedder, for the dates that have features of it, sorted."""
        return {
            day: embedders[embedder_id] for day, embedders in sorted(self.dates.items()) if embedder_id in embedders
        }

    def n_images_by_date(self, embedder_id: str) -> dict[str, int]:
        """Returns how many images have features of this embedder, for the dates that have some."""
        return {day: found.n_images for day, found in self.of_embedder(embedder_id).items() if found.n_images}

    def to_json(self) -> dict[str, CachedDate]:
        """Returns the history as the cache holds it."""
        return {
            day: {
                "etag": etag,
                "embedders": {embedder_id: found.to_json() for embedder_id, found in self.dates[day].items()},
            }
            for day, etag in sorted(self.etags.items())
        }


def read_history(store: Store, ledgers: Mapping[str, ListedObject], cached: Mapping[str, CachedDate]) -> MomentsHistory:
    """Reads what the listed ledgers say: from the cache, or from their footers if they are not `cached`."""
    history = MomentsHistory(etags={day: entry.etag for day, entry in ledgers.items()})
    for day, etag in history.etags.items():
        if day in cached and cached[day]["etag"] == etag:
            history.dates[day] = {
                embedder_id: EmbedderDate.from_json(found) for embedder_id, found in cached[day]["embedders"].items()
            }
    unread = {day: entry for day, entry in ledgers.items() if day not in history.dates}
    for commit, etag in read_commits(store, unread).values():
        history.remember(commit, etag)
    # A ledger may be gone since it was listed.
    history.etags = {day: etag for day, etag in history.etags.items() if day in history.dates}
    return history


@dataclass(frozen=True)
class MergedHistory:
    """Holds the moments of all dates, and how many files were read for them.

    `keep` waits until the newly merged moments are written, and makes them count.
    """

    moments: Moments
    n_read: int
    keep: Callable[[], None]


def merge_history(
    session: Callable[[], SparkSession], store: Store, embedder_id: str, history: MomentsHistory
) -> MergedHistory:
    """Merges the moments of all dates of an embedder. If a date's moments are lost, its features are added up again.

    Raises ImagesDifferError if the moments are of more or fewer images than the ledgers say, or if the ledgers change
    too fast.
    """
    recomputed: dict[str, Moments] = {}
    use_blocks = True
    for _ in range(_TRIES + len(history.etags)):
        dates = history.of_embedder(embedder_id)
        storage = LakeMoments(
            store, embedder_id, {day: found.moments.key for day, found in dates.items() if found.moments}, recomputed
        )
        states = {day: found.moments.state if found.moments else "" for day, found in dates.items()}
        tree = HistoryTree(states, dict(storage.index) if use_blocks else {}, storage, tables.N_FEATURES)
        try:
            merged = tree.merge_all()
        except LostBlockError as error:
            print(f"{error} All dates are merged again.", flush=True)
            use_blocks = False
            continue
        except LostMomentsError as error:
            if not _date_has_changed(store, history, error.ingest_date):
                print(f"{error} They are added up again from the features.", flush=True)
                recomputed[error.ingest_date] = _add_up(session, store, embedder_id, error.ingest_date)
            continue
        expected = sum(found.n_rows for found in dates.values())
        if merged.n_samples == expected:
            used = tree.used_blocks()
            kept = {name: fingerprint for name, fingerprint in tree.kept.items() if name in used}
            return MergedHistory(merged, tree.n_read, partial(storage.save_index, kept))
        if not use_blocks:
            raise ImagesDifferError(_difference(store, dates, recomputed, merged.n_samples, expected))
        use_blocks = False
    raise ImagesDifferError(
        "The ledgers change faster than their moments can be merged. Run this step again when fewer runs are under way."
    )


def read_days(store: Store, history: MomentsHistory, embedder_id: str, days: Sequence[str]) -> dict[str, Moments]:
    """Returns the moments of some dates. Dates that have none, or whose moments are lost, are left out."""
    dates = history.of_embedder(embedder_id)
    keys = {day: dates[day].moments.key for day in days if day in dates and dates[day].moments}  # type: ignore[union-attr]
    found = LakeMoments(store, embedder_id, keys).read([Source(day=day) for day in keys])
    return {str(source.day): moments for source, moments in found.items()}


def _date_has_changed(store: Store, history: MomentsHistory, day: str) -> bool:
    """Reads a date's ledger again, remembers it, and says whether it has changed since it was read.

    If it has, the moments of the former commit are rightly gone.
    """
    ledger = read_ledger(store, day)
    if ledger.etag == history.etags.get(day):
        return False
    if ledger.commit is None or ledger.etag is None:
        del history.etags[day], history.dates[day]
    else:
        history.remember(ledger.commit, ledger.etag)
    return True


def _add_up(session: Callable[[], SparkSession], store: Store, embedder_id: str, day: str) -> Moments:
    commit = read_ledger(store, day).commit
    file_rows = commit.embedders[embedder_id].files if commit else {}
    return moments_of_files(session, store, day, f"lost-{commit.write if commit else day}", embedder_id, file_rows)[0]


def _difference(
    store: Store, dates: Mapping[str, EmbedderDate], recomputed: Mapping[str, Moments], n_merged: int, n_expected: int
) -> str:
    differing = []
    for day, found in dates.items():
        moments = recomputed.get(day) or (find_moments(store, found.moments.key) if found.moments else None)
        n_samples = moments.n_samples if moments else 0
        if n_samples != found.n_rows:
            differing.append(f"{day} ({n_samples:,} instead of {found.n_rows:,})")
    more = ", ..." if len(differing) > _DATES_NAMED else ""
    return (
        f"The moments are of {n_merged:,} images, the ledgers say that {n_expected:,} have features. Dates that "
        f"differ: {', '.join(differing[:_DATES_NAMED])}{more}. Nothing was fitted. Remove the moments of these dates "
        "(moments/ingest_date=...) and run them again."
    )
