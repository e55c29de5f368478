"""Timed runs summed up, for every part alike: medians, ranges, and ratios to what they are compared with in the same
round.
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
    """The runs of one way or case, and for each of them the run of the same round that it is compared with.

    A figure is called by the name of the runs' attribute.
    """

    runs: Sequence[Run]
    references: Sequence[Run] = ()

    @property
    def first(self) -> Run:
        """A run, for what all of them have in common."""
        return self.runs[0]

    @property
    def n_runs(self) -> int:
        return len(self.runs)

    def median(self, figure: str) -> float:
        return median(self._figures(figure))

    def least(self, figure: str) -> float:
        return min(self._figures(figure))

    def most(self, figure: str) -> float | None:
        """The largest one; None if no run has it."""
        return max(self._figures(figure), default=None)

    def ratios(self, figure: str) -> list[float]:
        """How many times its reference's figure each run has."""
        return [
            getattr(run, figure) / getattr(reference, figure)
            for run, reference in zip(self.runs, self.references, strict=True)
        ]

    def ratio(self, figure: str) -> float:
        """The median of the ratios: the speed of a shared machine changes from round to round."""
        return median(self.ratios(figure))

    def stages(self, figure: str = "stages") -> dict[str, float]:
        """The median of each stage."""
        return median_stages([getattr(run, figure) for run in self.runs])

    def _figures(self, figure: str) -> list[float]:
        return [value for run in self.runs if (value := getattr(run, figure)) is not None]


def summarise(
    runs: Sequence[Run],
    by: Callable[[Run], Key],
    reference: Callable[[Run], bool] | None = None,
    named: str = "run of the reference",
) -> dict[Key, Summary[Run]]:
    """A summary for each value of `by`, in the order in which they ran first.

    `reference` says which run of a `round` the others are compared with. Raises ValueError if a round has none.
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
    """The median of each stage, in their order."""
    names = dict.fromkeys(name for run in stages for name in run)
    return {name: median(run[name] for run in stages if name in run) for name in names}


def turned(ways: Sequence[Key], round_number: int) -> list[Key]:
    """The ways in the order of a round: each round begins with another one, so that none always follows the same
    one.
    """
    first = round_number % len(ways)
    return [*ways[first:], *ways[:first]]
