"""The PCA step: merge moments, fit if the policy says so, project what is not projected yet, flip the pointer last."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from fruit_contract import lake, release
from fruit_features.embedding.artefact import find_embedder
from fruit_features.lake.commit import list_ledgers
from fruit_features.lake.store import Store
from fruit_features.moments.history import merge_history, read_days, read_history
from fruit_features.moments.history_tree import states_digest
from fruit_features.pca.fit import TooFewImagesError, fit_pca, retained_variance
from fruit_features.pca.policy import CurrentVersion, Decision, PolicySettings, RefreshPolicy, decide_refresh
from fruit_features.pca.projecting import Projected, project_dates
from fruit_features.pca.versions import (
    Pointer,
    Provenance,
    flip_pointer,
    load_version,
    read_pointer,
    read_provenances,
    remove_versions,
    save_version,
    version_folders,
    version_name,
    versions_to_keep,
    was_used,
)
from fruit_features.spark.session import task_slots
from fruit_features.spark.stopwatch import Stopwatch
from fruit_features.takeover import take_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import SparkSession

    from fruit_features.moments.algebra import Moments
    from fruit_features.moments.history import History
    from fruit_features.pca.fit import PcaModel

DEFAULT_KEPT_VERSIONS: Final = 3
# Whoever reads by a version that is no longer the current one may go on for so long.
DEFAULT_GRACE_SECONDS: Final = 3600.0
_CACHE_VERSION: Final = 1
# Each costs reading 6.6 MB: a long range shows its last dates.
_DRIFT_DATES_SHOWN: Final = 16


@dataclass(frozen=True)
class RefreshRequest:
    """What one PCA step is asked for. `ingest_dates` are those of the run: how well the PCA fits them is shown."""

    bucket: str
    release_id: str
    run_id: str
    policy: PolicySettings
    ingest_dates: tuple[str, ...] = ()
    keep_versions: int = DEFAULT_KEPT_VERSIONS
    grace_seconds: float = DEFAULT_GRACE_SECONDS
    switch_embedder: bool = False
    task_slots: int | None = None


@dataclass
class _Cache:
    """What follows from ledgers and listings. `projected` has, by version and date, the ETag of the ledger whose files were projected."""

    commits: dict[str, Any] = field(default_factory=dict)
    projected: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store) -> _Cache:
        """Empty if there is none that this release can read."""
        try:
            found = store.find_json(lake.pca_cache_key()) or {}
        except ValueError:
            found = {}
        return cls(found["commits"], found["projected"]) if found.get("schema_version") == _CACHE_VERSION else cls()

    def write(self, store: Store) -> None:
        content = {"schema_version": _CACHE_VERSION, "commits": self.commits, "projected": self.projected}
        # Without indents, json writes as fast as C: a long history is a megabyte.
        store.write(lake.pca_cache_key(), json.dumps(content, separators=(",", ":")).encode())


@dataclass(frozen=True)
class _Choice:
    """The version that readers shall use, and whether it was fitted in this step."""

    model: PcaModel
    provenance: Provenance
    decision: Decision


def refresh_pca(spark: SparkSession, request: RefreshRequest) -> dict[str, Any]:
    """Does the step and returns its summary, as `runs/_steps/<run_id>/refresh_pca.json` holds it.

    Raises ImagesDifferError if the moments are not of as many images as the ledgers say, and LostPlaceError if somebody else flips the
    pointer meanwhile.
    """
    watch = Stopwatch()
    store = Store(request.bucket)
    embedder_id = find_embedder(store, request.release_id, release.DEFAULT_ENGINE).embedder_id
    ledgers = list_ledgers(store)
    if ledgers.earlier:
        take_over(spark, store, ledgers.earlier)
        ledgers = list_ledgers(store)
    cache = _Cache.read(store)
    pointer = read_pointer(store)
    history = read_history(store, ledgers.committed, cache.commits)
    watch.mark("read_ledgers")
    merged = merge_history(spark, store, embedder_id, history)
    watch.mark("merge_moments")
    refresh = _Refresh(spark, store, embedder_id, request, cache, pointer, history, watch)
    summary = refresh.run(merged.moments)
    # What was merged is written beside all of this; a step that fails merges it again.
    merged.keep()
    watch.mark("keep_moments")
    return summary | {"moments_read": merged.n_read, "timings_seconds": watch.finish()}


class _Refresh:
    def __init__(
        self,
        spark: SparkSession,
        store: Store,
        embedder_id: str,
        request: RefreshRequest,
        cache: _Cache,
        pointer: Pointer | None,
        history: History,
        watch: Stopwatch,
    ) -> None:
        self._spark = spark
        self._store = store
        self._embedder_id = embedder_id
        self._request = request
        self._cache = cache
        self._pointer = pointer
        self._history = history
        self._watch = watch
        self._provenances = read_provenances(store)
        # A version that another step saves meanwhile is not this one's to remove.
        self._found_versions = version_folders(store)

    def run(self, merged: Moments) -> dict[str, Any]:
        request = self._request
        summary = {
            "step": release.REFRESH_PCA_STEP,
            "run_id": request.run_id,
            "release": request.release_id,
            "embedder_id": self._embedder_id,
            "policy": request.policy.policy.value,
            "target_variance": request.policy.target_variance,
            "n_samples": merged.n_samples,
        }
        chosen = self._choose(merged)
        if isinstance(chosen, str):
            print(f"No PCA: {chosen}", flush=True)
            projected = self._project(None)
            self._finish(None)
            return summary | {
                "action": release.NO_PCA,
                "reason": chosen,
                "pca_version": None,
                "k": None,
                "variance_kept": None,
                "target_reached": False,
                "projected_ingest_dates": sorted(projected.ingest_dates),
                "removed_versions": [],
            }
        return summary | self._settle(chosen, merged)

    def _settle(self, chosen: _Choice, merged: Moments) -> dict[str, Any]:
        """Projects everything under the chosen version, and makes it the current one."""
        model, provenance, decision = chosen.model, chosen.provenance, chosen.decision
        print(f"PCA {'fitted' if decision.fit else 'kept'}: {decision.reason}. k = {model.k}, version {provenance.version}.", flush=True)
        if not provenance.target_reached:
            print(
                f"The target of {provenance.target_variance:.2%} can't be reached with {provenance.n_samples:,} images: all {model.k} "
                f"components that there are keep {provenance.variance_kept:.2%}. The run carries on with these.",
                flush=True,
            )
        drift = self._drift(model)
        for day, kept in drift.items():
            print(f"Of the variance of {day}, this version keeps {kept:.2%}.", flush=True)
        self._watch.mark("drift")
        projected = self._project(provenance)
        if not projected.unsettled and (self._pointer is None or self._pointer.version != provenance.version):
            flip_pointer(self._store, self._pointer, provenance, datetime.now(UTC), self._provenances)
            self._pointer = read_pointer(self._store)
        removed = self._finish(provenance if projected.unsettled else None)
        return {
            "action": "fitted" if decision.fit else "kept",
            "reason": decision.reason,
            "pca_version": provenance.version,
            "k": model.k,
            "n_samples_fitted": provenance.n_samples,
            "variance_kept": model.variance_kept,
            "retained_variance": retained_variance(model, merged),
            "retained_variance_by_date": drift,
            "target_reached": provenance.target_reached,
            "projected_ingest_dates": sorted(projected.ingest_dates),
            "unsettled_ingest_dates": sorted(projected.unsettled),
            "removed_versions": removed,
        }

    def _choose(self, merged: Moments) -> _Choice | str:
        """The version to use, or why there is none."""
        settings = self._request.policy
        current = self._current()
        waiting = self._waiting_for_embedder(current)
        if waiting:
            return waiting
        pending = self._pending(settings.target_variance)
        if pending is not None and settings.policy is RefreshPolicy.AUTO:
            decision = decide_refresh(settings, pending, merged, self._embedder_id)
            if not decision.fit:
                return _Choice(
                    pending.model,
                    pending.provenance,
                    replace(decision, reason=f"a fit that was interrupted is gone on with, as {decision.reason}"),
                )
        if (
            current is not None
            and current.provenance.embedder_id != self._embedder_id
            and self._request.switch_embedder
            and settings.policy is not RefreshPolicy.NEVER
        ):
            decision = Decision(fit=True, reason=f"the switch to embedder {self._embedder_id} was asked for")
        else:
            decision = decide_refresh(settings, current, merged, self._embedder_id)
        if decision.fit:
            try:
                return self._fitted(decision, merged)
            except TooFewImagesError as error:
                # What has vanished must leave the projections all the same: the version that there is stays.
                decision = Decision(fit=False, reason=str(error))
        if current is None:
            return f"{decision.reason}, and there is no PCA version yet"
        if current.provenance.embedder_id != self._embedder_id:
            return (
                f"{decision.reason}, and the current version {current.provenance.version} is of embedder {current.provenance.embedder_id}"
            )
        return _Choice(current.model, current.provenance, decision)

    def _waiting_for_embedder(self, current: CurrentVersion | None) -> str | None:
        """Why readers stay on a version of another embedder, if they do: it covers images that this one has not featurised yet."""
        if current is None or current.provenance.embedder_id == self._embedder_id or self._request.switch_embedder:
            return None
        left = self._history.n_images_by_date(current.provenance.embedder_id)
        if not left:
            return None
        return (
            f"{sum(left.values()):,} images of {len(left):,} dates ({min(left)} to {max(left)}) have features of embedder "
            f"{current.provenance.embedder_id} only. Until they have some of {self._embedder_id}, version {current.provenance.version} "
            "stays the current one. Run these dates, or switch at once with 'Switch to the new embedder now' (`switch_embedder`)"
        )

    def _current(self) -> CurrentVersion | None:
        return self._load(self._pointer.version) if self._pointer else None

    def _load(self, version: str) -> CurrentVersion:
        model, provenance = load_version(self._store, version)
        return CurrentVersion(model, provenance)

    def _pending(self, target_variance: float) -> CurrentVersion | None:
        """The newest version that a step has fitted and could not finish."""
        for version in sorted(self._provenances, reverse=True):
            provenance = self._provenances[version]
            if was_used(version, self._pointer) or (self._pointer is not None and version < self._pointer.version):
                continue
            if (provenance.embedder_id, provenance.target_variance) == (self._embedder_id, target_variance):
                return self._load(version)
        return None

    def _fitted(self, decision: Decision, merged: Moments) -> _Choice:
        """A new version, or the earlier one that is the same: nothing is projected twice. Raises TooFewImagesError."""
        request = self._request
        target = request.policy.target_variance
        model = fit_pca(merged, target)
        for version, provenance in reversed(self._provenances.items()):
            if version.endswith(f"-{model.digest()}") and (provenance.target_variance, provenance.embedder_id) == (
                target,
                self._embedder_id,
            ):
                return _Choice(model, provenance, decision)
        created_at = datetime.now(UTC)
        dates = self._history.of_embedder(self._embedder_id)
        provenance = Provenance(
            version=version_name(model, created_at),
            embedder_id=self._embedder_id,
            n_samples=merged.n_samples,
            ingest_dates=tuple(sorted(dates)),
            target_variance=target,
            k=model.k,
            variance_kept=model.variance_kept,
            target_reached=model.variance_kept >= target - 1e-12,
            release=request.release_id,
            created_at=created_at.isoformat(),
            moments_state=states_digest({day: found.moments.state for day, found in dates.items() if found.moments}),
        )
        save_version(self._store, model, provenance)
        self._provenances[provenance.version] = provenance
        self._watch.mark("fit")
        return _Choice(model, provenance, decision)

    def _drift(self, model: PcaModel) -> dict[str, float]:
        """The share of each of the run's dates' own variance that the version keeps. One odd day shows here and does not refit the PCA."""
        days: Sequence[str] = sorted(set(self._request.ingest_dates))[-_DRIFT_DATES_SHOWN:]
        moments = read_days(self._store, self._history, self._embedder_id, days)
        return {day: retained_variance(model, part) for day, part in sorted(moments.items())}

    def _project(self, chosen: Provenance | None) -> Projected:
        """Projects what is not projected yet, under the chosen version and all that are kept, and removes what has vanished from them."""
        kept = self._kept(chosen)
        embedders = {version: self._provenances[version].embedder_id for version in sorted(kept)}
        due: set[str] = set()
        for version in embedders:
            known = self._cache.projected.get(version, {})
            due |= {day for day, etag in self._history.etags.items() if known.get(day) != etag}
        projected = project_dates(self._spark, self._store, embedders, due, self._request.task_slots or task_slots(self._spark))
        self._cache.projected = {
            version: {
                day: etag
                for day, etag in (self._cache.projected.get(version, {}) | projected.etags).items()
                if day not in projected.unsettled
            }
            for version in embedders
        }
        self._watch.mark("project")
        return projected

    def _kept(self, pending: Provenance | None) -> set[str]:
        """The versions that are kept up to date: those which would stay if the chosen one became the current one."""
        request = self._request
        grace = timedelta(seconds=request.grace_seconds)
        return versions_to_keep(
            self._provenances, self._pointer, pending.version if pending else None, request.keep_versions, grace, datetime.now(UTC)
        )

    def _finish(self, pending: Provenance | None) -> list[str]:
        """Removes versions that are not kept, and what steps that died have left of others; remembers what was found."""
        removed = sorted(self._found_versions - self._kept(pending))
        remove_versions(self._store, removed)
        self._cache.commits = self._history.to_json()
        self._cache.write(self._store)
        self._watch.mark("remove_old_versions")
        return removed
