"""Commits what a features step has computed, a date at a time: files and moments, then the ledger, then the sweep."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import lake, tables
from fruit_contract.commit import Commit, EmbedderFiles, digest_text, file_key, images_digest
from fruit_features.extraction.change import Change, contents_of, featurised_by
from fruit_features.extraction.known_contents import write_content_index
from fruit_features.extraction.rewriting import Rewrite, Rewritten, complete_projections, rewrite_files
from fruit_features.extraction.task import ACCOUNT
from fruit_features.lake import files
from fruit_features.lake.commit import (
    delete_of_date,
    projected_versions,
    put_ledger,
    put_rejected,
    saved_versions,
    sweep_date,
)
from fruit_features.lake.store import at_once
from fruit_features.moments.algebra import RunningMoments
from fruit_features.moments.of_files import merge_parts, moments_of_files
from fruit_features.moments.store import find_moments, write_moments
from fruit_features.spark.dealing import run_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyspark.sql import SparkSession

    from fruit_contract.commit import MomentsObject
    from fruit_features.extraction.date_work import DateWork
    from fruit_features.lake.commit import Ledger
    from fruit_features.lake.store import Store
    from fruit_features.moments.parts import PartPlace

_FILES_NAMED: Final = 5
# So few files are rewritten by the driver, which is done before a Spark job would begin.
_REWRITES_BY_DRIVER: Final = 4


class FeaturesDifferError(RuntimeError):
    """Raised if a date's features are not those of the images that its ledger would name. The commit is not made."""


@dataclass
class _Pending:
    """Holds what tasks have done of a date since its last commit."""

    rows: list[pa.Table] = field(default_factory=list)
    parts: list[PartPlace] = field(default_factory=list)
    # These are the moments of the first `n_merged` parts.
    merged: RunningMoments = field(default_factory=lambda: RunningMoments(tables.N_FEATURES))
    n_merged: int = 0

    def merge(self, store: Store) -> None:
        merge_parts(store, self.merged, self.parts[self.n_merged :])
        self.n_merged = len(self.parts)


