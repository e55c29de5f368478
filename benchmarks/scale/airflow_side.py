"""Runs Airflow's side of a run as its tasks do it: the plan before the cluster, and the check after it (see
way_worker.py).
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

from fruit_pipeline.checks.output import check_run
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.planning.planner import plan_run
from fruit_pipeline.request.params import RunDates
from fruit_pipeline.request.run_request import RunRequest
from fruit_pipeline.settings import Settings


def start() -> dict[str, Any]:
    """Loads what a task has loaded before it does anything: Airflow, and the connection to the lake."""
    lake_of(_settings("any"))
    return {}


def plan(bucket: str, run_id: str, ingest_date: str) -> dict[str, Any]:
    """Does what `plan_run` does for one date."""
    request = RunRequest(run_id, RunDates((ingest_date,)), over_budget_allowed=True)
    started = time.monotonic()
    planned = plan_run(_settings(bucket), lake_of, request, datetime.now(UTC), lambda _: False)
    return {"seconds": time.monotonic() - started, "n_images": planned.plan.images, "n_new": planned.plan.new}


def check(bucket: str, run_id: str, ingest_date: str) -> dict[str, Any]:
    """Does what `check_output` does for one date. Raises ValueError if it finds anything wrong."""
    lake = lake_of(_settings(bucket))
    started = time.monotonic()
    result = check_run(lake, run_id, [ingest_date], [], datetime.now(UTC))
    seconds = time.monotonic() - started
    if result.problems:
        raise ValueError(f"The check found: {' '.join(result.problems[:5])}")
    return {"seconds": seconds, "n_images": result.images_in_ledger, "n_new": 0}


def _settings(bucket: str) -> Settings:
    return Settings(lake_bucket=bucket, region=os.environ["AWS_REGION"])
