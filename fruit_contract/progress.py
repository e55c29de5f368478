"""Says how far a running step has come, as its driver writes it to `lake.progress_key`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from fruit_contract.newer_python import StrEnum

# A step writes every few seconds.
_STALE_AFTER: Final = timedelta(seconds=60)


class StepState(StrEnum):
    """Names what a step does at a time, in the order in which it does it."""

    LISTING = "listing"
    COMPUTING = "computing"
    WRITING = "writing"
    DONE = "done"


@dataclass(frozen=True)
class StepProgress:
    """Holds what a step said last. `images_per_second` is the recent rate, or None while no image is done; `seconds` is
    how long the step has been computing.
    """

    run_id: str
    step: str
    state: StepState
    total: int
    done: int
    rejected: int
    images_per_second: float | None
    seconds: float
    updated_at: datetime

    @property
    def share(self) -> float:
        """Returns the share of the images that are done, from 0 to 1. It is 1 if there is nothing to do."""
        return min(1.0, self.done / self.total) if self.total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Returns how many more seconds the images take to compute, or None if that can't be told."""
        if self.state != StepState.COMPUTING or not self.images_per_second:
            return None
        seconds = max(0, self.total - self.done) / self.images_per_second
        return seconds if math.isfinite(seconds) else None

    def silence(self, now: datetime) -> timedelta | None:
        """Returns how long a step that is not done has said nothing, or None as long as that is usual."""
        silent = now - self.updated_at
        return None if self.state == StepState.DONE or silent < _STALE_AFTER else silent

    def to_json(self) -> dict[str, object]:
        """Returns the JSON object that the lake holds."""
        return asdict(self) | {"updated_at": self.updated_at.isoformat(timespec="seconds")}
