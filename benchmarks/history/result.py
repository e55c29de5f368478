"""Holds what the history benchmark measured, and makes its tables and the words below them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.harness.grid import Column, Grid, column_each, grid
from benchmarks.harness.summary import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The project asks that a day's run takes at most so many times as long, after any number of days.
FLAT_WITHIN: Final = 1.5


@dataclass(frozen=True)
class DayRun:
    """Holds one timed run of a new day after `n_days` days of history. Runs of one round were measured one after the
    other.
    """

    n_days: int
    round: int
    features_seconds: float
    pca_seconds: float
    cpu_seconds: float  # with the S3 server's
    moments_read: int
    stages: Mapping[str, float]

    @property
    def seconds(self) -> float:
        return self.features_seconds + self.pca_seconds


@dataclass(frozen=True)
class RefitRun:
    """Holds one timed PCA step that fitted anew and projected everything, in seconds by stage."""

    n_days: int
    n_partitions: int
    n_images: int
    moments_read: int
    k: int
    seconds: float
    stages: Mapping[str, float]


@dataclass(frozen=True)
class RefitCost:
    """Says what a refit costs: merging and fitting take the same time for any number of images, and the re-projection
    grows with the images and the partitions.
    """

    merge_seconds: float
    fit_seconds: float
    seconds_per_million_images: float
    seconds_per_thousand_partitions: float

    def estimate(self, n_images: int, n_partitions: int) -> float:
        """Returns the seconds of a refit and re-projection of so many images in so many partitions of `features/`."""
        projected = (
            self.seconds_per_million_images * n_images / 1e6 + self.seconds_per_thousand_partitions * n_partitions / 1e3
        )
        return self.merge_seconds + self.fit_seconds + projected


@dataclass(frozen=True)
class HistoryBenchmark:
    """Holds the runs of the history benchmark.

    `refits` are of a history of few images, of one with many images in as few partitions, and of the longest history of
    `days`.
    """

    n_images: int
    images_by_days: Mapping[int, int]
    days: Sequence[DayRun]
    refits: Sequence[RefitRun]

    def grids(self) -> list[Grid]:
        """Returns the tables: a day's run by the history before it, its stages, the refits, and what a refit costs."""
        days = summarise_days(self.days)
        return [_days(self, days), _stages(days), _refits(self.refits), _refit_cost(self.refits)]

    def notes(self) -> list[str]:
        days = summarise_days(self.days)
        shortest, longest = days[0], days[-1]
        verdict = "flat" if is_flat(days) else "NOT flat"
        flatness = (
            f"A day's run after {longest.first.n_days:,} days takes {longest.ratio('seconds'):.2f} times as long as "
            f"after {shortest.first.n_days:,}, and {longest.ratio('cpu_seconds'):.2f} times the CPU. Flat is "
            f"{FLAT_WITHIN:g} times at most, after any number of days: this is {verdict}."
        )
        work = (
            f"The day has {self.n_images:,} new drawn images; both steps really run on it, in one warm Spark session. "
            "History is synthetic features, with all that daily runs leave. Every run has its own copy of it, the "
            "ratios are medians within a round."
        )
        policy = (
            "The policy is auto with always_below=0 and with growth and margin so large that no history has a refit: "
            "all runs do the same work."
        )
        last_day = (
            "No other day would read more kept moments than the new one ('moments read' is the most of its runs)."
        )
        return [flatness, work, policy, last_day, "benchmarks/README.md says how it is measured."]


def summarise_days(runs: Sequence[DayRun]) -> list[Summary[DayRun]]:
    """Returns a summary for each number of days, fewest first. Raises ValueError if a round has no run after the
    shortest history.
    """
    shortest = min(run.n_days for run in runs)
    found = summarise(runs, lambda run: run.n_days, lambda run: run.n_days == shortest, f"run after {shortest} days")
    return [found[n_days] for n_days in sorted(found)]


def is_flat(summaries: Sequence[Summary[DayRun]]) -> bool:
    return all(summary.ratio("seconds") <= FLAT_WITHIN for summary in summaries)


