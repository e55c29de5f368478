"""The engines benchmark's result as tables and the words below them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.engines.measurements import KNOWN_ONE_IN, best_batches, summarise_engines
from benchmarks.features.table import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.engines.measurements import BatchSummary, EnginesBenchmark, Quality


def engines_grids(result: EnginesBenchmark) -> list[Grid]:
    """Each engine at its best batch, all batches, and what the features are good for."""
    summaries = summarise_engines(result.runs, result.reference, result.step_batch)
    return [_engines(result, summaries), _batches(result, summaries), _features(result)]


def engines_notes(result: EnginesBenchmark) -> list[str]:
    summaries = summarise_engines(result.runs, result.reference, result.step_batch)
    measured = (
        f"Each engine runs in {result.n_cores} processes, one a core, with one thread each, on tensors that are decoded already; they are "
        "measured together, the engines in turn. Ratios are of the same round, then the median: the speed of a shared machine changes. "
        "'By CPU' compares images per second of CPU, which others' work moves less: it decides which engine and batch is the best."
    )
    accuracy = (
        f"Accuracy is the share of {result.n_images - result.n_known:,} images whose nearest of {result.n_known:,} others (one in "
        f"{KNOWN_ONE_IN} of each category) has their category: cosine of raw features, no PCA. k is fitted on all {result.n_images:,} "
        f"images, in {result.n_categories:,} categories; it can't be larger than their number. Drawn fruit, a few categories each alike in "
        "itself, are easy to tell apart: only a folder of photos (DATA=) says something about accuracy."
    )
    int8 = (
        f"int8: static QDQ quantisation, a scale a channel, calibrated on {result.n_calibration:,} of the known images, never on those "
        "to be recognised; pooling stays f32. int8 and bf16 are experiments: no release offers them."
    )
    return [
        _verdict(result, summaries),
        *_experiments(result, summaries),
        _step_batch(result, summaries),
        *result.remarks,
        measured,
        accuracy,
        int8,
    ]


def _engines(result: EnginesBenchmark, summaries: Sequence[BatchSummary]) -> Grid:
    rows = [
        (
            name,
            str(best.inference_batch),
            str(best.n_runs),
            f"{best.images_per_second:.1f}",
            f"{best.ratio:.2f}",
            _range(best),
            f"{best.cpu_ratio:.2f}",
            f"{1000 * best.cpu_seconds_per_image:.1f}",
            f"{result.load_seconds[name]:.1f}",
        )
        for name, best in best_batches(summaries).items()
    ]
    header = (
        "engine",
        "batch",
        "rounds",
        "images/s",
        f"x {_reference(result)}",
        "from, to",
        "x by CPU",
        "CPU ms/image",
        "import and load s",
    )
    return Grid(f"Engines at their best batch, {result.n_cores} processes of one thread (medians)", header, rows)


def _batches(result: EnginesBenchmark, summaries: Sequence[BatchSummary]) -> Grid:
    batches = sorted({summary.inference_batch for summary in summaries})
    by_way = {(summary.engine, summary.inference_batch): summary for summary in summaries}
    rows = []
    for engine in dict.fromkeys(summary.engine for summary in summaries):
        found = [by_way.get((engine, batch)) for batch in batches]
        speeds = ["" if way is None else f"{way.images_per_second:.1f}" for way in found]
        ratios = ["" if way is None else f"{way.ratio:.2f}" for way in found]
        rows.append((engine, *speeds, *ratios))
    header = ("engine", *(f"images/s, {batch}" for batch in batches), *(f"x, {batch}" for batch in batches))
    return Grid(f"By the images given at once; x is the ratio to {_reference(result)} (medians)", header, rows)


def _features(result: EnginesBenchmark) -> Grid:
    rows = [
        (found.engine, f"{found.mean_cosine:.6f}", f"{found.largest_difference:.1e}", f"{100 * found.accuracy:.2f} %", str(found.k))
        for found in result.qualities
    ]
    header = ("engine", "mean cosine", "largest difference", "1-NN accuracy", "k for 95 %")
    return Grid(f"Features of {result.n_images:,} images, beside those of {result.reference}", header, rows)


def _verdict(result: EnginesBenchmark, summaries: Sequence[BatchSummary]) -> str:
    best = {engine: way for engine, way in best_batches(summaries).items() if engine in result.f32}
    first = max(best.values(), key=lambda way: way.cpu_ratio)
    as_the_step = (result.reference, result.step_batch)
    others = [way for way in best.values() if way is not first and (way.engine, way.inference_batch) != as_the_step]
    rest = "".join(f" {way.engine} at batch {way.inference_batch}: {way.ratio:.2f} times ({way.cpu_ratio:.2f} by CPU)." for way in others)
    told = f"Of the f32 engines, each at its best batch, {first.engine} is the fastest, at batch {first.inference_batch}"
    if (first.engine, first.inference_batch) == as_the_step:
        return f"{told}, as the features step runs it.{rest}"
    clear = "" if first.is_clear else " The rounds do not agree on it."
    return f"{told}: {_times(first, result)}.{clear}{rest}"


def _experiments(result: EnginesBenchmark, summaries: Sequence[BatchSummary]) -> list[str]:
    qualities = {found.engine: found for found in result.qualities}
    return [
        _experiment(result, way, qualities[engine], qualities[result.reference])
        for engine, way in best_batches(summaries).items()
        if engine not in result.f32
    ]


def _experiment(result: EnginesBenchmark, way: BatchSummary, found: Quality, expected: Quality) -> str:
    points = 100 * (found.accuracy - expected.accuracy)
    return (
        f"{way.engine} at batch {way.inference_batch}: {_times(way, result)}; 1-NN accuracy {points:+.2f} points, "
        f"k {found.k} instead of {expected.k}, mean cosine {found.mean_cosine:.4f}."
    )


def _step_batch(result: EnginesBenchmark, summaries: Sequence[BatchSummary]) -> str:
    best = best_batches(summaries)[result.reference]
    if best.inference_batch == result.step_batch:
        verdict = "its best here"
    else:
        agree = "" if best.is_clear else ", and the rounds do not agree on it"
        verdict = f"here it is {best.ratio:.2f} times as fast ({best.cpu_ratio:.2f} by CPU) at batch {best.inference_batch}{agree}"
    return f"The features step runs {_reference(result)}: {verdict}."


def _times(way: BatchSummary, result: EnginesBenchmark) -> str:
    by_cpu = f"{way.lowest_cpu_ratio:.2f} to {way.highest_cpu_ratio:.2f}"
    return f"{way.ratio:.2f} times {_reference(result)} (rounds: {_range(way)}), {way.cpu_ratio:.2f} by CPU ({by_cpu})"


def _reference(result: EnginesBenchmark) -> str:
    return f"{result.reference} at batch {result.step_batch}"


def _range(way: BatchSummary) -> str:
    return f"{way.lowest_ratio:.2f} to {way.highest_ratio:.2f}"
