"""Holds what `make demo` said in a fresh clone, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.harness.grid import Column, Grid, grid, two_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

# A stage begins with a line that begins like this; the value says what the stage is.
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
    """Holds the `lines` of the demo's output with the seconds since its start. `first_features` are the seconds until
    the first file of features.
    """

    lines: Sequence[tuple[float, str]]
    first_features: float

    def grids(self) -> list[Grid]:
        starts = stage_starts(self)
        end = self.lines[-1][0]
        ends = [*(seconds for _, seconds in starts[1:]), end]
        columns = [
            Column[tuple[tuple[str, float], float]]("stage", "{}", lambda stage: stage[0][0]),
            Column("begins at s", "{:.1f}", lambda stage: stage[0][1]),
            Column("takes s", "{:.1f}", lambda stage: stage[1] - stage[0][1]),
        ]
        return [
            two_columns(
                "From `make demo` to",
                ("what", "s"),
                "{:.1f}",
                [("the first features in the lake", self.first_features), ("its end", end)],
            ),
            grid("Its stages", columns, zip(starts, ends, strict=True)),
        ]

    def notes(self) -> list[str]:
        return [
            (
                "A clone of the last commit, without an environment, the embedder or a local cloud; packages come from "
                "this machine's caches."
            ),
            "One day of the drawn demo; Airflow starts anew.",
        ]


def stage_starts(setup: Setup) -> list[tuple[str, float]]:
    """Returns each stage that the demo named, with the seconds since the start."""
    starts = []
    for begins, stage in _STAGES.items():
        found = next((seconds for seconds, line in setup.lines if line.startswith(begins)), None)
        if found is not None:
            starts.append((stage, found))
    return starts
