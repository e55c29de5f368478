"""Holds what the soak found, its tables and the words below them, and says which findings break a promise."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from benchmarks.harness.grid import Column, Grid, grid, two_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_LONGEST_REASON: Final = 160
_SHOWN: Final = 20


@dataclass(frozen=True)
class TaskTrouble:
    """Describes a task that failed or was tried again, and its error. `is_stale` says whether Airflow took a living try
    for a lost one.
    """

    run_id: str
    task_id: str
    has_failed: bool
    reason: str
    is_stale: bool


@dataclass(frozen=True)
class RunFound:
    """Describes a run that has ended, with those of its tasks that failed or were tried again."""

    run_id: str
    state: str
    seconds: float
    troubles: tuple[TaskTrouble, ...] = ()


@dataclass(frozen=True)
class Books:
    """Holds the keys that were delivered, and how many ledger lines each key has."""

    delivered: frozenset[str]
    ledger_lines: Mapping[str, int]

    def problems(self) -> list[str]:
        missing = self.delivered - self.ledger_lines.keys()
        unknown = self.ledger_lines.keys() - self.delivered
        twice = [key for key, lines in self.ledger_lines.items() if lines > 1]
        found = {
            "in no ledger line": missing,
            "in a ledger, and never delivered": unknown,
            "in more than one ledger line": twice,
        }
        return [f"{len(keys):,} images are {what}: {_some(keys)}" for what, keys in found.items() if keys]


@dataclass(frozen=True)
class SoakResult:
    """Holds all findings. `memory` is what each process and its children hold in MB, after the first runs and when the
    last one had ended.
    """

    seconds: float
    at_once: int
    runs: Sequence[RunFound]
    clusters: int
    clusters_left: Sequence[str]
    books: Books
    memory: Mapping[str, tuple[float, float]]

    @property
    def troubles(self) -> list[TaskTrouble]:
        return [trouble for run in self.runs for trouble in run.troubles]

    def problems(self) -> list[str]:
        """Returns what breaks a promise, a line for each; empty if all is well."""
        failed = [run.run_id for run in self.runs if run.state != "success"]
        stale = [
            f"{trouble.task_id} of {trouble.run_id}"
            for trouble in self.troubles
            if trouble.is_stale and trouble.has_failed
        ]
        return [
            *([] if self.runs else ["No run has ended."]),
            *([f"{len(failed):,} runs did not succeed: {_some(failed)}"] if failed else []),
            *([f"{len(stale):,} tasks failed by a stale event: {_some(stale)}"] if stale else []),
            *(
                [f"{len(self.clusters_left):,} clusters are left: {_some(self.clusters_left)}"]
                if self.clusters_left
                else []
            ),
            *self.books.problems(),
        ]

    def grids(self) -> list[Grid]:
        memory = [
            Column[tuple[str, tuple[float, float]]]("process, with its children", "{}", lambda row: row[0]),
            Column("MB after the first runs", "{:,.0f}", lambda row: row[1][0]),
            Column("MB at the end", "{:,.0f}", lambda row: row[1][1]),
        ]
        found = [
            two_columns("What became of it", ("what", "how many"), "{}", self._counts()),
            grid("Memory", memory, self.memory.items()),
        ]
        if self.troubles:
            found.append(_troubles_grid(self.troubles))
        return found

    def notes(self) -> list[str]:
        return [f"Broken: {problem}" for problem in self.problems()] or [
            "Every run succeeded, no cluster is left, and every image that was delivered is in exactly one ledger line."
        ]

    def _counts(self) -> list[tuple[str, object]]:
        seconds = [run.seconds for run in self.runs]
        failed = [trouble for trouble in self.troubles if trouble.has_failed]
        return [
            ("minutes", f"{self.seconds / 60:.0f}"),
            ("runs at once", self.at_once),
            ("runs", f"{len(self.runs):,}"),
            ("runs an hour", f"{3600 * len(self.runs) / self.seconds:.0f}"),
            ("seconds a run, median", f"{median(seconds):.0f}" if seconds else ""),
            ("runs that failed", sum(run.state != "success" for run in self.runs)),
            ("tasks that failed", len(failed)),
            ("tasks that failed by a stale event", sum(trouble.is_stale for trouble in failed)),
            ("tasks tried again", sum(not trouble.has_failed for trouble in self.troubles)),
            (
                "tasks tried again after a stale event",
                sum(trouble.is_stale and not trouble.has_failed for trouble in self.troubles),
            ),
            ("clusters", f"{self.clusters:,}"),
            ("clusters left", len(self.clusters_left)),
            ("images delivered", f"{len(self.books.delivered):,}"),
            ("images in exactly one ledger line", f"{sum(lines == 1 for lines in self.books.ledger_lines.values()):,}"),
        ]


def _troubles_grid(troubles: Sequence[TaskTrouble]) -> Grid:
    counts = Counter((trouble.task_id, trouble.has_failed, trouble.reason[:_LONGEST_REASON]) for trouble in troubles)
    rows = [
        (f"`{task_id}` {'failed' if has_failed else 'was tried again'}: {reason or 'its log says nothing'}", str(times))
        for (task_id, has_failed, reason), times in counts.most_common(_SHOWN)
    ]
    return Grid("Tasks that failed or were tried again", ("what", "times"), rows)


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_SHOWN]) + (f" and {len(ordered) - _SHOWN:,} more" if len(ordered) > _SHOWN else "")
