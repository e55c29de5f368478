"""The latency benchmark's result as tables and the words below them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.features.table import Grid
from benchmarks.harness.requests import kinds_of
from benchmarks.latency.measurements import summarise_steps

if TYPE_CHECKING:
    from benchmarks.latency.measurements import LatencyBenchmark


def latency_grids(result: LatencyBenchmark) -> list[Grid]:
    """Each step near S3 and far from it."""
    summaries = summarise_steps(result.runs)
    kinds = kinds_of(summary.requests for summary in summaries)
    rows = [
        (
            summary.step,
            f"{summary.milliseconds:g}",
            str(summary.n_runs),
            f"{summary.seconds:.2f}",
            f"{summary.fastest:.2f} to {summary.slowest:.2f}",
            "" if summary.waits is None else f"{summary.more_seconds:.2f}",
            "" if summary.waits is None else f"{summary.waits:.0f}",
            *(f"{summary.requests.get(kind, 0):,}" for kind in kinds),
            f"{summary.n_requests:,}",
        )
        for summary in summaries
    ]
    header = ("step", "ms a request", "runs", "s", "from, to", "more s", "waits", *kinds, "requests")
    return [Grid("A day's features step and a refit of the PCA, by the distance of S3 (medians)", header, rows)]


def latency_notes(result: LatencyBenchmark) -> list[str]:
    day = (
        f"The day has {result.n_images:,} new images, after {result.n_days:,} days of history with {result.history_images:,} images in "
        f"{result.n_partitions:,} partitions. The refit fits anew and projects everything, the new day with it."
    )
    distance = (
        "A proxy before the local S3 holds every request back for so long, and counts it (local_cloud/stack/latency.py). 'waits' is how "
        "many times this latency the step takes longer: so many requests come one after the other, all others wait beside them."
    )
    warm = "Both steps run warm, in one Spark session; the start of a session sees no S3. LIST is a page of a listing."
    return [day, distance, warm]
