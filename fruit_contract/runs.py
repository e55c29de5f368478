"""Names the states and the types of a DAG's runs, in the words of Airflow's API and database."""

from __future__ import annotations

from typing import Final

from fruit_contract.newer_python import StrEnum


class RunState(StrEnum):
    """Names the states of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class RunType(StrEnum):
    """Names what started a run, as far as it makes a difference."""

    SCHEDULED = "scheduled"
    BACKFILL = "backfill"
    ASSET_TRIGGERED = "asset_triggered"


# A run in one of these may still write to the lake; one in any other has ended.
UNDER_WAY: Final = (RunState.QUEUED, RunState.RUNNING)
