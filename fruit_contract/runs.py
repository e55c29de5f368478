"""Runs of a DAG, in Airflow's words: who looks at them through its API or its database sees these."""

from __future__ import annotations

from typing import Final

from fruit_contract.newer_python import StrEnum


class RunState(StrEnum):
    """The states of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class RunType(StrEnum):
    """What started a run, as far as it makes a difference."""

    SCHEDULED = "scheduled"
    BACKFILL = "backfill"
    ASSET_TRIGGERED = "asset_triggered"


# A run in one of these may still write to the lake; one in any other has ended.
UNDER_WAY: Final = (RunState.QUEUED, RunState.RUNNING)
