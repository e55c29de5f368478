"""Holds what the engines benchmark measured, and makes its tables and the words below them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.harness.grid import Column, Grid, column_each, grid
from benchmarks.harness.summary import Summary, summarise
from fruit_features.moments.algebra import moments_of
from fruit_features.pca.fit import fit_pca

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

# One image in so many of each category is known; the others are to be recognised by it.
KNOWN_ONE_IN: Final = 5
# The variance that the PCA keeps, as in the product.
TARGET_VARIANCE: Final = 0.95


@dataclass(frozen=True)
class EngineRun:
    """Holds one measurement of an engine in a process on each core. Runs of one round were measured one after the
    other.
    """

    engine: str
    inference_batch: int
    round: int
    images_per_second: float  # of all processes together
    cpu_seconds_per_image: float

    @property
    def images_per_cpu_second(self) -> float:
        """Returns the images per second of CPU, which others' work on the machine moves less than the images per
        second.
        """
        return 1 / self.cpu_seconds_per_image


# An engine's runs at one batch.
Batch = Summary[EngineRun]


@dataclass(frozen=True)
class Quality:
    """Compares an engine's features with the reference's: how like them they are, and what they are good for.

    `accuracy` is the share of images whose category a nearest neighbour names, and `k` the number of components that
    keep 95 % of the variance.
    """

    engine: str
    mean_cosine: float
    largest_difference: float
    accuracy: float
    k: int


@dataclass(frozen=True)
class EnginesBenchmark:
    """Holds the runs of all engines. They are compared with the engine `reference` at the inference batch `step_batch`,
    which is how the features step runs it.

    `f32` names the engines that compute what the reference computes; the others in `runs` are experiments.
    `load_seconds` are by engine. `remarks` say what was left out, or what limits an experiment.
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

    def grids(self) -> list[Grid]:
        """Returns the tables: each engine at its best batch, all batches, and how good the features are."""
        summaries = summarise_engines(self.runs, self.reference, self.step_batch)
        return [_engines(self, summaries), _batches(self, summaries), _features(self)]

    def notes(self) -> list[str]:
        summaries = summarise_engines(self.runs, self.reference, self.step_batch)
        measured = (
            f"Each engine runs in {self.n_cores} processes, one a core, with one thread each, on tensors that are "
            "decoded already; they are measured together, the engines in turn. Ratios are of the same round, then the "
            "median: the speed of a shared machine changes. 'By CPU' compares images per second of CPU, which others' "
            "work moves less: it decides which engine and batch is the best."
        )
        accuracy = (
            f"Accuracy is the share of {self.n_images - self.n_known:,} images whose nearest of {self.n_known:,} "
            f"others (one in {KNOWN_ONE_IN} of each category) has their category: cosine of raw features, no PCA. k is "
            f"fitted on all {self.n_images:,} images, in {self.n_categories:,} categories; it can't be larger than "
            "their number. Drawn fruit, a few categories each alike in itself, are easy to tell apart: only a folder "
            "of photos (DATA=) says something about accuracy."
        )
        int8 = (
            f"int8: static QDQ quantisation, a scale a channel, calibrated on {self.n_calibration:,} of the known "
            "images, never on those "
            "to be recognised; pooling stays f32. int8 and bf16 are experiments: no release offers them."
        )
        return [
            _verdict(self, summaries),
            *_experiments(self, summaries),
            _step_batch(self, summaries),
            *self.remarks,
            measured,
            accuracy,
            int8,
        ]


def summarise_engines(runs: Sequence[EngineRun], reference: str, reference_batch: int) -> list[Batch]:
    """Returns a summary for each engine and batch: engines in the order in which they ran first, batches ascending.

    All ratios are to `reference` at `reference_batch` in the same round. Raises ValueError if a round lacks it.
    """
    is_reference = (reference, reference_batch)
    found = summarise(
        runs,
        lambda run: (run.engine, run.inference_batch),
        lambda run: (run.engine, run.inference_batch) == is_reference,
        f"run of {reference} at batch {reference_batch}",
    )
    engines = list(dict.fromkeys(engine for engine, _ in found))
    return [found[way] for way in sorted(found, key=lambda way: (engines.index(way[0]), way[1]))]


