"""The PCA step: merge moments, fit if the policy says so, project what is not projected yet, flip the pointer last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from fruit_contract import lake, release
from fruit_features import hadoop_files
from fruit_features.embedding.artefact import find_embedder
from fruit_features.lake import store as object_store
from fruit_features.moments.history_tree import states_digest
from fruit_features.moments.store import merge_history, read_days
from fruit_features.moments_states import read_moments_states
from fruit_features.pca import versions as model_store
from fruit_features.pca.fit import TooFewImagesError, fit_pca, retained_variance
from fruit_features.pca.policy import CurrentVersion, Decision, PolicySettings, decide_refresh
from fruit_features.pca.projecting import project_dates
from fruit_features.pca.versions import Provenance
from fruit_features.spark.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import SparkSession

    from fruit_features.moments.algebra import Moments
    from fruit_features.moments.store import MergedHistory
    from fruit_features.pca.fit import PcaModel

DEFAULT_KEPT_VERSIONS: Final = 3
DEFAULT_WRITER_GRACE_SECONDS: Final = 300.0
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
    writer_grace_seconds: float = DEFAULT_WRITER_GRACE_SECONDS


def refresh_pca(spark: SparkSession, request: RefreshRequest) -> dict[str, Any]:
    """Does the step and returns its summary, as `runs/_steps/<run_id>/refresh_pca.json` holds it."""
    watch = Stopwatch()
    bucket = request.bucket
    embedder_id = find_embedder(bucket, request.release_id, release.DEFAULT_ENGINE).embedder_id
    states = read_moments_states(bucket, embedder_id)
    history = merge_history(spark, bucket, embedder_id, states)
    watch.mark("merge_moments")
    summary = _refresh(spark, request, embedder_id, states, history, watch)
    # What was merged is written beside all of this; a step that fails merges it again.
    history.keep()
    watch.mark("keep_moments")
    return summary | {"timings_seconds": watch.finish()}


def _refresh(
    spark: SparkSession, request: RefreshRequest, embedder_id: str, states: Mapping[str, str], history: MergedHistory, watch: Stopwatch
) -> dict[str, Any]:
    bucket, target, merged = request.bucket, request.policy.target_variance, history.moments
    current = _load_current(bucket)
    decision = decide_refresh(request.policy, current, merged, embedder_id)
    summary = {
        "step": release.REFRESH_PCA_STEP,
        "run_id": request.run_id,
        "release": request.release_id,
        "embedder_id": embedder_id,
        "policy": request.policy.policy.value,
        "target_variance": target,
        "moments_read": history.n_read,
    }
    model = None
    if decision.fit:
        try:
            model = fit_pca(merged, target)
        except TooFewImagesError as error:
            # What has vanished must leave the projections all the same: the version that there is stays.
            decision = Decision(fit=False, reason=str(error))
    if model is not None:
        version = _save(request, model, merged, embedder_id, states)
        watch.mark("fit")
    elif current is None:
        return summary | _nothing(f"{decision.reason}, and there is no PCA version yet", merged)
    elif current.provenance.embedder_id != embedder_id:
        reason = f"{decision.reason}, and the current version {current.provenance.version} is of embedder {current.provenance.embedder_id}"
        return summary | _nothing(reason, merged)
    else:
        model, version = current.model, current.provenance
    print(f"PCA {'fitted' if decision.fit else 'kept'}: {decision.reason}. k = {model.k}, version {version.version}.", flush=True)
    if not version.target_reached:
        print(
            f"The target of {target:.2%} can't be reached with {version.n_samples:,} images: all {model.k} components that there are keep "
            f"{version.variance_kept:.2%}. The run carries on with these.",
            flush=True,
        )
    drift = _drift(spark, request, model, embedder_id, states)
    for day, kept in drift.items():
        print(f"Of the variance of {day}, this version keeps {kept:.2%}.", flush=True)
    watch.mark("drift")

    projected = project_dates(spark, bucket, model, version, states, writer_grace_seconds=request.writer_grace_seconds)
    watch.mark("project")
    if current is None or current.provenance.version != version.version:
        model_store.flip_current(bucket, version)
    removed = _remove_old_versions(spark, bucket, version.version, request.keep_versions)
    watch.mark("remove_old_versions")
    return summary | {
        "action": "fitted" if decision.fit else "kept",
        "reason": decision.reason,
        "pca_version": version.version,
        "k": model.k,
        "n_samples": merged.n_samples,
        "n_samples_fitted": version.n_samples,
        "variance_kept": model.variance_kept,
        "retained_variance": retained_variance(model, merged),
        "retained_variance_by_date": drift,
        "target_reached": version.target_reached,
        "projected_ingest_dates": projected.ingest_dates,
        "unsettled_ingest_dates": projected.unsettled,
        "removed_versions": removed,
    }


def _nothing(reason: str, merged: Moments) -> dict[str, Any]:
    print(f"No PCA: {reason}", flush=True)
    return {
        "action": release.NO_PCA,
        "reason": reason,
        "pca_version": None,
        "k": None,
        "n_samples": merged.n_samples,
        "variance_kept": None,
        "target_reached": False,
        "projected_ingest_dates": [],
    }


def _load_current(bucket: str) -> CurrentVersion | None:
    version = model_store.current_version(bucket)
    if version is None:
        return None
    model, provenance = model_store.load_version(bucket, version)
    return CurrentVersion(model, provenance)


def _save(request: RefreshRequest, model: PcaModel, merged: Moments, embedder_id: str, states: Mapping[str, str]) -> Provenance:
    """A new version, or the earlier one that is the same: an interrupted run goes on where it was, and nothing is projected twice."""
    earlier = model_store.version_with_digest(request.bucket, model.digest())
    if earlier is not None:
        provenance = model_store.load_version(request.bucket, earlier)[1]
        if (provenance.target_variance, provenance.embedder_id) == (request.policy.target_variance, embedder_id):
            return provenance
    created_at = datetime.now(UTC)
    provenance = Provenance(
        version=model_store.version_name(model, created_at),
        embedder_id=embedder_id,
        n_samples=merged.n_samples,
        ingest_dates=tuple(sorted(states)),
        target_variance=request.policy.target_variance,
        k=model.k,
        variance_kept=model.variance_kept,
        target_reached=model.variance_kept >= request.policy.target_variance - 1e-12,
        release=request.release_id,
        created_at=created_at.isoformat(timespec="seconds"),
        moments_state=states_digest(states),
    )
    model_store.save_version(request.bucket, model, provenance)
    return provenance


def _drift(spark: SparkSession, request: RefreshRequest, model: PcaModel, embedder_id: str, states: Mapping[str, str]) -> dict[str, float]:
    """The share of each of the run's dates' own variance that the version keeps. One odd day shows here and does not refit the PCA."""
    days: Sequence[str] = sorted(set(request.ingest_dates) & states.keys())[-_DRIFT_DATES_SHOWN:]
    moments = read_days(spark, request.bucket, embedder_id, days) if days else {}
    return {day: retained_variance(model, part) for day, part in sorted(moments.items())}


def _remove_old_versions(spark: SparkSession, bucket: str, current: str, keep: int) -> list[str]:
    """Projections first: a version that is still there has all it had."""
    removed = model_store.versions_to_remove(model_store.list_versions(bucket), current, keep)
    for version in removed:
        hadoop_files.remove(spark, lake.uri(bucket, lake.projections_prefix(version)))
        object_store.delete_below(bucket, lake.pca_prefix(version))
    return removed
