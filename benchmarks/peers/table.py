"""The peers benchmark's result as tables and the words below them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.features.table import Grid
from benchmarks.peers.measurements import COLD, DAFT, KINDS, OURS, RAY, WARM, summarise_peers

if TYPE_CHECKING:
    from benchmarks.peers.measurements import PeersBenchmark, PeerSummary

_MEANT: Final = {
    WARM: "everything started and the engine loaded, from the listing to the last file",
    COLD: "from the start of the process to the last file",
}


def peers_grids(result: PeersBenchmark) -> list[Grid]:
    """The ways side by side, warm and cold; every run; and how far the features agree."""
    measured = {run.kind for run in result.runs}
    return [*(_ways(result, kind) for kind in KINDS if kind in measured), _runs(result), _agreement(result)]


def peers_notes(result: PeersBenchmark) -> list[str]:
    engine = (
        f"The engine alone takes {_milliseconds(result.engine_seconds_per_image, 2)} ms of a core for an image here (one thread, decoded "
        "tensors). On another CPU compare by that, and by 'of ceiling': the engine alone on every core, right before and after a run."
    )
    same = (
        "All fetch from the same local S3 server and write Parquet by category to it. Decoder, preprocessing, ONNX model, engine settings "
        f"and the number of workers are the same, on {result.n_cores} cores. Ours does more: it compares with the ledger, looks for known "
        "contents, adds up moments, commits a ledger, and would go on after a crash."
    )
    columns = (
        "CPU is that of all of a way's processes without the S3 server's. 'Peak MB' is the most memory that they held together, looked at "
        "twice a second: their own, and shared memory once, without programs and libraries, which are mapped once for all."
    )
    return [*result.remarks, *_verdicts(result), engine, same, columns, "benchmarks/README.md says how each way is written."]


def _verdicts(result: PeersBenchmark) -> list[str]:
    return [
        f"{kind.capitalize()}, {summary.n_images:,} images: ours / {summary.way} = {summary.ours_is_faster_by:.2f} in images/s "
        f"({summary.lowest:.2f} to {summary.highest:.2f}), {summary.way} takes {summary.cpu_ratio:.2f} times the CPU."
        for kind in KINDS
        for summary in summarise_peers(result.runs, kind)
        if summary.way != OURS
    ]


def _ways(result: PeersBenchmark, kind: str) -> Grid:
    summaries = summarise_peers(result.runs, kind)
    title = (
        f"{kind.capitalize()}: {summaries[0].n_images:,} images, {_MEANT[kind]} "
        f"(medians; the engine alone takes {_milliseconds(result.engine_seconds_per_image, 2)} ms an image)"
    )
    header = (
        "way",
        "runs",
        "s",
        "images/s",
        "of ceiling",
        "ours / it",
        "from, to",
        "CPU ms/image",
        "CPU x ours",
        "S3 CPU ms/image",
        "peak MB",
    )
    return Grid(title, header, [_way(summary) for summary in summaries])


def _way(summary: PeerSummary) -> tuple[str, ...]:
    is_ours = summary.way == OURS
    return (
        summary.way,
        str(summary.n_runs),
        f"{summary.seconds:.1f}",
        f"{summary.images_per_second:.1f}",
        f"{100 * summary.share_of_ceiling:.0f} %",
        "" if is_ours else f"{summary.ours_is_faster_by:.2f}",
        "" if is_ours else f"{summary.lowest:.2f} to {summary.highest:.2f}",
        _milliseconds(summary.cpu_seconds_per_image, 1),
        "" if is_ours else f"{summary.cpu_ratio:.2f}",
        _milliseconds(summary.s3_cpu_seconds_per_image, 2),
        "" if summary.peak_megabytes is None else f"{summary.peak_megabytes:,.0f}",
    )


def _runs(result: PeersBenchmark) -> Grid:
    rows = [
        (
            f"{run.way}, {run.kind}",
            str(run.round + 1),
            f"{run.seconds:.1f}",
            f"{run.images_per_second:.1f}",
            _milliseconds(run.cpu_seconds_per_image, 1),
            f"{run.ceiling_before.images_per_second:.0f}, {run.ceiling_after.images_per_second:.0f}",
        )
        for run in result.runs
    ]
    return Grid(
        "Runs in their order, with the ceiling before and after", ("run", "round", "s", "images/s", "CPU ms/image", "ceilings"), rows
    )


def _agreement(result: PeersBenchmark) -> Grid:
    rows = [
        (f"ours and {way}", f"{agreement.n_images:,}", f"{agreement.largest_difference:.1e}", f"{agreement.mean_cosine:.6f}")
        for way in (DAFT, RAY)
        if (agreement := result.agreements.get(way)) is not None
    ]
    return Grid("Features: the run that agrees least", ("of", "images", "largest difference", "mean cosine"), rows)


def _milliseconds(seconds: float, digits: int) -> str:
    return f"{1000 * seconds:.{digits}f}"