def is_clear(batch: Batch) -> bool:
    """Says whether all rounds agree on which does more with a second of CPU, this batch or the reference."""
    ratios = batch.ratios("images_per_cpu_second")
    return min(ratios) > 1 or max(ratios) < 1


def best_batches(summaries: Sequence[Batch]) -> dict[str, Batch]:
    """Returns each engine at the batch with which it does the most by CPU. A process has one thread, so this is also
    the fastest batch on an idle machine.
    """
    best: dict[str, Batch] = {}
    for summary in summaries:
        engine = summary.first.engine
        if engine not in best or _by_cpu(summary) > _by_cpu(best[engine]):
            best[engine] = summary
    return best


def known_images(categories: Sequence[str]) -> list[bool]:
    """Says of each image whether a nearest neighbour may name others by it: each category's first and every fifth after
    it.
    """
    seen: dict[str, int] = {}
    known = []
    for category in categories:
        number = seen.get(category, 0)
        known.append(number % KNOWN_ONE_IN == 0)
        seen[category] = number + 1
    return known


def quality(
    engine: str, features: NDArray[np.float32], expected: NDArray[np.float32], categories: Sequence[str]
) -> Quality:
    """Compares an engine's features of the images, float32[n, 1280], with the reference's features of these images."""
    cosines = np.einsum("ij,ij->i", _unit(features), _unit(expected))
    return Quality(
        engine=engine,
        mean_cosine=float(cosines.mean()),
        largest_difference=float(np.abs(features.astype(np.float64) - expected).max()),
        accuracy=nearest_neighbour_accuracy(features, categories),
        k=fit_pca(moments_of(features), TARGET_VARIANCE).k,
    )


