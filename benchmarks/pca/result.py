"""Holds what the PCA benchmark measured, and makes its tables and the words below them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.harness.grid import Column, Grid, column_each, grid, two_columns
from benchmarks.harness.summary import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

OURS: Final = "ours"
SPARK_ML: Final = "pyspark.ml"
WAYS: Final = (OURS, SPARK_ML)
# The folder of the bucket into which pyspark.ml writes its projections.
SPARK_ML_OUTPUT: Final = "spark_ml"

# The project asks for these two.
FASTER_BY: Final = 10.0
AGREE_WITHIN: Final = 1e-6


@dataclass(frozen=True)
class PcaRun:
    """Holds one run of one way, from the table to the projections, in seconds by stage. Round 0 is the first one in its
    process, and so a cold one.
    """

    java: str  # the setting of Java: how far it compiles
    way: str
    round: int
    seconds: float
    cpu_seconds: float  # of all its processes, with the S3 server's
    stages: Mapping[str, float]


@dataclass(frozen=True)
class Fitted:
    """Holds a fitted PCA and its projections of images. Two ways have the same images in the same order.

    `components` are float64[k, d] and `explained_variance_ratio` float64[k]. `projections` are float64[n, k] of some
    images, computed by the way itself in float64; `written` are float32[m, k], the projections of all images as they
    lie in the lake.
    """

    components: NDArray[np.float64]
    explained_variance_ratio: NDArray[np.float64]
    projections: NDArray[np.float64]
    written: NDArray[np.float32]


@dataclass(frozen=True)
class PcaAgreement:
    """Holds the largest differences, each relative to the largest absolute value. Components and projections are
    compared up to the components' signs.
    """

    n_computed: int
    n_written: int
    explained_variance_ratio: float
    components: float
    projections: float
    written: float

    @property
    def largest(self) -> float:
        return max(self.explained_variance_ratio, self.components, self.projections, self.written)

    @property
    def agrees(self) -> bool:
        return self.largest <= AGREE_WITHIN


@dataclass(frozen=True)
class PcaBenchmark:
    """Holds the runs of every setting of Java, cold ones too. `arithmetic` has the seconds by stage that ours takes in
    one process without Spark.
    """

    n_images: int
    n_dates: int
    n_categories: int
    k: int
    runs: Sequence[PcaRun]
    agreement: PcaAgreement
    arithmetic: Mapping[str, float]

    def grids(self) -> list[Grid]:
        """Returns the tables: the two ways side by side, their stages, every round, and how far the two agree."""
        return [_ways(self), _stages(self), _rounds(self.runs), _agreement(self.agreement)]

    def notes(self) -> list[str]:
        of_spark_ml = [summary for (_, way), summary in summarise_pca(self.runs).items() if way == SPARK_ML]
        speeds = [
            f"Java {summary.first.java}: pyspark.ml takes {summary.ratio('seconds'):.1f} times as long as ours, and "
            f"{summary.ratio('cpu_seconds'):.1f} times the CPU. At least {FASTER_BY:g} times: "
            f"{_yes_or_no(is_fast_enough(summary))}."
            for summary in of_spark_ml
        ]
        agreement = (
            f"The largest relative difference between the two is {self.agreement.largest:.1e}. "
            f"Agreeing to {AGREE_WITHIN:.0e}: {_yes_or_no(self.agreement.agrees)}."
        )
        ours = (
            "Ours: one pass over features/ for the moments by date, committed with the ledger; then the PCA step, "
            "policy always: merge, eigen-decomposition, k found, version saved, all projections written, pointer."
        )
        theirs = (
            "pyspark.ml: the same table, StandardScaler(withMean, withStd) and PCA(k), each fitted and applied, the "
            "same projections written alike. In its favour: it is told k (to find it, it would fit twice) and its "
            "vectors are cached, so nothing is read twice."
        )
        alone = sum(self.arithmetic.values())
        arithmetic = (
            "'without Spark' is ours in numpy alone, in one process that reads the same files itself and writes "
            f"nothing: {alone:.2f} s. The rest of ours is Spark reading, exchanging and writing rows, and its jobs. "
            + " ".join(
                f"Java {summary.first.java}: pyspark.ml takes {summary.median('seconds') / alone:.0f} times as long. "
                f"At least {FASTER_BY:g} times: {_yes_or_no(summary.median('seconds') >= FASTER_BY * alone)}."
                for summary in of_spark_ml
            )
        )
        java = (
            "The local node lets Java compile quickly and optimise little; a cluster's Java optimises fully. Spark ML "
            "computes in Java, without a native BLAS unless one is installed: here none is."
        )
        return [*speeds, agreement, ours, theirs, arithmetic, java]


def summarise_pca(runs: Sequence[PcaRun]) -> dict[tuple[str, str], Summary[PcaRun]]:
    """Returns the warm runs of each setting of Java and way, beside ours. Raises ValueError if a round lacks one of the
    ways, or if no run is warm.
    """
    found: dict[tuple[str, str], Summary[PcaRun]] = {}
    for java in dict.fromkeys(run.java for run in runs):
        own = [run for run in runs if run.java == java]
        for way, name in ((SPARK_ML, "pyspark.ml"), (OURS, "ours")):
            summarise(own, lambda run: run.way, lambda run, way=way: run.way == way, f"run of {name}")  # type: ignore[misc]
        warm = [run for run in own if run.round]
        if not warm:
            raise ValueError("There is no warm run.")
        summaries = summarise(warm, lambda run: run.way, lambda run: run.way == OURS)
        found |= {(java, way): summaries[way] for way in WAYS}
    return found


def is_fast_enough(spark_ml: Summary[PcaRun]) -> bool:
    return spark_ml.ratio("seconds") >= FASTER_BY


def compare_pca(ours: Fitted, theirs: Fitted) -> PcaAgreement:
    """Compares the two ways. Raises ValueError if they do not have the same number of images and components."""
    for name in ("components", "explained_variance_ratio", "projections", "written"):
        shapes = getattr(ours, name).shape, getattr(theirs, name).shape
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"The two ways' {name} are of different shapes, {shapes[0]} and {shapes[1]}: they can't be compared."
            )
    # A component may point either way.
    signs = np.where(np.einsum("ij,ij->i", ours.components, theirs.components) < 0, -1.0, 1.0)
    return PcaAgreement(
        n_computed=len(ours.projections),
        n_written=len(ours.written),
        explained_variance_ratio=_largest_difference(ours.explained_variance_ratio, theirs.explained_variance_ratio),
        components=_largest_difference(ours.components * signs[:, None], theirs.components),
        projections=_largest_difference(ours.projections * signs, theirs.projections),
        written=_largest_difference(ours.written * signs, theirs.written.astype(np.float64)),
    )


def _largest_difference(some: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    difference, largest = float(np.abs(some - others).max()), float(np.abs(some).max())
    return difference / largest if difference else 0.0


def _ways(result: PcaBenchmark) -> Grid:
    cold = {(run.java, run.way): run.seconds for run in result.runs if not run.round}
    title = (
        f"From {result.n_images:,} x 1280 features in {result.n_dates} dates and {result.n_categories} categories to "
        f"{result.k} components of each (medians of warm runs)"
    )
    columns = [
        Column[Summary[PcaRun]]("way", "{}", lambda way: way.first.way),
        Column("Java", "{}", lambda way: way.first.java),
        Column("warm runs", "{}", lambda way: way.n_runs),
        Column("s", "{:.2f}", lambda way: way.median("seconds")),
        Column("from, to", "{:.2f} to {:.2f}", lambda way: (way.least("seconds"), way.most("seconds"))),
        Column("x ours", "{:.1f}", lambda way: way.ratio("seconds")),
        Column("CPU s", "{:.1f}", lambda way: way.median("cpu_seconds")),
        Column("CPU x", "{:.1f}", lambda way: way.ratio("cpu_seconds")),
        Column("cold s", "{:.1f}", lambda way: cold.get((way.first.java, way.first.way))),
    ]
    return grid(title, columns, summarise_pca(result.runs).values())


def _stages(result: PcaBenchmark) -> Grid:
    """Returns a table with a row for each way and stage, a column for each setting of Java, and one for the arithmetic
    alone.
    """
    stages = {key: summary.stages() for key, summary in summarise_pca(result.runs).items()}
    javas = list(dict.fromkeys(java for java, _ in stages))
    columns = [
        Column[tuple[str, str]]("stage", "{}: {}", lambda row: (row[0], row[1].replace("_", " "))),
        *column_each(javas, "{:.2f}", lambda row, java: stages[java, row[0]].get(row[1]), "Java {}".format),
        Column("without Spark", "{:.2f}", lambda row: result.arithmetic.get(row[1]) if row[0] == OURS else None),
    ]
    rows = [
        (way, stage)
        for way in WAYS
        for stage in dict.fromkeys([*stages[javas[0], way], *(result.arithmetic if way == OURS else ())])
    ]
    return grid("Stages in seconds (medians of warm runs)", columns, rows)


def _rounds(runs: Sequence[PcaRun]) -> Grid:
    found: dict[tuple[str, int], dict[str, PcaRun]] = {}
    for run in runs:
        found.setdefault((run.java, run.round), {})[run.way] = run
    columns = [
        Column[dict[str, PcaRun]]("round", "{}", lambda ways: ways[OURS].round or "cold"),
        Column("Java", "{}", lambda ways: ways[OURS].java),
        Column(f"{OURS} s", "{:.2f}", lambda ways: ways[OURS].seconds),
        Column(f"{SPARK_ML} s", "{:.2f}", lambda ways: ways[SPARK_ML].seconds),
        Column("x", "{:.1f}", lambda ways: ways[SPARK_ML].seconds / ways[OURS].seconds),
        Column(f"{OURS} CPU s", "{:.1f}", lambda ways: ways[OURS].cpu_seconds),
        Column(f"{SPARK_ML} CPU s", "{:.1f}", lambda ways: ways[SPARK_ML].cpu_seconds),
    ]
    return grid("Every round", columns, found.values())


def _agreement(agreement: PcaAgreement) -> Grid:
    rows = [
        ("explained variance ratios", agreement.explained_variance_ratio),
        ("components, up to sign", agreement.components),
        (f"projections of {agreement.n_computed:,} images in float64, up to sign", agreement.projections),
        (f"projections of {agreement.n_written:,} images as written, in float32, up to sign", agreement.written),
    ]
    title = "Agreement: the largest difference, relative to the largest absolute value"
    return two_columns(title, ("what", "difference"), "{:.1e}", rows)


def _yes_or_no(holds: bool) -> str:
    return "yes" if holds else "NO"