def refit_cost(runs: Sequence[RefitRun]) -> RefitCost:
    """Works out the cost of a refit from the medians of three histories: two that differ only in their images, and one
    with more partitions.

    The slope between the two is the cost of an image. What the third takes beyond the cost of its images is the cost of
    its partitions. Raises ValueError if `runs` are not of three such histories.
    """
    histories = list(_refits_by_history(runs).values())
    fewest = min(run.n_partitions for run in runs)
    alike = sorted(
        (some for some in histories if some.first.n_partitions == fewest), key=lambda some: some.first.n_images
    )
    others = [some for some in histories if some.first.n_partitions != fewest]
    if len(alike) != 2 or len(others) != 1:
        raise ValueError(
            "The cost of a refit takes two histories that differ in their images alone, and one with more partitions."
        )
    few, many, longest = alike[0].first, alike[1].first, others[0].first
    projecting = [some.stages()["project"] for some in (*alike, others[0])]
    per_image = (projecting[1] - projecting[0]) / (many.n_images - few.n_images)
    beyond = projecting[2] - projecting[1] - per_image * (longest.n_images - many.n_images)
    return RefitCost(
        merge_seconds=alike[1].stages()["merge_moments"],
        fit_seconds=alike[1].stages()["fit"],
        seconds_per_million_images=per_image * 1e6,
        seconds_per_thousand_partitions=1e3 * beyond / (longest.n_partitions - many.n_partitions),
    )


def _refits_by_history(runs: Sequence[RefitRun]) -> dict[tuple[int, int], Summary[RefitRun]]:
    return summarise(runs, by=lambda run: (run.n_days, run.n_images))


def _days(result: HistoryBenchmark, days: Sequence[Summary[DayRun]]) -> Grid:
    shortest = days[0].first.n_days
    columns = [
        Column[Summary[DayRun]]("days of history", "{:,}", lambda day: day.first.n_days),
        Column("its images", "{:,}", lambda day: result.images_by_days[day.first.n_days]),
        Column("runs", "{}", lambda day: day.n_runs),
        Column("features s", "{:.2f}", lambda day: day.median("features_seconds")),
        Column("PCA s", "{:.2f}", lambda day: day.median("pca_seconds")),
        Column("both s", "{:.2f}", lambda day: day.median("seconds")),
        Column("from, to", "{:.2f} to {:.2f}", lambda day: (day.least("seconds"), day.most("seconds"))),
        Column(f"x {shortest:,} day" + ("" if shortest == 1 else "s"), "{:.2f}", lambda day: day.ratio("seconds")),
        Column("PCA x", "{:.2f}", lambda day: day.ratio("pca_seconds")),
        Column("CPU s", "{:.1f}", lambda day: day.median("cpu_seconds")),
        Column("CPU x", "{:.2f}", lambda day: day.ratio("cpu_seconds")),
        Column("moments read", "{}", lambda day: day.most("moments_read")),
    ]
    return grid(
        f"The run of one new day of {result.n_images:,} images, by the days of history before it (medians)",
        columns,
        days,
    )


def _stages(days: Sequence[Summary[DayRun]]) -> Grid:
    stages = dict.fromkeys(stage for day in days for stage in day.stages())
    columns = [
        Column[Summary[DayRun]]("days of history", "{:,}", lambda day: day.first.n_days),
        *column_each(stages, "{:.2f}", lambda day, stage: day.stages().get(stage), _stage_name),
    ]
    return grid("Its stages in seconds (medians)", columns, days)


def _stage_name(stage: str) -> str:
    return stage.removeprefix("write_").replace("_", " ")


def _refits(refits: Sequence[RefitRun]) -> Grid:
    columns = [
        Column[Summary[RefitRun]]("images", "{:,}", lambda refit: refit.first.n_images),
        Column("days", "{:,}", lambda refit: refit.first.n_days),
        Column("partitions", "{:,}", lambda refit: refit.first.n_partitions),
        Column("runs", "{}", lambda refit: refit.n_runs),
        Column("k", "{}", lambda refit: refit.first.k),
        Column("merge s", "{:.2f}", lambda refit: refit.stages()["merge_moments"]),
        Column("fit s", "{:.2f}", lambda refit: refit.stages()["fit"]),
        Column("project s", "{:.2f}", lambda refit: refit.stages()["project"]),
        Column("total s", "{:.2f}", lambda refit: refit.median("seconds")),
    ]
    return grid(
        "A refit and the projection of all images anew (policy always, medians)",
        columns,
        _refits_by_history(refits).values(),
    )


def _refit_cost(refits: Sequence[RefitRun]) -> Grid:
    cost = refit_cost(refits)
    rows = [
        ("fixed: merging the kept moments", f"{cost.merge_seconds:.2f}"),
        ("fixed: eigen-decomposition, and saving the version", f"{cost.fit_seconds:.2f}"),
        ("projecting, per million images", f"{cost.seconds_per_million_images:,.0f}"),
        ("projecting, per 1,000 partitions (a date and category each)", f"{cost.seconds_per_thousand_partitions:,.1f}"),
        ("so: a million images in 1,000 partitions", f"{cost.estimate(1_000_000, 1_000):,.0f}"),
        ("so: a million images in 4,000 partitions", f"{cost.estimate(1_000_000, 4_000):,.0f}"),
    ]
    return Grid("What a refit costs", ("what", "s"), rows)
