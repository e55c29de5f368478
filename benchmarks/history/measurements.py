"""What the history benchmark measured, and the few figures that follow from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from benchmarks.features.measurements import median_stages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What the project asks of one day's run, whatever the number of days before it.
FLAT_WITHIN: Final = 1.5


@dataclass(frozen=True)
class DayRun:
    """One timed run of a new day after `n_days` days of history. Runs of the same round were measured one right after the other."""

    n_days: int
    round: int
    features_seconds: float
    pca_seconds: float
    cpu_seconds: float  # the S3 server's counts
    moments_read: int
    stages: Mapping[str, float]

    @property
    def seconds(self) -> float:
        return self.features_seconds + self.pca_seconds


@dataclass(frozen=True)
class DaySummary:
    """Medians of the runs after as many days. The ratios are medians, too: of each run and the shortest history's in the same round."""

    n_days: int
    n_runs: int
    features_seconds: float
    pca_seconds: float
    seconds: float
    fastest: float
    slowest: float
    cpu_seconds: float
    moments_read: int
    ratio: float
    pca_ratio: float
    cpu_ratio: float
    stages: Mapping[str, float]


@dataclass(frozen=True)
class RefitRun:
    """One timed PCA step that fitted anew and projected everything, in seconds by stage."""

    n_days: int
    n_partitions: int
    n_images: int
    moments_read: int
    k: int
    seconds: float
    stages: Mapping[str, float]


@dataclass(frozen=True)
class RefitCost:
    """What a refit costs: `merge` and `fit` however many images there are, and the re-projection by images and by partitions."""

    merge_seconds: float
    fit_seconds: float
    seconds_per_million_images: float
    seconds_per_thousand_partitions: float

    def estimate(self, n_images: int, n_partitions: int) -> float:
        """Seconds of a refit and re-projection of so many images in so many partitions of `features/`."""
        projected = self.seconds_per_million_images * n_images / 1e6 + self.seconds_per_thousand_partitions * n_partitions / 1e3
        return self.merge_seconds + self.fit_seconds + projected


@dataclass(frozen=True)
class HistoryBenchmark:
    """`refits` are of a history of few images and one of many in as few partitions, and of the longest history of `days`."""

    n_images: int
    images_by_days: Mapping[int, int]
    days: Sequence[DayRun]
    refits: Sequence[RefitRun]


def summarise_days(runs: Sequence[DayRun]) -> list[DaySummary]:
    """A summary for each number of days, fewest first. Raises ValueError if a round lacks the shortest history's run."""
    shortest = min(run.n_days for run in runs)
    references = {run.round: run for run in runs if run.n_days == shortest}
    if missing := {run.round for run in runs} - references.keys():
        raise ValueError(f"Round {min(missing)} has no run after {shortest} days to compare with.")
    return [_summary([run for run in runs if run.n_days == n_days], references) for n_days in sorted({run.n_days for run in runs})]


def is_flat(summaries: Sequence[DaySummary]) -> bool:
    return all(summary.ratio <= FLAT_WITHIN for summary in summaries)


def refits_by_history(runs: Sequence[RefitRun]) -> dict[tuple[int, int], list[RefitRun]]:
    """The runs by days and images of their history, in the order in which they ran first."""
    found: dict[tuple[int, int], list[RefitRun]] = {}
    for run in runs:
        found.setdefault((run.n_days, run.n_images), []).append(run)
    return found


def refit_cost(runs: Sequence[RefitRun]) -> RefitCost:
    """From the medians of three histories: two that differ in images alone, and one with many partitions.

    Of the two, the slope is an image's cost. What the third then takes beyond its images is its partitions'.

    Raises ValueError if there are no such three.
    """
    of_history = refits_by_history(runs)
    fewest_partitions = min(run.n_partitions for run in runs)
    alike = sorted(history for history, its_runs in of_history.items() if its_runs[0].n_partitions == fewest_partitions)
    others = [history for history in of_history if history not in alike]
    if len(alike) != 2 or len(others) != 1:
        raise ValueError("The cost of a refit takes two histories that differ in their images alone, and one with more partitions.")
    few, many = (of_history[history] for history in alike)
    longest = of_history[others[0]]
    per_image = (_stage(many, "project") - _stage(few, "project")) / (many[0].n_images - few[0].n_images)
    beyond = _stage(longest, "project") - _stage(many, "project") - per_image * (longest[0].n_images - many[0].n_images)
    return RefitCost(
        merge_seconds=_stage(many, "merge_moments"),
        fit_seconds=_stage(many, "fit"),
        seconds_per_million_images=per_image * 1e6,
        seconds_per_thousand_partitions=1e3 * beyond / (longest[0].n_partitions - many[0].n_partitions),
    )


def _stage(runs: Sequence[RefitRun], name: str) -> float:
    return median(run.stages[name] for run in runs)


def _summary(runs: Sequence[DayRun], references: Mapping[int, DayRun]) -> DaySummary:
    pairs = [(run, references[run.round]) for run in runs]
    return DaySummary(
        n_days=runs[0].n_days,
        n_runs=len(runs),
        features_seconds=median(run.features_seconds for run in runs),
        pca_seconds=median(run.pca_seconds for run in runs),
        seconds=median(run.seconds for run in runs),
        fastest=min(run.seconds for run in runs),
        slowest=max(run.seconds for run in runs),
        cpu_seconds=median(run.cpu_seconds for run in runs),
        moments_read=max(run.moments_read for run in runs),
        ratio=median(run.seconds / reference.seconds for run, reference in pairs),
        pca_ratio=median(run.pca_seconds / reference.pca_seconds for run, reference in pairs),
        cpu_ratio=median(run.cpu_seconds / reference.cpu_seconds for run, reference in pairs),
        stages=median_stages([run.stages for run in runs]),
    )