class DateCommits:
    """Makes the commits of one date in one step. A commit's name is the step's `write` with the commit's number."""

    def __init__(self, spark: SparkSession, store: Store, embedder_id: str, write: str, plan: DateWork) -> None:
        self._spark, self._store, self._embedder_id, self._write = spark, store, embedder_id, write
        self.plan = plan
        self.ledger = plan.ledger
        self._n_commits = 0
        self._gone = plan.gone
        self._restored = plan.restored
        self._lost_files = plan.lost_files
        self._lost_moments = plan.lost_moments
        self._pending = _Pending()
        self.n_waited_for = plan.images.num_rows
        self.n_reused: Counter[str] = Counter()

    @property
    def is_complete(self) -> bool:
        """Says whether tasks have accounted for every image of the plan."""
        return bool(self.n_waited_for <= 0)

    @property
    def has_pending(self) -> bool:
        """Says whether something was done since the last commit."""
        return bool(self._pending.rows)

    def add(self, rows: pa.Table, parts: Sequence[PartPlace]) -> None:
        """Adds what a task did of this date: rows of ACCOUNT, and the places of its parts of moments."""
        self._pending.rows.append(rows)
        self._pending.parts.extend(parts)
        self.n_waited_for -= rows.num_rows
        reused = rows.filter(rows.column(tables.REUSED))
        self.n_reused.update(reused.column(tables.CATEGORY).to_pylist())

    def merge_ahead(self) -> None:
        """Merges the parts of moments that have come, because the driver has little else to do while tasks compute."""
        self._pending.merge(self._store)

    def next_commit(self) -> Callable[[], None]:
        """Returns a function that commits all that was done since the last commit.

        Any thread may call it, and must have done so before the next one is asked for. The last commit also removes
        what no commit names. The function raises FeaturesDifferError or LostPlaceError, and then changes nothing of the
        date.
        """
        pending, self._pending = self._pending, _Pending()
        return partial(self._commit, pending, is_last=self.is_complete)

    def _commit(self, pending: _Pending, *, is_last: bool) -> None:
        self._n_commits += 1
        name = f"{self._write}-c{self._n_commits:03d}"
        done = pa.concat_tables(pending.rows) if pending.rows else ACCOUNT.empty_table()
        before = self.ledger
        change = Change.of(before, done, self._restored, self._gone, self._embedder_id)
        live = self._live_files(before.commit)
        rewritten = self._rewrite(name, before, change, live, merging=is_last)
        live.setdefault(self._embedder_id, {}).update(change.new_files)
        for result in rewritten:
            _apply(live[result.rewrite.embedder_id], result)
        rows = change.rows(rewritten)
        embedders = self._embedders(name, rows, live, pending, change, rewritten)
        commit = Commit(before.ingest_date, name, rows.num_rows, files.rejected_rows(rows).num_rows, embedders)
        self._remember_contents(change, rows)
        # This comes before the ledger, so that readers miss no row, and again after it, for what another run has
        # projected in between.
        complete_projections(self._store, before.ingest_date, rewritten)
        self.ledger = put_ledger(self._store, before, rows, commit)
        complete_projections(self._store, before.ingest_date, rewritten)
        put_rejected(self._store, self.ledger)
        self._gone, self._lost_files, self._lost_moments = np.array([], dtype=np.int64), frozenset(), frozenset()
        self._restored = files.LEDGER.empty_table()
        if is_last:
            sweep_date(self._store, self.ledger)
        else:
            self._delete_former(before.commit, self.ledger, pending.parts)

    def _live_files(self, commit: Commit | None) -> dict[str, dict[str, int]]:
        embedders = commit.embedders if commit else {}
        day = self.plan.ingest_date
        return {
            embedder_id: {
                name: n_rows for name, n_rows in found.files.items() if file_key(day, name) not in self._lost_files
            }
            for embedder_id, found in embedders.items()
        }

    def _rewrite(
        self, name: str, before: Ledger, change: Change, live: Mapping[str, Mapping[str, int]], *, merging: bool
    ) -> list[Rewritten]:
        """Rewrites the files that images leave, and with `merging` joins small ones.

        The new files do not count before the ledger names them.
        """
        by_embedder = {self._embedder_id: {}, **live}
        versions = self.plan.versions_by_file
        groups = [
            (embedder_id, sources, leaving)
            for embedder_id, file_rows in by_embedder.items()
            for sources, leaving in change.rewrites(embedder_id, file_rows, before, versions, merging=merging)
        ]
        rewrites = []
        for number, (embedder_id, sources, leaving) in enumerate(groups):
            target = f"{sources[0].rpartition('/')[0]}/{name}-r{number:05d}.parquet"
            rewrites.append(Rewrite(before.ingest_date, embedder_id, tuple(sources), target, leaving))
        if not rewrites:
            return []
        work = partial(rewrite_files, self._store, versions=projected_versions(self._store))
        done = (
            at_once(work, rewrites) if len(rewrites) <= _REWRITES_BY_DRIVER else run_tasks(self._spark, rewrites, work)
        )
        return [result for result in done if result.is_changed]

    def _embedders(
        self,
        name: str,
        rows: pa.Table,
        live: Mapping[str, Mapping[str, int]],
        pending: _Pending,
        change: Change,
        rewritten: Sequence[Rewritten],
    ) -> dict[str, EmbedderFiles]:
        """Returns what the commit says of each embedder.

        An embedder is left out if it has no file, or if neither an image nor a PCA version is of it.
        """
        n_images = _images_by_embedder(rows)
        left = {result.rewrite.embedder_id for result in rewritten if result.n_left}
        commit = self.ledger.commit
        found = {}
        for embedder_id, file_rows in live.items():
            if not file_rows or (embedder_id not in n_images and not self._is_used(embedder_id)):
                continue
            known = commit.embedders.get(embedder_id) if commit else None
            lost = embedder_id in self._lost_moments or (
                known is not None and any(file_key(self.plan.ingest_date, n) in self._lost_files for n in known.files)
            )
            moments = known.moments if known else None
            if (
                embedder_id in left
                or lost
                or (moments is None and not (embedder_id == self._embedder_id and pending.parts))
            ):
                moments = self._recomputed(name, embedder_id, file_rows)
            elif embedder_id == self._embedder_id and pending.parts:
                moments = self._merged(name, file_rows, moments, pending)
            found[embedder_id] = EmbedderFiles(n_images[embedder_id], dict(sorted(file_rows.items())), moments)
            self._check(embedder_id, found[embedder_id], known, change, rows)
        return found

    def _is_used(self, embedder_id: str) -> bool:
        """Says whether a PCA version is of this embedder."""
        provenances = (
            self._store.find_json(lake.pca_provenance_key(version)) or {} for version in saved_versions(self._store)
        )
        return any(provenance.get("embedder_id") == embedder_id for provenance in provenances)

    def _merged(
        self, name: str, file_rows: Mapping[str, int], moments: MomentsObject | None, pending: _Pending
    ) -> MomentsObject:
        """Merges the moments of the last commit with those of what was done since.

        If the former can't be read, all of the date's features are added up anew.
        """
        before = None if moments is None else find_moments(self._store, moments.key)
        if moments is not None and (before is None or before.n_samples != moments.n_samples):
            print(
                f"{self._store.uri(moments.key)} is gone or damaged. The moments of the date are added up anew.",
                flush=True,
            )
            return self._recomputed(name, self._embedder_id, file_rows)
        pending.merge(self._store)
        running, digest = pending.merged, 0
        if moments is not None and before is not None:
            running.merge(before)
            digest = int(moments.images_digest, 16)
        for part in pending.parts:
            digest ^= part.images_digest
        return write_moments(self._store, self.plan.ingest_date, name, self._embedder_id, running.total(), digest)

    def _recomputed(self, name: str, embedder_id: str, file_rows: Mapping[str, int]) -> MomentsObject:
        day = self.plan.ingest_date
        moments, digest = moments_of_files(lambda: self._spark, self._store, day, name, embedder_id, file_rows)
        return write_moments(self._store, day, name, embedder_id, moments, digest)

    def _check(
        self, embedder_id: str, found: EmbedderFiles, known: EmbedderFiles | None, change: Change, rows: pa.Table
    ) -> None:
        """Raises FeaturesDifferError if the moments, which come from the features, and the rows differ in images."""
        moments = found.moments
        is_same = moments is not None and moments.n_samples == found.n_rows
        # Files may also hold images that another embedder has featurised since, whose rows name that one's files.
        has_others = embedder_id != self._embedder_id or (known is not None and known.n_images < known.n_rows)
        if is_same and moments is not None and not has_others:
            before = int(known.moments.images_digest, 16) if known is not None and known.moments is not None else 0
            left, came = (
                images_digest(contents_of(featurised_by(some, embedder_id))) for some in (change.leaving, change.added)
            )
            is_same = found.n_images == found.n_rows and moments.images_digest == digest_text(before ^ left ^ came)
        if not is_same:
            own = featurised_by(rows, embedder_id)
            raise FeaturesDifferError(
                f"The features of {self.plan.ingest_date} of embedder {embedder_id} are not those of the "
                f"{own.num_rows:,} images that its ledger would name. {_differing(self._store, own)} This commit was "
                "not made. Remove the files named here and run the date again: their images are then computed again."
            )

    def _remember_contents(self, change: Change, rows: pa.Table) -> None:
        """Writes the date's content index. It may come before the ledger, which is asked about what the index says."""
        whole = change.leaving.num_rows > 0 or self.ledger.commit is None
        if whole or not self._write_contents(change.added, whole=False):
            self._write_contents(rows, whole=True)

    def _write_contents(self, rows: pa.Table, *, whole: bool) -> bool:
        """Writes the content index, or adds to it. Returns False if there is none to add to."""
        own = featurised_by(rows, self._embedder_id)
        if not (own.num_rows or whole):
            return True
        contents = zip(*(own.column(name).to_pylist() for name in (tables.ETAG, tables.SIZE_BYTES)), strict=True)
        return write_content_index(self._store, self._embedder_id, self.plan.ingest_date, contents, whole=whole)

    def _delete_former(self, before: Commit | None, ledger: Ledger, parts: Sequence[PartPlace]) -> None:
        """Removes the merged parts of moments, and what the commit before named and this one does not.

        Other files stay even if no commit names them, because tasks may still be writing them.
        """
        stale, after = {part.key for part in parts}, ledger.commit
        if before is not None and after is not None:
            features = before.features_keys() - after.features_keys()
            stale |= before.named_keys() - after.named_keys()
            stale |= {
                lake.projections_file_key(version, key)
                for version in projected_versions(self._store)
                for key in features
            }
        delete_of_date(self._store, ledger, sorted(stale))


