"""The PCA step: merge moments, fit if the policy says so, project what is not projected yet, flip the pointer last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import lake, release, tables
from fruit_features import hadoop_files, model_store, object_store
from fruit_features.arrow_vectors import to_list_array, to_matrix
from fruit_features.embedder_artefact import find_embedder
from fruit_features.lake_tables import ingest_dates, read_table, replace_partitions, schema_of
from fruit_features.model_store import Provenance
from fruit_features.moments_frames import collect_merged
from fruit_features.pca import TooFewImagesError, fit_pca, project
from fruit_features.refresh_policy import CurrentVersion, RefreshPolicy, decide_refresh
from fruit_features.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from fruit_features.moments import Moments
    from fruit_features.pca import PcaModel

_PROJECTED = "_projected.json"


@dataclass(frozen=True)
class RefreshRequest:
    """What one PCA step is asked for."""

    bucket: str
    release_id: str
    run_id: str
    policy: RefreshPolicy
    target_variance: float


def refresh_pca(spark: SparkSession, request: RefreshRequest) -> dict[str, Any]:
    """Does the step and returns its summary, as `runs/_steps/<run_id>/refresh_pca.json` holds it."""
    watch = Stopwatch()
    embedder_id = find_embedder(request.bucket, request.release_id, release.DEFAULT_ENGINE).embedder_id
    dates = ingest_dates(spark, request.bucket, lake.MOMENTS)
    rows = read_table(spark, request.bucket, lake.MOMENTS, dates).where(F.col(tables.EMBEDDER_ID) == embedder_id)
    fingerprints = _fingerprints(rows)
    merged = collect_merged(rows)
    watch.mark("merge_moments")

    current = _load_current(request.bucket)
    decision = decide_refresh(request.policy, current, merged, embedder_id, request.target_variance)
    summary = {
        "step": release.REFRESH_PCA_STEP,
        "run_id": request.run_id,
        "release": request.release_id,
        "embedder_id": embedder_id,
        "target_variance": request.target_variance,
    }
    if decision.fit:
        try:
            model = fit_pca(merged, request.target_variance)
        except TooFewImagesError as error:
            return summary | _nothing(str(error), merged, watch)
        version = _save(request, model, merged, embedder_id, sorted(fingerprints))
        watch.mark("fit")
    elif current is None:
        return summary | _nothing(f"{decision.reason}, and there is no PCA version yet", merged, watch)
    elif current.provenance.embedder_id != embedder_id:
        reason = f"{decision.reason}, and the current version {current.provenance.version} is of embedder {current.provenance.embedder_id}"
        return summary | _nothing(reason, merged, watch)
    else:
        model, version = current.model, current.provenance
    print(f"PCA {'fitted' if decision.fit else 'kept'}: {decision.reason}. k = {model.k}, version {version.version}.", flush=True)

    projected = _project_dates(spark, request.bucket, model, version, fingerprints)
    watch.mark("project")
    model_store.flip_current(request.bucket, version)
    return summary | {
        "action": "fitted" if decision.fit else "kept",
        "reason": decision.reason,
        "pca_version": version.version,
        "k": model.k,
        "n_samples": merged.n_samples,
        "variance_kept": model.variance_kept,
        "target_reached": version.target_reached,
        "projected_ingest_dates": projected,
        "timings_seconds": watch.finish(),
    }


def _nothing(reason: str, merged: Moments, watch: Stopwatch) -> dict[str, Any]:
    print(f"No PCA: {reason}", flush=True)
    return {
        "action": "nothing",
        "reason": reason,
        "pca_version": None,
        "k": None,
        "n_samples": merged.n_samples,
        "variance_kept": None,
        "target_reached": False,
        "projected_ingest_dates": [],
        "timings_seconds": watch.finish(),
    }


def _fingerprints(moments: DataFrame) -> dict[str, str]:
    """What tells one state of a date's features from another, by date."""
    columns = (tables.INGEST_DATE, tables.N_SAMPLES, tables.CONTENT_DIGEST)
    return {day: f"{n_samples}-{digest}" for day, n_samples, digest in moments.select(*columns).collect()}


def _load_current(bucket: str) -> CurrentVersion | None:
    version = model_store.current_version(bucket)
    if version is None:
        return None
    model, provenance = model_store.load_version(bucket, version)
    return CurrentVersion(model, provenance)


def _save(request: RefreshRequest, model: PcaModel, merged: Moments, embedder_id: str, dates: Sequence[str]) -> Provenance:
    created_at = datetime.now(UTC)
    provenance = Provenance(
        version=model_store.version_name(model, created_at),
        embedder_id=embedder_id,
        n_samples=merged.n_samples,
        ingest_dates=tuple(dates),
        target_variance=request.target_variance,
        k=model.k,
        variance_kept=model.variance_kept,
        target_reached=model.variance_kept >= request.target_variance - 1e-12,
        release=request.release_id,
        created_at=created_at.isoformat(timespec="seconds"),
    )
    model_store.save_version(request.bucket, model, provenance)
    return provenance


def _project_dates(spark: SparkSession, bucket: str, model: PcaModel, version: Provenance, fingerprints: dict[str, str]) -> list[str]:
    """Projects every date whose features this version has not projected as they are now; returns those dates."""
    record_key = lake.projections_prefix(version.version) + _PROJECTED
    done: dict[str, str] = object_store.read_json_if_there(bucket, record_key) or {}
    stale = sorted(day for day, fingerprint in fingerprints.items() if done.get(day) != fingerprint)
    vanished = sorted(done.keys() - fingerprints.keys())
    if stale:
        features = read_table(spark, bucket, lake.FEATURES, stale).where(F.col(tables.EMBEDDER_ID) == version.embedder_id)
        replace_partitions(project_features(features, model, version.version), bucket, lake.PROJECTIONS)
        _remove_emptied(spark, bucket, version.version, stale)
    for day in vanished:
        hadoop_files.remove(spark, lake.uri(bucket, f"{lake.projections_prefix(version.version)}{tables.INGEST_DATE}={day}/"))
    if stale or vanished:
        object_store.write_json(bucket, record_key, fingerprints)
    return stale


def _remove_emptied(spark: SparkSession, bucket: str, version: str, dates: Sequence[str]) -> None:
    """A category that lost its features loses its projections."""
    for day in dates:
        features = lake.uri(bucket, lake.date_prefix(lake.FEATURES, day))
        projections = lake.uri(bucket, f"{lake.projections_prefix(version)}{tables.INGEST_DATE}={day}/")
        kept = set(hadoop_files.list_folders(spark, features))
        for folder in hadoop_files.list_folders(spark, projections):
            if folder not in kept:
                hadoop_files.remove(spark, f"{projections}{folder}/")


def project_features(features: DataFrame, model: PcaModel, version: str) -> DataFrame:
    """Rows of `features/` as rows of `projections/` under one PCA version."""
    keys = (tables.IMAGE_KEY, tables.INGEST_DATE, tables.CATEGORY)

    def compute(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            components = project(model, to_matrix(batch.column(len(keys)), tables.N_FEATURES))
            columns = [batch.column(index) for index in range(len(keys))]
            yield pa.RecordBatch.from_arrays([*columns, to_list_array(list(components))], names=[*keys, tables.COMPONENTS])

    projected = features.select(*keys, tables.VECTOR).mapInArrow(compute, schema_of((*keys, tables.COMPONENTS)))
    return projected.withColumn(tables.PCA_VERSION, F.lit(version))
