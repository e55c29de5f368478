"""The history benchmark's result as tables and the words below them. Pure."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.features.measurements import median_stages
from benchmarks.features.table import Grid
from benchmarks.history.measurements import FLAT_WITHIN, is_flat, refit_cost, refits_by_history, summarise_days

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.history.measurements import DaySummary, HistoryBenchmark, RefitRun


def history_grids(result: HistoryBenchmark) -> list[Grid]:
    """A day's run by the history before it, its stages, refits, and what a refit costs."""
    days = summarise_days(result.days)
    return [_days(result, days), _stages(days), _refits(result.refits), _refit_cost(result.refits)]


def history_notes(result: HistoryBenchmark) -> list[str]:
    days = summarise_days(result.days)
    longest = days[-1]
    verdict = "flat" if is_flat(days) else "NOT flat"
    flatness = (
        f"A day's run after {longest.n_days:,} days takes {longest.ratio:.2f} times as long as after {days[0].n_days:,}, and "
        f"{longest.cpu_ratio:.2f} times the CPU. Flat is {FLAT_WITHIN:g} times at most, after any number of days: this is {verdict}."
    )
    work = (
        f"The day has {result.n_images:,} new drawn images; both steps really run on it, in one warm Spark session. History is synthetic "
        f"features, with all that daily runs leave. Every run has its own copy of it, the ratios are medians within a round."
    )
    policy = (
        "The policy is auto with always_below=0 and with growth and margin so large that no history has a refit: all runs do the same work."
    )
    last_day = "No other day would read more kept moments than the new one ('moments read' is the most of its runs)."
    return [flatness, work, policy, last_day, "benchmarks/README.md says how it is measured."]


def _days(result: HistoryBenchmark, days: Sequence[DaySummary]) -> Grid:
    first = f"{days[0].n_days:,} day" + ("" if days[0].n_days == 1 else "s")
    rows = [
        (
            f"{day.n_days:,}",
            f"{result.images_by_days[day.n_days]:,}",
            str(day.n_runs),
            f"{day.features_seconds:.2f}",
            f"{day.pca_seconds:.2f}",
            f"{day.seconds:.2f}",
            f"{day.fastest:.2f} to {day.slowest:.2f}",
            f"{day.ratio:.2f}",
            f"{day.pca_ratio:.2f}",
            f"{day.cpu_seconds:.1f}",
            f"{day.cpu_ratio:.2f}",
            str(day.moments_read),
        )
        for day in days
    ]
    header = (
        "days of history",
        "its images",
        "runs",
        "features s",
        "PCA s",
        "both s",
        "from, to",
        f"x {first}",
        "PCA x",
        "CPU s",
        "CPU x",
        "moments read",
    )
    return Grid(f"The run of one new day of {result.n_images:,} images, by the days of history before it (medians)", header, rows)


def _stages(days: Sequence[DaySummary]) -> Grid:
    stages = list(dict.fromkeys(stage for day in days for stage in day.stages))
    rows = [(f"{day.n_days:,}", *(f"{day.stages[stage]:.2f}" if stage in day.stages else "" for stage in stages)) for day in days]
    names = (stage.removeprefix("write_").replace("_", " ") for stage in stages)
    return Grid("Its stages in seconds (medians)", ("days of history", *names), rows)


def _refits(refits: Sequence[RefitRun]) -> Grid:
    rows = []
    for runs in refits_by_history(refits).values():
        stages = median_stages([run.stages for run in runs])
        first = runs[0]
        project = stages["project"]
        rows.append(
            (
                f"{first.n_images:,}",
                f"{first.n_days:,}",
                f"{first.n_partitions:,}",
                str(len(runs)),
                str(first.k),
                f"{stages['merge_moments']:.2f}",
                f"{stages['fit']:.2f}",
                f"{project:.2f}",
                f"{median(run.seconds for run in runs):.2f}",
            )
        )
    header = ("images", "days", "partitions", "runs", "k", "merge s", "fit s", "project s", "total s")
    return Grid("A refit and the projection of all images anew (policy always, medians)", header, rows)


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
