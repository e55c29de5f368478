"""How far a running step has come, as its driver writes it to `lake.progress_key`."""

from __future__ import annotations

from typing import TypedDict

from fruit_contract.newer_python import StrEnum


class StepState(StrEnum):
    """What a step does now, in the order in which it does it."""

    LISTING = "listing"
    COMPUTING = "computing"
    WRITING = "writing"
    DONE = "done"


class StepProgress(TypedDict):
    """What the step said last. `images_per_second` is the recent rate, None while no image is done; `seconds` is how long it computes."""

    run_id: str
    step: str
    state: StepState
    total: int
    done: int
    rejected: int
    images_per_second: float | None
    seconds: float
    updated_at: str
