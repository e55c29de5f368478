"""Runs the features step as a cluster does, in one Spark session (see way_worker.py)."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa

from benchmarks.harness.way_worker import peak_spark_worker_megabytes, seconds_since_process_start
from benchmarks.scale.made_up_stores import MadeUpDate
from fruit_contract import lake, release, tables
from fruit_contract.listing import ListedObject
from fruit_features.extraction.date_work import plan_date
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.extraction.task import IMAGES, SOURCE, to_stream
from fruit_features.lake.store import Store
from fruit_features.spark.session import start_session, task_slots
from fruit_features.spark.task_planning import plan_tasks, spread


def start() -> dict[str, Any]:
    """Starts the session and answers the seconds since this process started, which a step's time counts, too."""
    start_session(release.EXTRACT_FEATURES_STEP)
    return {"seconds": seconds_since_process_start()}


def run(bucket: str, release_id: str, ingest_date: str) -> dict[str, Any]:
    """Runs one features step, from the listing to the committed ledger."""
    spark = start_session(release.EXTRACT_FEATURES_STEP)
    request = ExtractionRequest(
        bucket, release_id, f"benchmark_{ingest_date}", (ingest_date,), (), release.DEFAULT_ENGINE
    )
    # Without this, the contents that earlier runs left would be copied and not computed.
    Store(bucket).delete_below(lake.content_indexes_prefix())
    started = time.monotonic()
    summary = extract_features(spark, request)
    return {
        "seconds": time.monotonic() - started,
        # These were computed, not copied from a known image with the same content.
        "n_images": summary["images_computed"] - sum(summary["rejected_by_reason"].values()),
        "stages": summary["timings_seconds"],
        "worker_megabytes": peak_spark_worker_megabytes(),
    }


def plan(n_images: int) -> dict[str, Any]:
    """Times what the driver does with the listing of a large new day: it compares it with the ledger and deals the
    images into tasks.
    """
    day = "2026-01-01"
    listed = tuple(
        ListedObject(lake.image_key(day, "Kiwi", f"{number:09}.jpg"), "etag", 5_000) for number in range(n_images)
    )
    n_slots = task_slots(start_session(release.EXTRACT_FEATURES_STEP))
    started = time.monotonic()
    planned = plan_date(MadeUpDate("benchmark", listed), day, "embedder", (), (), retry_rejected=False)
    images = planned.images.append_column(IMAGES.field(SOURCE), pa.nulls(planned.images.num_rows, pa.string()))
    tasks = spread(plan_tasks(images.column(tables.SIZE_BYTES).to_pylist(), n_slots), n_slots)
    streams = [to_stream(images.slice(task.start, len(task))) for task in tasks]
    seconds = time.monotonic() - started
    if sum(map(len, tasks)) != n_images or not all(streams):
        raise ValueError(f"The tasks do not hold the {n_images:,} images once each.")
    return {"seconds": seconds}
