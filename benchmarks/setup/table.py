"""What `make demo` in a fresh clone said, and when: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.features.table import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

# How the lines begin with which a stage begins, and what the stage is.
_STAGES: Final = {
    "==> Environment": "the environment",
    "==> Starting the local cloud": "the local cloud and Airflow; beside it, a first export of the embedder",
    "==> Drawing": "drawing the images",
    "==> Publishing": "publishing the release",
    "==> Day 1": "the run of the first day",
    "==> The books balance": "stopping everything",
}


@dataclass(frozen=True)
class Setup:
    """`lines` of the demo's output with the seconds since its start; `first_features` are the seconds until the first file of features."""

    lines: Sequence[tuple[float, str]]
    first_features: float


def stage_starts(setup: Setup) -> list[tuple[str, float]]:
    """Each stage that the demo named, with the seconds since the start."""
    starts = []
    for begins, stage in _STAGES.items():
        found = next((seconds for seconds, line in setup.lines if line.startswith(begins)), None)
        if found is not None:
            starts.append((stage, found))
    return starts


def setup_grids(setup: Setup) -> list[Grid]:
    starts = stage_starts(setup)
    ends = [seconds for _, seconds in starts[1:]] + [setup.lines[-1][0]]
    stages = [(stage, f"{start:.1f}", f"{end - start:.1f}") for (stage, start), end in zip(starts, ends, strict=True)]
    moments = [("the first features in the lake", f"{setup.first_features:.1f}"), ("its end", f"{setup.lines[-1][0]:.1f}")]
    return [
        Grid("From `make demo` to", ("what", "s"), moments),
        Grid("Its stages", ("stage", "begins at s", "takes s"), stages),
    ]


def setup_notes() -> list[str]:
    return [
        "A clone of the last commit, without an environment, the embedder or a local cloud; packages come from this machine's caches.",
        "One day of the drawn demo; Airflow starts anew.",
    ]
