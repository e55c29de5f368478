"""Runs a day as a cluster does, both steps or one of them, in one Spark session (see way_worker.py)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.history.synthetic_history import TARGET_VARIANCE
from fruit_contract import release
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_features.embedding.artefact import find_embedder
from fruit_features.extraction.content_packs import find_hashes
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.lake.store import Store
from fruit_features.pca.step import RefreshRequest, refresh_pca
from fruit_features.spark.session import start_session

if TYPE_CHECKING:
    from collections.abc import Mapping

# `auto` looks at the merged moments as usual, but these figures make it keep the version whatever they say, so that
# histories of any length do the same work.
_AUTO: Final = PolicySettings(RefreshPolicy.AUTO, TARGET_VARIANCE, margin=1.0, growth=1e9, always_below=0)
_ALWAYS: Final = PolicySettings(RefreshPolicy.ALWAYS, TARGET_VARIANCE)


def start() -> dict[str, Any]:
    start_session(release.EXTRACT_FEATURES_STEP)
    return {}


def run(bucket: str, release_id: str, ingest_date: str) -> dict[str, Any]:
    """Runs both steps of one ingest date."""
    spark = start_session(release.EXTRACT_FEATURES_STEP)
    extracted = extract(bucket, release_id, ingest_date)
    between = time.monotonic()
    refreshed = refresh_pca(lambda: spark, RefreshRequest(bucket, release_id, "benchmark", _AUTO, (ingest_date,)))
    return {
        "features_seconds": extracted["seconds"],
        "pca_seconds": time.monotonic() - between,
        "n_images": extracted["n_images"],
        "features_stages": extracted["stages"],
        "pca_stages": refreshed["timings_seconds"],
        **_said(refreshed),
    }


def extract(bucket: str, release_id: str, ingest_date: str) -> dict[str, Any]:
    """Runs the features step alone."""
    spark = start_session(release.EXTRACT_FEATURES_STEP)
    request = ExtractionRequest(bucket, release_id, "benchmark", (ingest_date,), (), release.DEFAULT_ENGINE)
    started = time.monotonic()
    extracted = extract_features(spark, request)
    return {
        "seconds": time.monotonic() - started,
        "n_images": extracted["images_computed"] - sum(extracted["rejected_by_reason"].values()),
        "stages": extracted["timings_seconds"],
    }


def refresh(bucket: str, release_id: str, *, refit: bool) -> dict[str, Any]:
    """Runs the PCA step alone.

    Without a refit it only keeps the blocks of merged moments, and the packs that features steps would have kept.
    """
    spark = start_session(release.REFRESH_PCA_STEP)
    if not refit:
        store = Store(bucket)
        embedder_id = find_embedder(store, release_id, release.DEFAULT_ENGINE).embedder_id
        find_hashes(store, embedder_id, np.array([0], dtype=np.uint64))
    started = time.monotonic()
    refreshed = refresh_pca(lambda: spark, RefreshRequest(bucket, release_id, "benchmark", _ALWAYS if refit else _AUTO))
    return {"seconds": time.monotonic() - started, "stages": refreshed["timings_seconds"], **_said(refreshed)}


def _said(summary: Mapping[str, object]) -> dict[str, Any]:
    return {name: summary[name] for name in ("action", "k", "moments_read", "n_samples", "projected_ingest_dates")}
