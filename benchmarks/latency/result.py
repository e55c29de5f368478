"""Holds what the latency benchmark measured, the same steps near S3 and far from it, and makes its table and the words
below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median_low
from typing import TYPE_CHECKING

from benchmarks.harness.grid import Column, Grid, column_each, grid
from benchmarks.harness.requests import kinds_of
from benchmarks.harness.summary import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class StepRun:
    """Holds one timed step, during which each request waits `milliseconds` before S3 sees it."""

    step: str
    milliseconds: float
    seconds: float
    requests: Mapping[str, int]


@dataclass(frozen=True)
class LatencyBenchmark:
    """Holds the runs of both steps. `n_images` are those of the new day, `history_images` those of earlier days."""

    n_images: int
    n_days: int
    n_partitions: int
    history_images: int
    runs: Sequence[StepRun]

    def grids(self) -> list[Grid]:
        """Returns one table: each step near S3 and far from it."""
        summaries = summarise_steps(self.runs)
        near = {summary.first.step: summary for summary in reversed(summaries)}
        kinds = kinds_of(run.requests for run in self.runs)
        columns = [
            Column[Summary[StepRun]]("step", "{}", lambda summary: summary.first.step),
            Column("ms a request", "{:g}", lambda summary: summary.first.milliseconds),
            Column("runs", "{}", lambda summary: summary.n_runs),
            Column("s", "{:.2f}", lambda summary: summary.median("seconds")),
            Column("from, to", "{:.2f} to {:.2f}", lambda summary: (summary.least("seconds"), summary.most("seconds"))),
            Column("more s", "{:.2f}", lambda summary: more_seconds(summary, near[summary.first.step])),
            Column("waits", "{:.0f}", lambda summary: waits(summary, near[summary.first.step])),
            *column_each(kinds, "{:,}", lambda summary, kind: requests_of(summary).get(kind, 0)),
            Column("requests", "{:,}", lambda summary: sum(requests_of(summary).values())),
        ]
        return [
            grid("A day's features step and a refit of the PCA, by the distance of S3 (medians)", columns, summaries)
        ]

    def notes(self) -> list[str]:
        day = (
            f"The day has {self.n_images:,} new images, after {self.n_days:,} days of history with "
            f"{self.history_images:,} images in "
            f"{self.n_partitions:,} partitions. The refit fits anew and projects everything, the new day with it."
        )
        distance = (
            "A proxy before the local S3 holds every request back for so long, and counts it "
            "(local_cloud/stack/latency.py). 'waits' is how many times this latency the step takes longer: so many "
            "requests come one after the other, all others wait beside them."
        )
        warm = (
            "Both steps run warm, in one Spark session; the start of a session sees no S3. LIST is a page of a listing."
        )
        return [day, distance, warm]


def summarise_steps(runs: Sequence[StepRun]) -> list[Summary[StepRun]]:
    """Returns a summary for each step and distance, nearest first. Raises ValueError if a step has no run at the
    nearest distance.
    """
    nearest = min(run.milliseconds for run in runs)
    found = summarise(runs, by=lambda run: (run.step, run.milliseconds))
    steps = list(dict.fromkeys(step for step, _ in found))
    if missing := sorted(step for step in steps if (step, nearest) not in found):
        raise ValueError(f"There is no run of {', '.join(missing)} at {nearest:g} ms to compare with.")
    return [found[key] for key in sorted(found, key=lambda key: (steps.index(key[0]), key[1]))]


def more_seconds(summary: Summary[StepRun], near: Summary[StepRun]) -> float | None:
    """Returns how many seconds longer a step takes than near S3, or None if it ran near S3."""
    return None if summary is near else summary.median("seconds") - near.median("seconds")


def waits(summary: Summary[StepRun], near: Summary[StepRun]) -> float | None:
    """Returns how many latencies longer a step takes than near S3: so many requests wait one after the other, the rest
    at the same time. Returns None if the step ran near S3.
    """
    more = more_seconds(summary, near)
    return None if more is None else 1000 * more / (summary.first.milliseconds - near.first.milliseconds)


def requests_of(summary: Summary[StepRun]) -> dict[str, int]:
    """Returns the median number of requests of each kind; it is always the number of one of the runs."""
    return {
        kind: median_low(run.requests.get(kind, 0) for run in summary.runs)
        for kind in kinds_of(run.requests for run in summary.runs)
    }
