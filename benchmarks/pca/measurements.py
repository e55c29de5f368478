"""What the PCA benchmark measured, and the few figures that follow from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

OURS: Final = "ours"
SPARK_ML: Final = "pyspark.ml"
WAYS: Final = (OURS, SPARK_ML)
# Where it writes its projections in the bucket.
SPARK_ML_OUTPUT: Final = "spark_ml"

# What the project asks for.
FASTER_BY: Final = 10.0
AGREE_WITHIN: Final = 1e-6


@dataclass(frozen=True)
class PcaRun:
    """One run of one way, from the table to the projections, in seconds by stage. Round 0 is the first of its process: cold."""

    java: str  # how far Java compiled what it ran
    way: str
    round: int
    seconds: float
    cpu_seconds: float  # of all its processes; the S3 server's counts
    stages: Mapping[str, float]


@dataclass(frozen=True)
class Fitted:
    """A fitted PCA and what it made of images: the same ones in the same order, whichever way it was fitted.

    `components` float64[k, d] and `explained_variance_ratio` float64[k]; `projections` float64[n, k] of some images, computed by the way
    itself in float64; `written` float32[m, k], the projections of all images as they lie in the lake.
    """

    components: NDArray[np.float64]
    explained_variance_ratio: NDArray[np.float64]
    projections: NDArray[np.float64]
    written: NDArray[np.float32]


@dataclass(frozen=True)
class PcaAgreement:
    """Largest differences, each relative to the largest absolute value; of components and projections up to the components' signs."""

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
    """`runs` are of every setting of Java, cold ones too. `arithmetic` has the seconds by stage of ours in one process, without Spark."""

    n_images: int
    n_dates: int
    n_categories: int
    k: int
    runs: Sequence[PcaRun]
    agreement: PcaAgreement
    arithmetic: Mapping[str, float]


@dataclass(frozen=True)
class WaySummary:
    """Medians of a way's warm runs."""

    n_runs: int
    seconds: float
    fastest: float
    slowest: float
    cpu_seconds: float
    stages: Mapping[str, float]


@dataclass(frozen=True)
class JavaSummary:
    """One setting of Java: the ways, and how many times as long pyspark.ml took as ours in each round (`ratio` is the median)."""

    java: str
    ours: WaySummary
    spark_ml: WaySummary
    ratios: Sequence[float]
    cpu_ratio: float
    cold_seconds: Mapping[str, float]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def is_fast_enough(self) -> bool:
        return self.ratio >= FASTER_BY


def summarise_pca(runs: Sequence[PcaRun]) -> list[JavaSummary]:
    """A summary for each setting of Java, in their order. Raises ValueError if a round lacks one of the ways, or none is warm."""
    return [_summary(java, [run for run in runs if run.java == java]) for java in dict.fromkeys(run.java for run in runs)]


def compare_pca(ours: Fitted, theirs: Fitted) -> PcaAgreement:
    """Raises ValueError if the two are not of the same images and of as many components."""
    for name in ("components", "explained_variance_ratio", "projections", "written"):
        shapes = getattr(ours, name).shape, getattr(theirs, name).shape
        if shapes[0] != shapes[1]:
            raise ValueError(f"The two ways' {name} are of different shapes, {shapes[0]} and {shapes[1]}: they can't be compared.")
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


def _summary(java: str, runs: Sequence[PcaRun]) -> JavaSummary:
    rounds = {number: {run.way: run for run in runs if run.round == number} for number in sorted({run.round for run in runs})}
    if missing := [number for number, of_round in rounds.items() if set(of_round) != set(WAYS)]:
        raise ValueError(f"Round {missing[0]} lacks one of the two ways: there is nothing to compare.")
    warm = [of_round for number, of_round in rounds.items() if number]
    if not warm:
        raise ValueError("There is no warm run.")
    return JavaSummary(
        java=java,
        ours=_way_summary([of_round[OURS] for of_round in warm]),
        spark_ml=_way_summary([of_round[SPARK_ML] for of_round in warm]),
        ratios=[of_round[SPARK_ML].seconds / of_round[OURS].seconds for of_round in warm],
        cpu_ratio=median(of_round[SPARK_ML].cpu_seconds / of_round[OURS].cpu_seconds for of_round in warm),
        cold_seconds={way: run.seconds for way, run in rounds.get(0, {}).items()},
    )


def _way_summary(runs: Sequence[PcaRun]) -> WaySummary:
    return WaySummary(
        n_runs=len(runs),
        seconds=median(run.seconds for run in runs),
        fastest=min(run.seconds for run in runs),
        slowest=max(run.seconds for run in runs),
        cpu_seconds=median(run.cpu_seconds for run in runs),
        stages={name: median(run.stages[name] for run in runs) for name in runs[0].stages},
    )
