"""Does the PCA step: merges moments, fits if the policy says so, projects what is missing, and flips the pointer."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from fruit_contract import lake, release
from fruit_contract.pca import DEFAULT_KEPT_VERSIONS, FEWEST_IMAGES_OF_A_PCA, PolicySettings
from fruit_contract.pca_files import PCA_CACHE_SCHEMA_VERSION, PcaCache
from fruit_contract.summaries import SUMMARY_SCHEMA_VERSION, PcaAction, PcaOutcome, RefreshSummary
from fruit_features.embedding.artefact import find_embedder
from fruit_features.lake.commit import list_ledgers
from fruit_features.lake.store import Store
from fruit_features.moments.history import merge_history, read_days, read_history
from fruit_features.pca.choosing import Choice, Chooser
from fruit_features.pca.fit import retained_variance
from fruit_features.pca.projecting import Projected, project_dates
from fruit_features.pca.versions import (
    damaged_to_keep,
    flip_pointer,
    pointer_in_place,
    read_pointer,
    read_provenances,
    remove_versions,
    unfinished_versions,
    version_folders,
    versions_to_keep,
)
from fruit_features.spark.stopwatch import Stopwatch
from fruit_features.takeover import take_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pyspark.sql import SparkSession

    from fruit_contract.pca_files import Provenance
    from fruit_features.moments.algebra import Moments
    from fruit_features.moments.history import MomentsHistory
    from fruit_features.pca.fit import PcaModel
    from fruit_features.pca.versions import Pointer

# Readers may go on for so long with a version after another one has become the current one.
DEFAULT_GRACE_SECONDS: Final = 3600.0
# Each date costs reading 6.6 MB, so only the last dates of a long range are shown.
_DRIFT_DATES_SHOWN: Final = 16


@dataclass(frozen=True)
class RefreshRequest:
    """Says what one PCA step is asked for. `ingest_dates` are those of the run: it shows how well the PCA fits them."""

    bucket: str
    release_id: str
    run_id: str
    policy: PolicySettings
    ingest_dates: tuple[str, ...] = ()
    keep_versions: int = DEFAULT_KEPT_VERSIONS
    grace_seconds: float = DEFAULT_GRACE_SECONDS
    switch_embedder: bool = False
    task_slots: int | None = None
    release_folder: Path | None = None


def _read_cache(store: Store) -> PcaCache:
    """Returns the cache of what follows from ledgers and listings, or an empty one if this release can't read it."""
    with suppress(ValueError):
        found: PcaCache | None = store.find_json(lake.pca_cache_key())
        if isinstance(found, dict) and found.get("schema_version") == PCA_CACHE_SCHEMA_VERSION:
            return found
    return {"schema_version": PCA_CACHE_SCHEMA_VERSION, "commits": {}, "projected": {}}


def refresh_pca(session: Callable[[], SparkSession], request: RefreshRequest) -> RefreshSummary:
    """Does the step and returns its summary, as `runs/_steps/<run_id>/refresh_pca.json` holds it.

    It calls `session` only for work that takes the driver longer than Spark's start. Raises ImagesDifferError if the
    moments are of more or fewer images than the ledgers say, and LostPlaceError if somebody else flips the pointer
    meanwhile.
    """
    watch = Stopwatch()
    store = Store(request.bucket)
    embedder_id = find_embedder(store, request.release_id, release.DEFAULT_ENGINE, request.release_folder).embedder_id
    ledgers = list_ledgers(store)
    if ledgers.earlier:
        take_over(session, store, ledgers.earlier)
        ledgers = list_ledgers(store)
    cache = _read_cache(store)
    pointer = read_pointer(store)
    history = read_history(store, ledgers.committed, cache["commits"])
    watch.mark("read_ledgers")
    merged = merge_history(session, store, embedder_id, history)
    watch.mark("merge_moments")
    outcome = _Refresh(session, store, embedder_id, request, cache, pointer, history, watch).run(merged.moments)
    # The merged moments were being written meanwhile. If the step fails before this line, they are merged again.
    merged.keep()
    watch.mark("keep_moments")
    return {
        "schema_version": SUMMARY_SCHEMA_VERSION,
        "step": release.REFRESH_PCA_STEP,
        "run_id": request.run_id,
        "release": request.release_id,
        "embedder_id": embedder_id,
        "policy": request.policy.policy.value,
        "target_variance": request.policy.target_variance,
        "n_samples": merged.moments.n_samples,
        "moments_read": merged.n_read,
        "timings_seconds": watch.finish(),
        **outcome,
    }


