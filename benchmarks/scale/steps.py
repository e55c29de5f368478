"""Runs the cluster's side of a run on very many images, whose features come from a digest and not from a network (see
way_worker.py).
"""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import patch

from benchmarks.history.synthetic_history import TARGET_VARIANCE
from benchmarks.scale.digest_engine import DigestTask
from fruit_contract import lake, release
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_features.embedding.artefact import find_embedder
from fruit_features.extraction import step
from fruit_features.extraction.date_work import plan_date
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.lake.commit import projected_versions
from fruit_features.lake.store import Store
from fruit_features.pca.step import RefreshRequest, refresh_pca
from fruit_features.spark.session import start_session


def start() -> dict[str, Any]:
    """Starts the session, as a step does before it looks at the lake."""
    start_session(release.EXTRACT_FEATURES_STEP)
    return {}


def extract(bucket: str, release_id: str, run_id: str, ingest_date: str) -> dict[str, Any]:
    """Runs one features step, from the listing to the committed ledger and the step's summary."""
    spark = start_session(release.EXTRACT_FEATURES_STEP)
    request = ExtractionRequest(bucket, release_id, run_id, (ingest_date,), (), release.DEFAULT_ENGINE)
    started = time.monotonic()
    with patch.object(step, "FeaturesTask", DigestTask):
        summary = extract_features(spark, request)
    Store(bucket).write_json(lake.step_summary_key(run_id, release.EXTRACT_FEATURES_STEP), summary)
    return {
        "seconds": time.monotonic() - started,
        "n_images": summary["images_computed"] - sum(summary["rejected_by_reason"].values()),
        "stages": summary["timings_seconds"],
    }


def refresh(bucket: str, release_id: str, run_id: str, ingest_dates: list[str], *, refit: bool) -> dict[str, Any]:
    """Runs one PCA step, up to the flipped pointer and the step's summary. Without a refit it keeps the current
    version.
    """
    spark = start_session(release.REFRESH_PCA_STEP)
    policy = PolicySettings(RefreshPolicy.ALWAYS if refit else RefreshPolicy.NEVER, TARGET_VARIANCE)
    started = time.monotonic()
    summary = refresh_pca(lambda: spark, RefreshRequest(bucket, release_id, run_id, policy, tuple(ingest_dates)))
    Store(bucket).write_json(lake.step_summary_key(run_id, release.REFRESH_PCA_STEP), summary)
    return {
        "seconds": time.monotonic() - started,
        "n_images": summary["n_samples"],
        "stages": summary["timings_seconds"],
        "action": summary["action"],
        "k": summary["k"],
        "n_dates": len(summary["projected_ingest_dates"]),
    }


def plan(bucket: str, release_id: str, ingest_date: str) -> dict[str, Any]:
    """Does what the driver does first, without Spark: lists a date and compares it with its ledger."""
    store = Store(bucket)
    embedder_id = find_embedder(store, release_id, release.DEFAULT_ENGINE).embedder_id
    started = time.monotonic()
    planned = plan_date(store, ingest_date, embedder_id, (), projected_versions(store), retry_rejected=False)
    return {
        "seconds": time.monotonic() - started,
        "n_images": planned.ledger.rows.num_rows,
        "n_new": planned.images.num_rows,
    }
