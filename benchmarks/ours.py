"""Ours: the features step as a cluster runs it, in one Spark session (see way_worker.py)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks.way_worker import peak_spark_worker_megabytes, seconds_since_process_start
from fruit_contract import lake, release
from fruit_features import object_store
from fruit_features.extraction import ExtractionRequest, extract_features
from fruit_features.spark_session import start_session

if TYPE_CHECKING:
    from collections.abc import Callable


def start() -> dict[str, Any]:
    """Starts the session; the seconds count from the start of this process, as a step's do."""
    start_session(release.EXTRACT_FEATURES_STEP)
    return {"seconds": seconds_since_process_start()}


def run(bucket: str, release_id: str, ingest_date: str) -> dict[str, Any]:
    """One features step, from the listing to the committed ledger."""
    spark = start_session(release.EXTRACT_FEATURES_STEP)
    request = ExtractionRequest(bucket, release_id, f"benchmark_{ingest_date}", (ingest_date,), (), release.DEFAULT_ENGINE)
    # Every run computes: the contents that the runs before it left would be copied.
    object_store.delete_below(bucket, lake.content_indexes_prefix())
    started = time.monotonic()
    summary = extract_features(spark, request)
    return {
        "seconds": time.monotonic() - started,
        # Computed, not copied from a known image with the same content.
        "n_images": summary["images_computed"] - sum(summary["rejected_by_reason"].values()),
        "stages": summary["timings_seconds"],
        "worker_megabytes": peak_spark_worker_megabytes(),
    }


HANDLERS: Final[dict[str, Callable[..., dict[str, Any]]]] = {"start": start, "run": run}