@dataclass
class _Refresh:
    """Holds a step under way: what it has read, and the pointer and the cache as it leaves them."""

    session: Callable[[], SparkSession]
    store: Store
    embedder_id: str
    request: RefreshRequest
    cache: PcaCache
    pointer: Pointer | None
    history: MomentsHistory
    watch: Stopwatch

    def __post_init__(self) -> None:
        self.provenances, self.damaged = read_provenances(self.store)
        if self.pointer is None:
            days = self.history.etags
            self.pointer = pointer_in_place(self.store, self.provenances, self.damaged, days, datetime.now(UTC))
            if self.pointer is not None:
                print(
                    f"{self.store.uri(lake.CURRENT_PCA_KEY)} is gone. The newest version that is complete, "
                    f"{self.pointer.version}, is taken for the current one.",
                    flush=True,
                )
        # This step must not remove a version that another step saves meanwhile.
        self.found_versions = version_folders(self.store)

    def run(self, merged: Moments) -> PcaOutcome:
        request = self.request
        chooser = Chooser(
            self.store,
            self.embedder_id,
            request.release_id,
            request.policy,
            request.switch_embedder,
            self.pointer,
            self.provenances,
            self.history,
        )
        chosen = chooser.choose(merged)
        self._forget(chooser.unreadable)
        if not isinstance(chosen, str):
            self.watch.mark("fit")
            return self._settle(chosen, merged)
        print(f"No PCA: {chosen}", flush=True)
        projected = self._project(None)
        removed = self._finish(None, keeps_unfinished=True)
        return {
            "action": PcaAction.NOTHING,
            "reason": chosen,
            "pca_version": None,
            "k": None,
            "n_samples_fitted": None,
            "variance_kept": None,
            "retained_variance": None,
            "retained_variance_by_date": {},
            "target_reached": False,
            "projected_ingest_dates": sorted(projected.ingest_dates),
            "unsettled_ingest_dates": sorted(projected.unsettled),
            "removed_versions": removed,
            "damaged_versions": sorted(self.damaged.difference(removed)),
        }

    def _settle(self, chosen: Choice, merged: Moments) -> PcaOutcome:
        """Projects everything under the chosen version, and makes it the current one."""
        (model, provenance), decision = chosen
        print(
            f"PCA {'fitted' if decision.fit else 'kept'}: {decision.reason}. k = {model.k}, version "
            f"{provenance.version}.",
            flush=True,
        )
        if not provenance.target_reached:
            print(
                f"The target of {provenance.target_variance:.2%} can't be reached with {provenance.n_samples:,} "
                f"images: all {model.k} "
                f"components that there are keep {provenance.variance_kept:.2%}. The run carries on with these.",
                flush=True,
            )
        drift = self._drift(model)
        for day, kept in drift.items():
            print(f"Of the variance of {day}, this version keeps {kept:.2%}.", flush=True)
        self.watch.mark("drift")
        projected = self._project(provenance)
        is_complete = not projected.unsettled and provenance.version not in projected.unreadable
        flips = is_complete and not self._is_current(provenance.version)
        if flips:
            # Without a pointer nobody knows whether those that can't be read were used.
            versions = {*self.damaged, *(self.provenances if self.pointer else ())}
            flip_pointer(self.store, self.pointer, provenance, datetime.now(UTC), versions)
            self.pointer = read_pointer(self.store)
        removed = self._finish(None if is_complete else provenance, keeps_unfinished=not (decision.fit or flips))
        return {
            "action": PcaAction.FITTED if decision.fit else PcaAction.KEPT,
            "reason": decision.reason,
            "pca_version": provenance.version,
            "k": model.k,
            "n_samples_fitted": provenance.n_samples,
            "variance_kept": model.variance_kept,
            "retained_variance": (
                retained_variance(model, merged) if merged.n_samples >= FEWEST_IMAGES_OF_A_PCA else None
            ),
            "retained_variance_by_date": drift,
            "target_reached": provenance.target_reached,
            "projected_ingest_dates": sorted(projected.ingest_dates),
            "unsettled_ingest_dates": sorted(projected.unsettled),
            "removed_versions": removed,
            "damaged_versions": sorted(self.damaged.difference(removed)),
        }

    def _drift(self, model: PcaModel) -> dict[str, float]:
        """Returns the share of the variance of each of the run's dates that the version keeps.

        An odd day is seen here and leads to no fit.
        """
        days = sorted(set(self.request.ingest_dates))[-_DRIFT_DATES_SHOWN:]
        moments = read_days(self.store, self.history, self.embedder_id, days)
        return {day: retained_variance(model, part) for day, part in sorted(moments.items())}

    def _project(self, chosen: Provenance | None) -> Projected:
        """Projects what is not projected yet under the chosen version and all that are kept.

        It also removes the projections of vanished images.
        """
        embedders = {version: self.provenances[version].embedder_id for version in sorted(self._kept(chosen))}
        known = {version: self.cache["projected"].get(version, {}) for version in embedders}
        due = {day for etags in known.values() for day, etag in self.history.etags.items() if etags.get(day) != etag}
        # Projections may have been lost. The run's own dates are looked at again, because it was planned by them.
        due |= self.history.etags.keys() & set(self.request.ingest_dates)
        projected = project_dates(self.session, self.store, embedders, due, self.request.task_slots)
        self.cache["projected"] = {
            version: {day: etag for day, etag in (etags | projected.etags).items() if day not in projected.unsettled}
            for version, etags in known.items()
            if version not in projected.unreadable
        }
        self._forget(projected.unreadable)
        self.watch.mark("project")
        return projected

    def _is_current(self, version: str) -> bool:
        """Tells whether `pca/current.json` is there and names this version."""
        return self.pointer is not None and self.pointer.etag is not None and self.pointer.version == version

    def _forget(self, unreadable: Iterable[str]) -> None:
        """Takes versions that can't be read out of those that are kept up to date."""
        for version in unreadable:
            self.damaged.add(version)
            self.provenances.pop(version, None)

    def _kept(self, pending: Provenance | None) -> set[str]:
        """Returns the versions that are kept up to date, the `pending` one included."""
        request = self.request
        grace = timedelta(seconds=request.grace_seconds)
        return versions_to_keep(
            self.provenances,
            self.pointer,
            pending.version if pending else None,
            request.keep_versions,
            grace,
            datetime.now(UTC),
        )

    def _kept_damaged(self) -> set[str]:
        grace = timedelta(seconds=self.request.grace_seconds)
        keep = self.request.keep_versions
        return damaged_to_keep(self.damaged, self.provenances, self.pointer, keep, grace, datetime.now(UTC))

    def _finish(self, pending: Provenance | None, *, keeps_unfinished: bool) -> list[str]:
        """Removes versions that are not kept and what dead steps have left of others, and writes the cache.

        Returns the removed versions. With `keeps_unfinished`, which is for a step that neither fits nor flips, the
        newest unfinished version stays for the step that goes on with it.
        """
        staying = self._kept(pending) | self._kept_damaged()
        if self.pointer is not None:
            # Readers follow it, whatever has become of it.
            staying.add(self.pointer.version)
        if keeps_unfinished:
            staying.update(unfinished_versions(self.provenances, self.pointer)[:1])
        removed = sorted(self.found_versions - staying)
        if removed and not self._has_its_pointer():
            print(
                f"{self.store.uri(lake.CURRENT_PCA_KEY)} was replaced by another writer meanwhile: no version is "
                "removed.",
                flush=True,
            )
            removed = []
        remove_versions(self.store, removed)
        self.cache["commits"] = self.history.to_json()
        # Only without indents does json use its C code. A long history is a megabyte.
        self.store.write(lake.pca_cache_key(), json.dumps(self.cache, separators=(",", ":")).encode())
        self.watch.mark("remove_old_versions")
        return removed

    def _has_its_pointer(self) -> bool:
        """Says whether the pointer is still the one that this step knows.

        If it is not, readers may by now use what this step would remove.
        """
        now = read_pointer(self.store)
        return (now.etag if now else None) == (self.pointer.etag if self.pointer else None)