def nearest_neighbour_accuracy(features: NDArray[np.float32], categories: Sequence[str]) -> float:
    """Returns the share of images whose nearest known image has their category, by the cosine of the raw features.

    Images that are known (`known_images`) are not counted. Raises ValueError if no image is left to recognise.
    """
    known = np.array(known_images(categories), dtype=bool)
    if known.all():
        raise ValueError(f"No category has two images: there are {len(categories)} images, and none to recognise.")
    names = np.array(categories)
    vectors = _unit(features)
    nearest = (vectors[~known] @ vectors[known].T).argmax(axis=1)
    return float((names[known][nearest] == names[~known]).mean())


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the vectors at length 1, as float64[n, d]."""
    values = vectors.astype(np.float64)
    unit: NDArray[np.float64] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return unit


def _engines(result: EnginesBenchmark, summaries: Sequence[Batch]) -> Grid:
    columns = [
        Column[Batch]("engine", "{}", lambda best: best.first.engine),
        Column("batch", "{}", lambda best: best.first.inference_batch),
        Column("rounds", "{}", lambda best: best.n_runs),
        Column("images/s", "{:.1f}", lambda best: best.median("images_per_second")),
        Column(f"x {_reference(result)}", "{:.2f}", _speed),
        Column("from, to", "{}", lambda best: _range(best.ratios("images_per_second"))),
        Column("x by CPU", "{:.2f}", _by_cpu),
        Column("CPU ms/image", "{:.1f}", lambda best: 1000 * best.median("cpu_seconds_per_image")),
        Column("import and load s", "{:.1f}", lambda best: result.load_seconds[best.first.engine]),
    ]
    title = f"Engines at their best batch, {result.n_cores} processes of one thread (medians)"
    return grid(title, columns, best_batches(summaries).values())


def _batches(result: EnginesBenchmark, summaries: Sequence[Batch]) -> Grid:
    batches = sorted({summary.first.inference_batch for summary in summaries})
    found = {(summary.first.engine, summary.first.inference_batch): summary for summary in summaries}

    def figure(engine: str, batch: str, of: Callable[[Batch], float]) -> float | None:
        way = found.get((engine, int(batch)))
        return None if way is None else of(way)

    names = [str(batch) for batch in batches]
    columns = [
        Column[str]("engine", "{}", str),
        *column_each(
            names, "{:.1f}", lambda name, batch: figure(name, batch, _images_per_second), "images/s, {}".format
        ),
        *column_each(names, "{:.2f}", lambda name, batch: figure(name, batch, _speed), "x, {}".format),
    ]
    title = f"By the images given at once; x is the ratio to {_reference(result)} (medians)"
    return grid(title, columns, dict.fromkeys(summary.first.engine for summary in summaries))


def _features(result: EnginesBenchmark) -> Grid:
    columns = [
        Column[Quality]("engine", "{}", lambda found: found.engine),
        Column("mean cosine", "{:.6f}", lambda found: found.mean_cosine),
        Column("largest difference", "{:.1e}", lambda found: found.largest_difference),
        Column("1-NN accuracy", "{:.2f} %", lambda found: 100 * found.accuracy),
        Column("k for 95 %", "{}", lambda found: found.k),
    ]
    return grid(
        f"Features of {result.n_images:,} images, beside those of {result.reference}", columns, result.qualities
    )


def _verdict(result: EnginesBenchmark, summaries: Sequence[Batch]) -> str:
    best = {engine: way for engine, way in best_batches(summaries).items() if engine in result.f32}
    first = max(best.values(), key=_by_cpu)
    as_the_step = (result.reference, result.step_batch)
    others = [
        way
        for way in best.values()
        if way is not first and (way.first.engine, way.first.inference_batch) != as_the_step
    ]
    rest = "".join(
        f" {way.first.engine} at batch {way.first.inference_batch}: {_speed(way):.2f} times ({_by_cpu(way):.2f} by "
        "CPU)."
        for way in others
    )
    told = (
        f"Of the f32 engines, each at its best batch, {first.first.engine} is the fastest, at batch "
        f"{first.first.inference_batch}"
    )
    if (first.first.engine, first.first.inference_batch) == as_the_step:
        return f"{told}, as the features step runs it.{rest}"
    clear = "" if is_clear(first) else " The rounds do not agree on it."
    return f"{told}: {_times(first, result)}.{clear}{rest}"


def _experiments(result: EnginesBenchmark, summaries: Sequence[Batch]) -> list[str]:
    qualities = {found.engine: found for found in result.qualities}
    return [
        _experiment(result, way, qualities[engine], qualities[result.reference])
        for engine, way in best_batches(summaries).items()
        if engine not in result.f32
    ]


def _experiment(result: EnginesBenchmark, way: Batch, found: Quality, expected: Quality) -> str:
    points = 100 * (found.accuracy - expected.accuracy)
    return (
        f"{way.first.engine} at batch {way.first.inference_batch}: {_times(way, result)}; 1-NN accuracy {points:+.2f} "
        f"points, k {found.k} instead of {expected.k}, mean cosine {found.mean_cosine:.4f}."
    )


def _step_batch(result: EnginesBenchmark, summaries: Sequence[Batch]) -> str:
    best = best_batches(summaries)[result.reference]
    if best.first.inference_batch == result.step_batch:
        verdict = "its best here"
    else:
        agree = "" if is_clear(best) else ", and the rounds do not agree on it"
        verdict = (
            f"here it is {_speed(best):.2f} times as fast ({_by_cpu(best):.2f} by CPU) at batch "
            f"{best.first.inference_batch}{agree}"
        )
    return f"The features step runs {_reference(result)}: {verdict}."


def _times(way: Batch, result: EnginesBenchmark) -> str:
    by_cpu = _range(way.ratios("images_per_cpu_second"))
    speeds = _range(way.ratios("images_per_second"))
    return f"{_speed(way):.2f} times {_reference(result)} (rounds: {speeds}), {_by_cpu(way):.2f} by CPU ({by_cpu})"


def _images_per_second(way: Batch) -> float:
    return way.median("images_per_second")


def _speed(way: Batch) -> float:
    return way.ratio("images_per_second")


def _by_cpu(way: Batch) -> float:
    return way.ratio("images_per_cpu_second")


def _reference(result: EnginesBenchmark) -> str:
    return f"{result.reference} at batch {result.step_batch}"


def _range(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}"
