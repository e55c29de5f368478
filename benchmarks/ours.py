"""Ours: the features step as a cluster runs it, in one Spark session (see way_worker.py)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks.way_worker import peak_spark_worker_megabytes, seconds_since_process_start
from fruit_contract import lake, release
from fruit_contract.increments import plan_increment
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.lake import store as object_store
from fruit_features.packet_frames import task_images
from fruit_features.spark.session import start_session, task_slots

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


def plan(n_images: int) -> dict[str, Any]:
    """What the driver does with the listing of a large new day: compares it with the ledger and deals the images into tasks."""
    day = "2026-01-01"
    listed = [object_store.ListedObject(lake.image_key(day, "Kiwi", f"{number}.jpg"), "etag", 5_000) for number in range(n_images)]
    started = time.monotonic()
    increment = plan_increment(day, listed, [], "embedder")
    tasks = task_images(increment.new, {}, task_slots(start_session(release.EXTRACT_FEATURES_STEP)))
    seconds = time.monotonic() - started
    if sum(map(len, tasks)) != n_images:
        raise ValueError(f"The tasks do not hold the {n_images:,} images once each.")
    return {"seconds": seconds}


HANDLERS: Final[dict[str, Callable[..., dict[str, Any]]]] = {"start": start, "run": run, "plan": plan}
