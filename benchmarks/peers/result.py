"""Holds what the peers benchmark measured, and makes its tables and the words below them."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

from benchmarks.features.result import WayRun
from benchmarks.harness.grid import Column, Grid, grid
from benchmarks.harness.summary import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.engines.field import EngineSpeed
    from benchmarks.harness.agreement import Agreement

OURS: Final = "ours"
DAFT: Final = "Daft"
RAY: Final = "Ray Data"
WAYS: Final = (OURS, DAFT, RAY)

# A cold run goes from the start of the process to the last file in the lake, a warm one follows in the same process.
COLD: Final = "cold"
WARM: Final = "warm"
KINDS: Final = (WARM, COLD)

# All put the same pixels through the same network, one image at a time: at most the rounding of sums differs.
AGREE_WITHIN: Final = 1e-4


_MEANT: Final = {
    WARM: "everything started and the engine loaded, from the listing to the last file",
    COLD: "from the start of the process to the last file",
}


@dataclass(frozen=True)
class PeerRun(WayRun):
    """Holds one timed run of a way. Runs of the same round were measured one after the other.

    `worker_megabytes` is the most memory that all of the way's processes held together.
    """

    kind: str = field(kw_only=True)
    round: int = field(kw_only=True)


@dataclass(frozen=True)
class PeersBenchmark:
    """Holds the runs of all ways. `agreements` compare each peer's features with ours over all its runs, and `remarks`
    say what was left out.
    """

    n_cores: int
    ceilings: Sequence[EngineSpeed]
    runs: Sequence[PeerRun]
    agreements: Mapping[str, Agreement]
    remarks: Sequence[str] = ()

    @property
    def engine_seconds_per_image(self) -> float:
        """Returns how long the engine alone takes on a core for an image; results of another machine are to be compared
        by it.
        """
        return median(ceiling.cpu_seconds_per_image for ceiling in self.ceilings)

    def grids(self) -> list[Grid]:
        """Returns the tables: the ways side by side, warm and cold; every run; and how far the features agree."""
        measured = {run.kind for run in self.runs}
        return [*(_ways(self, kind) for kind in KINDS if kind in measured), _runs(self), _agreement(self)]

    def notes(self) -> list[str]:
        verdicts = [
            f"{kind.capitalize()}, {summary.first.n_images:,} images: ours / {summary.first.way} = "
            f"{faster_by(summary):.2f} in images/s ({_range(summary)}), {summary.first.way} takes "
            f"{summary.ratio('cpu_seconds_per_image'):.2f} times the CPU."
            for kind in KINDS
            for summary in summarise_peers(self.runs, kind)
            if summary.first.way != OURS
        ]
        engine = (
            f"The engine alone takes {1000 * self.engine_seconds_per_image:.2f} ms of a core for an image here (one "
            "thread, decoded tensors). On another CPU compare by that, and by 'of ceiling': the engine alone on every "
            "core, right before and after a run."
        )
        same = (
            "All fetch from the same local S3 server and write Parquet by category to it. Decoder, preprocessing, "
            f"LiteRT model, engine settings and the number of workers are the same, on {self.n_cores} cores. Ours does "
            "more: it compares with the ledger, looks for known contents, adds up moments, commits a ledger, and would "
            "go on after a crash."
        )
        columns = (
            "CPU is that of all of a way's processes without the S3 server's. 'Peak MB' is the most memory that they "
            "held together, looked at twice a second: their own, and shared memory once, without programs and "
            "libraries, which are mapped once for all."
        )
        return [*self.remarks, *verdicts, engine, same, columns, "benchmarks/README.md says how each way is written."]


def worse(some: Agreement | None, other: Agreement) -> Agreement:
    """Returns the one of two comparisons of the same way whose features differ more."""
    return other if some is None or other.largest_difference > some.largest_difference else some


def summarise_peers(runs: Sequence[PeerRun], kind: str) -> list[Summary[PeerRun]]:
    """Returns a summary for each way, ours first. Raises ValueError if a round lacks a run of ours."""
    own = [run for run in runs if run.kind == kind]
    found = summarise(own, lambda run: run.way, lambda run: run.way == OURS, f"{kind} run of ours")
    return [found[way] for way in WAYS if way in found]


def _ways(result: PeersBenchmark, kind: str) -> Grid:
    summaries = summarise_peers(result.runs, kind)
    title = (
        f"{kind.capitalize()}: {summaries[0].first.n_images:,} images, {_MEANT[kind]} "
        f"(medians; the engine alone takes {1000 * result.engine_seconds_per_image:.2f} ms an image)"
    )
    columns = [
        Column[Summary[PeerRun]]("way", "{}", lambda way: way.first.way),
        Column("runs", "{}", lambda way: way.n_runs),
        Column("s", "{:.1f}", lambda way: way.median("seconds")),
        Column("images/s", "{:.1f}", lambda way: way.median("images_per_second")),
        Column("of ceiling", "{:.0f} %", lambda way: 100 * way.median("share_of_ceiling")),
        Column("ours / it", "{:.2f}", lambda way: None if way is summaries[0] else faster_by(way)),
        Column("from, to", "{}", lambda way: None if way is summaries[0] else _range(way)),
        Column("CPU ms/image", "{:.1f}", lambda way: 1000 * way.median("cpu_seconds_per_image")),
        Column("CPU x ours", "{:.2f}", lambda way: None if way is summaries[0] else way.ratio("cpu_seconds_per_image")),
        Column("S3 CPU ms/image", "{:.2f}", lambda way: 1000 * way.median("s3_cpu_seconds_per_image")),
        Column("peak MB", "{:,.0f}", lambda way: way.most("worker_megabytes")),
    ]
    return grid(title, columns, summaries)


def faster_by(way: Summary[PeerRun]) -> float:
    """Returns how many times as many images/s ours did in the same round: the median of the rounds."""
    return way.ratio("seconds_per_image")


def _range(way: Summary[PeerRun]) -> str:
    ratios = way.ratios("seconds_per_image")
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def _runs(result: PeersBenchmark) -> Grid:
    columns = [
        Column[PeerRun]("run", "{}, {}", lambda run: (run.way, run.kind)),
        Column("round", "{}", lambda run: run.round + 1),
        Column("s", "{:.1f}", lambda run: run.seconds),
        Column("images/s", "{:.1f}", lambda run: run.images_per_second),
        Column("CPU ms/image", "{:.1f}", lambda run: 1000 * run.cpu_seconds_per_image),
        Column(
            "ceilings",
            "{:.0f}, {:.0f}",
            lambda run: (run.ceiling_before.images_per_second, run.ceiling_after.images_per_second),
        ),
    ]
    return grid("Runs in their order, with the ceiling before and after", columns, result.runs)


def _agreement(result: PeersBenchmark) -> Grid:
    columns = [
        Column[str]("of", "ours and {}", lambda way: way),
        Column("images", "{:,}", lambda way: result.agreements[way].n_images),
        Column("largest difference", "{:.1e}", lambda way: result.agreements[way].largest_difference),
        Column("mean cosine", "{:.6f}", lambda way: result.agreements[way].mean_cosine),
    ]
    return grid(
        "Features: the run that agrees least", columns, (way for way in (DAFT, RAY) if way in result.agreements)
    )