def _apply(file_rows: dict[str, int], result: Rewritten) -> None:
    for source in result.rewrite.sources:
        file_rows.pop(source, None)
    if result.n_rows:
        file_rows[result.rewrite.target] = result.n_rows


def _images_by_embedder(rows: pa.Table) -> Counter[str]:
    counts = rows.column(tables.EMBEDDER_ID).filter(pc.is_valid(rows.column(tables.FILE))).value_counts().to_pylist()
    return Counter({found["values"]: found["counts"] for found in counts})


def _differing(store: Store, rows: pa.Table) -> str:
    """Says which files differ from their rows of the ledger. It reads all of them, so it is called only on failure."""
    expected: defaultdict[str, set[tuple[str, str | None]]] = defaultdict(set)
    for file, content in zip(rows.column(tables.FILE).to_pylist(), contents_of(rows), strict=True):
        expected[file].add(content)
    differing = []
    for key, contents in sorted(expected.items()):
        found = store.find(key)
        if (
            found is None
            or set(contents_of(files.read_rows(store.uri(key), found, (tables.IMAGE_KEY, tables.CONTENT_SHA256))))
            != contents
        ):
            differing.append(key)
    if not differing:
        return "The rows of each file are right, so their moments are not."
    more = ", ..." if len(differing) > _FILES_NAMED else ""
    return f"{len(differing):,} files differ: {', '.join(differing[:_FILES_NAMED])}{more}."
