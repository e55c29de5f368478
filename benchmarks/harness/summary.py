"""Sums up timed runs for every part: medians, ranges, and ratios to the run of the same round that they are compared
with.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

Run = TypeVar("Run")
Key = TypeVar("Key", bound="Hashable")


@dataclass(frozen=True)
class Summary(Generic[Run]):
    """Holds the runs of one way or case, and for each of them the run of the same round that it is compared with.

    Methods take the name of one of the runs' attributes as `figure`.
    """

    runs: Sequence[Run]
    references: Sequence[Run] = ()

    @property
    def first(self) -> Run:
        """Returns the first run, for what all runs have in common."""
        return self.runs[0]

    @property
    def n_runs(self) -> int:
        return len(self.runs)

    def median(self, figure: str) -> float:
        return median(self._figures(figure))

    def least(self, figure: str) -> float:
        return min(self._figures(figure))

    def most(self, figure: str) -> float | None:
        """Returns the largest value of the figure, or None if no run has one."""
        return max(self._figures(figure), default=None)

    def ratios(self, figure: str) -> list[float]:
        """Returns, for each run, its figure divided by its reference's figure."""
        return [
            getattr(run, figure) / getattr(reference, figure)
            for run, reference in zip(self.runs, self.references, strict=True)
        ]

    def ratio(self, figure: str) -> float:
        """Returns the median of the ratios within a round, because the speed of a shared machine changes from round to
        round.
        """
        return median(self.ratios(figure))

    def stages(self, figure: str = "stages") -> dict[str, float]:
        """Returns the median of each stage."""
        return median_stages([getattr(run, figure) for run in self.runs])

    def _figures(self, figure: str) -> list[float]:
        return [value for run in self.runs if (value := getattr(run, figure)) is not None]


def summarise(
    runs: Sequence[Run],
    by: Callable[[Run], Key],
    reference: Callable[[Run], bool] | None = None,
    named: str = "run of the reference",
) -> dict[Key, Summary[Run]]:
    """Returns a summary for each value of `by`, in the order in which the runs have them first.

    `reference` says which run of a `round` the others are compared with. Raises ValueError if a round has no such run.
    """
    of_round = {getattr(run, "round", 0): run for run in runs if reference and reference(run)}
    found: dict[Key, list[Run]] = {}
    for run in runs:
        number = getattr(run, "round", 0)
        if reference and number not in of_round:
            raise ValueError(f"Round {number} has no {named}: there is nothing to compare with.")
        found.setdefault(by(run), []).append(run)
    return {
        key: Summary(its_runs, [of_round[getattr(run, "round", 0)] for run in its_runs] if reference else ())
        for key, its_runs in found.items()
    }


def median_stages(stages: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the median of each stage, in the order of the stages."""
    names = dict.fromkeys(name for run in stages for name in run)
    return {name: median(run[name] for run in stages if name in run) for name in names}


def turned(ways: Sequence[Key], round_number: int) -> list[Key]:
    """Returns the ways in the order of a round; each round begins with another way."""
    first = round_number % len(ways)
    return [*ways[first:], *ways[:first]]
