"""What the latency benchmark measured: the same steps near S3 and far from it. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median, median_low
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class StepRun:
    """One timed step while each request waits `milliseconds` before S3 sees it."""

    step: str
    milliseconds: float
    seconds: float
    requests: Mapping[str, int]

    @property
    def n_requests(self) -> int:
        return sum(self.requests.values())


@dataclass(frozen=True)
class StepSummary:
    """Medians of a step's runs at one distance.

    `more_seconds` is how much longer than nearest to S3 it takes, and `waits` how many times a request's latency that is: so many requests
    wait one after the other, all others beside them.
    """

    step: str
    milliseconds: float
    n_runs: int
    seconds: float
    fastest: float
    slowest: float
    requests: Mapping[str, int]
    more_seconds: float
    waits: float | None

    @property
    def n_requests(self) -> int:
        return sum(self.requests.values())


@dataclass(frozen=True)
class LatencyBenchmark:
    """`n_images` are those of the new day, `history_images` those of the days before it."""

    n_images: int
    n_days: int
    n_partitions: int
    history_images: int
    runs: Sequence[StepRun]


def summarise_steps(runs: Sequence[StepRun]) -> list[StepSummary]:
    """A summary for each step and distance, nearest first. Raises ValueError without a run of each step at the nearest distance."""
    nearest = min(run.milliseconds for run in runs)
    found: dict[tuple[str, float], list[StepRun]] = {}
    for run in sorted(runs, key=lambda run: run.milliseconds):
        found.setdefault((run.step, run.milliseconds), []).append(run)
    if missing := sorted({run.step for run in runs} - {step for step, distance in found if distance == nearest}):
        raise ValueError(f"There is no run of {', '.join(missing)} at {nearest:g} ms to compare with.")
    steps = list(dict.fromkeys(run.step for run in runs))
    return [
        _summary(found[step, distance], found[step, nearest])
        for step in steps
        for distance in sorted({run.milliseconds for run in runs})
        if (step, distance) in found
    ]


def _summary(runs: Sequence[StepRun], references: Sequence[StepRun]) -> StepSummary:
    seconds = median(run.seconds for run in runs)
    more = seconds - median(run.seconds for run in references)
    distance = runs[0].milliseconds - references[0].milliseconds
    kinds = Counter(kind for run in runs for kind in run.requests)
    return StepSummary(
        step=runs[0].step,
        milliseconds=runs[0].milliseconds,
        n_runs=len(runs),
        seconds=seconds,
        fastest=min(run.seconds for run in runs),
        slowest=max(run.seconds for run in runs),
        requests={kind: median_low(run.requests.get(kind, 0) for run in runs) for kind in kinds},
        more_seconds=more,
        waits=1000 * more / distance if distance else None,
    )
