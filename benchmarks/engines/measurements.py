"""What the engines benchmark measured, and the figures that follow from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from fruit_features.moments.algebra import moments_of
from fruit_features.pca.fit import fit_pca

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

# Of each category, one image in so many is known; the others are to be recognised by it.
KNOWN_ONE_IN: Final = 5
# The variance that the PCA keeps, as in the product.
TARGET_VARIANCE: Final = 0.95


@dataclass(frozen=True)
class EngineRun:
    """One engine in a process a core, for a window. Runs of the same round were measured one right after the other."""

    engine: str
    inference_batch: int
    round: int
    images_per_second: float  # of all processes together
    cpu_seconds_per_image: float


@dataclass(frozen=True)
class BatchSummary:
    """The runs of an engine at one batch: medians. The ratios are to the reference in the same round.

    `ratio` is of images/s, `cpu_ratio` of images per second of CPU: others' work on the machine moves it less.
    """

    engine: str
    inference_batch: int
    n_runs: int
    images_per_second: float
    cpu_seconds_per_image: float
    ratio: float
    lowest_ratio: float
    highest_ratio: float
    cpu_ratio: float
    lowest_cpu_ratio: float
    highest_cpu_ratio: float

    @property
    def is_clear(self) -> bool:
        """Whether every round agrees on which of the two does more with a second of CPU."""
        return self.lowest_cpu_ratio > 1 or self.highest_cpu_ratio < 1


@dataclass(frozen=True)
class Quality:
    """An engine's features beside the reference's: how like them they are, and what they are good for.

    `accuracy` is the share of images whose category a nearest neighbour names, `k` the components that keep 95 % of the variance.
    """

    engine: str
    mean_cosine: float
    largest_difference: float
    accuracy: float
    k: int


@dataclass(frozen=True)
class EnginesBenchmark:
    """What all are compared with is the engine `reference` at the inference batch `step_batch`, as the features step runs it.

    `f32` are the engines that compute what the reference does, the others of `runs` are experiments. `load_seconds` are by engine.
    `remarks` say what was left out, or limits an experiment.
    """

    n_cores: int
    reference: str
    step_batch: int
    f32: Sequence[str]
    runs: Sequence[EngineRun]
    qualities: Sequence[Quality]
    load_seconds: Mapping[str, float]
    n_images: int
    n_known: int
    n_categories: int
    n_calibration: int
    remarks: Sequence[str] = ()


def summarise_engines(runs: Sequence[EngineRun], reference: str, reference_batch: int) -> list[BatchSummary]:
    """A summary for each engine and batch, by engine in the order in which they ran first, and by batch.

    The reference of all ratios is `reference` at `reference_batch`, in the same round. Raises ValueError if a round lacks it.
    """
    of_round = {run.round: run for run in runs if (run.engine, run.inference_batch) == (reference, reference_batch)}
    by_way: dict[tuple[str, int], list[EngineRun]] = {}
    for run in runs:
        if run.round not in of_round:
            raise ValueError(f"Round {run.round} has no run of {reference} at batch {reference_batch}: there is nothing to compare with.")
        by_way.setdefault((run.engine, run.inference_batch), []).append(run)
    engines = list(dict.fromkeys(engine for engine, _ in by_way))
    ways = sorted(by_way, key=lambda way: (engines.index(way[0]), way[1]))
    return [_summary(by_way[way], of_round) for way in ways]


def best_batches(summaries: Sequence[BatchSummary]) -> dict[str, BatchSummary]:
    """Each engine at the batch with which it does the most by CPU: one thread a process, so on an idle machine that is the fastest."""
    best: dict[str, BatchSummary] = {}
    for summary in summaries:
        if summary.engine not in best or summary.cpu_ratio > best[summary.engine].cpu_ratio:
            best[summary.engine] = summary
    return best


def known_images(categories: Sequence[str]) -> list[bool]:
    """Which images a nearest neighbour may name the others by: of each category the first, and every fifth after it."""
    seen: dict[str, int] = {}
    known = []
    for category in categories:
        number = seen.get(category, 0)
        known.append(number % KNOWN_ONE_IN == 0)
        seen[category] = number + 1
    return known


def quality(engine: str, features: NDArray[np.float32], expected: NDArray[np.float32], categories: Sequence[str]) -> Quality:
    """Of an engine's features of the images, float32[n, 1280], beside the reference's of the same images."""
    cosines = np.einsum("ij,ij->i", _unit(features), _unit(expected))
    return Quality(
        engine=engine,
        mean_cosine=float(cosines.mean()),
        largest_difference=float(np.abs(features.astype(np.float64) - expected).max()),
        accuracy=nearest_neighbour_accuracy(features, categories),
        k=fit_pca(moments_of(features), TARGET_VARIANCE).k,
    )


def nearest_neighbour_accuracy(features: NDArray[np.float32], categories: Sequence[str]) -> float:
    """The share of the images not in `known_images` whose nearest known image, by cosine of raw features, has their category.

    Raises ValueError if no image is left to recognise.
    """
    known = np.array(known_images(categories), dtype=bool)
    if known.all():
        raise ValueError(f"No category has two images: there are {len(categories)} images, and none to recognise.")
    names = np.array(categories)
    vectors = _unit(features)
    nearest = (vectors[~known] @ vectors[known].T).argmax(axis=1)
    return float((names[known][nearest] == names[~known]).mean())


def _summary(runs: Sequence[EngineRun], reference: Mapping[int, EngineRun]) -> BatchSummary:
    cpu_ratios = [reference[run.round].cpu_seconds_per_image / run.cpu_seconds_per_image for run in runs]
    ratios = [run.images_per_second / reference[run.round].images_per_second for run in runs]
    return BatchSummary(
        engine=runs[0].engine,
        inference_batch=runs[0].inference_batch,
        n_runs=len(runs),
        images_per_second=median(run.images_per_second for run in runs),
        cpu_seconds_per_image=median(run.cpu_seconds_per_image for run in runs),
        ratio=median(ratios),
        lowest_ratio=min(ratios),
        highest_ratio=max(ratios),
        cpu_ratio=median(cpu_ratios),
        lowest_cpu_ratio=min(cpu_ratios),
        highest_cpu_ratio=max(cpu_ratios),
    )


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64[n, d] of length 1."""
    values = vectors.astype(np.float64)
    unit: NDArray[np.float64] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return unit
