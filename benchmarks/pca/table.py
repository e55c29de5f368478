"""The PCA benchmark's result as tables and the words below them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.features.table import Grid
from benchmarks.pca.measurements import AGREE_WITHIN, FASTER_BY, OURS, SPARK_ML, WAYS, summarise_pca

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.pca.measurements import JavaSummary, PcaAgreement, PcaBenchmark, PcaRun, WaySummary


def pca_grids(result: PcaBenchmark) -> list[Grid]:
    """The two ways side by side, their stages, every round, and how far the two agree."""
    summaries = summarise_pca(result.runs)
    return [_ways(result, summaries), _stages(result, summaries), _rounds(result.runs), _agreement(result.agreement)]


def pca_notes(result: PcaBenchmark) -> list[str]:
    speeds = [
        f"Java {summary.java}: pyspark.ml takes {summary.ratio:.1f} times as long as ours, and {summary.cpu_ratio:.1f} times the CPU. "
        f"At least {FASTER_BY:g} times: {_yes_or_no(summary.is_fast_enough)}."
        for summary in summarise_pca(result.runs)
    ]
    agreement = (
        f"The largest relative difference between the two is {result.agreement.largest:.1e}. "
        f"Agreeing to {AGREE_WITHIN:.0e}: {_yes_or_no(result.agreement.agrees)}."
    )
    ours = (
        "Ours: one pass over features/ for the moments by date, committed with the ledger; then the PCA step, policy always: merge, "
        "eigen-decomposition, k found, version saved, all projections written, pointer."
    )
    theirs = (
        "pyspark.ml: the same table, StandardScaler(withMean, withStd) and PCA(k), each fitted and applied, the same projections written "
        "alike. In its favour: it is told k (to find it, it would fit twice) and its vectors are cached, so nothing is read twice."
    )
    alone = sum(result.arithmetic.values())
    arithmetic = (
        f"'without Spark' is ours in numpy alone, in one process that reads the same files itself and writes nothing: {alone:.2f} s. "
        "The rest of ours is Spark reading, exchanging and writing rows, and its jobs. "
        + " ".join(
            f"Java {summary.java}: pyspark.ml takes {spark_ml.seconds / alone:.0f} times as long. At least {FASTER_BY:g} times: "
            f"{_yes_or_no(spark_ml.seconds >= FASTER_BY * alone)}."
            for summary in summarise_pca(result.runs)
            for way, spark_ml in _ways_of(summary)
            if way == SPARK_ML
        )
    )
    java = (
        "The local node lets Java compile quickly and optimise little; a cluster's Java optimises fully. Spark ML computes in Java, "
        "without a native BLAS unless one is installed: here none is."
    )
    return [*speeds, agreement, ours, theirs, arithmetic, java]


def _ways(result: PcaBenchmark, summaries: Sequence[JavaSummary]) -> Grid:
    rows = []
    for summary in summaries:
        for way, figures in _ways_of(summary):
            reference = way == OURS
            rows.append(
                (
                    way,
                    summary.java,
                    str(figures.n_runs),
                    f"{figures.seconds:.2f}",
                    f"{figures.fastest:.2f} to {figures.slowest:.2f}",
                    "1.0" if reference else f"{summary.ratio:.1f}",
                    f"{figures.cpu_seconds:.1f}",
                    "1.0" if reference else f"{summary.cpu_ratio:.1f}",
                    f"{summary.cold_seconds[way]:.1f}" if way in summary.cold_seconds else "",
                )
            )
    header = ("way", "Java", "warm runs", "s", "from, to", "x ours", "CPU s", "CPU x", "cold s")
    title = (
        f"From {result.n_images:,} x 1280 features in {result.n_dates} dates and {result.n_categories} categories to "
        f"{result.k} components of each (medians of warm runs)"
    )
    return Grid(title, header, rows)


def _stages(result: PcaBenchmark, summaries: Sequence[JavaSummary]) -> Grid:
    """A row a way and stage, a column a setting of Java, and one of the arithmetic alone."""
    rows = []
    for way in WAYS:
        columns = [dict(_ways_of(summary))[way].stages for summary in summaries]
        alone = result.arithmetic if way == OURS else {}
        for stage in dict.fromkeys([*columns[0], *alone]):
            cells = [stages.get(stage) for stages in (*columns, alone)]
            rows.append((f"{way}: {stage.replace('_', ' ')}", *("" if cell is None else f"{cell:.2f}" for cell in cells)))
    header = ("stage", *(f"Java {summary.java}" for summary in summaries), "without Spark")
    return Grid("Stages in seconds (medians of warm runs)", header, rows)


def _rounds(runs: Sequence[PcaRun]) -> Grid:
    found: dict[tuple[str, int], dict[str, PcaRun]] = {}
    for run in runs:
        found.setdefault((run.java, run.round), {})[run.way] = run
    rows = [
        (
            str(number) if number else "cold",
            java,
            *(f"{of_round[way].seconds:.2f}" for way in WAYS),
            f"{of_round[SPARK_ML].seconds / of_round[OURS].seconds:.1f}",
            *(f"{of_round[way].cpu_seconds:.1f}" for way in WAYS),
        )
        for (java, number), of_round in found.items()
    ]
    header = ("round", "Java", *(f"{way} s" for way in WAYS), "x", *(f"{way} CPU s" for way in WAYS))
    return Grid("Every round", header, rows)


def _agreement(agreement: PcaAgreement) -> Grid:
    rows = [
        ("explained variance ratios", f"{agreement.explained_variance_ratio:.1e}"),
        ("components, up to sign", f"{agreement.components:.1e}"),
        (f"projections of {agreement.n_computed:,} images in float64, up to sign", f"{agreement.projections:.1e}"),
        (f"projections of {agreement.n_written:,} images as written, in float32, up to sign", f"{agreement.written:.1e}"),
    ]
    return Grid("Agreement: the largest difference, relative to the largest absolute value", ("what", "difference"), rows)


def _ways_of(summary: JavaSummary) -> list[tuple[str, WaySummary]]:
    return [(OURS, summary.ours), (SPARK_ML, summary.spark_ml)]


def _yes_or_no(holds: bool) -> str:
    return "yes" if holds else "NO"
