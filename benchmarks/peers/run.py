"""Measures ours, Daft and Ray Data in turn on the same images, with the ceiling measured between all runs.

A turn is a new process, whose first run is the cold one and whose second run is the warm one, so that no process of
another way is alive beside it.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import pyarrow.parquet as pq

from benchmarks.engines.field import ONE_THREAD, Ceiling
from benchmarks.harness.agreement import compare, read_features
from benchmarks.harness.images import lay_batch, spread
from benchmarks.harness.summary import turned
from benchmarks.harness.way_usage import UsageMeter
from benchmarks.peers.embedding import output_key
from benchmarks.peers.result import AGREE_WITHIN, COLD, DAFT, OURS, RAY, WARM, PeerRun, PeersBenchmark, worse
from fruit_cli.errors import CommandError
from fruit_contract import lake, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.harness.agreement import Agreement, Features
    from benchmarks.harness.bench_lake import BenchLake
    from benchmarks.harness.way_process import WayProcess
    from fruit_cli.lake.delivery_plan import PlannedImage

# Each picture is delivered in so many files, which differ in a comment, because drawing 20,000 pictures takes longer
# than featurising them.
DRAWN_ONE_IN: Final = 4
_FIRST_DATE: Final = date(2026, 1, 1)
_PEERS_ENVIRONMENT: Final = {
    # The peers report their use to nobody; a benchmark would wait for the answer.
    "DO_NOT_TRACK": "true",
    "DAFT_ANALYTICS_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DAFT_PROGRESS_BAR": "0",
    # By default Ray's workers have nice 15: beside others' work it would look slow.
    "RAY_worker_niceness": "0",
}


@dataclass(frozen=True)
class PeersScale:
    """Says how much is measured: in every round each way has one cold run and one warm run."""

    n_cold: int
    n_warm: int
    n_rounds: int
    ceiling_window_seconds: float

    @property
    def n_images(self) -> int:
        """Returns how many pictures to draw; each becomes several files."""
        return self.n_cold // DRAWN_ONE_IN


PEERS_SCALES: Final = {
    "small": PeersScale(n_cold=1200, n_warm=600, n_rounds=3, ceiling_window_seconds=1.5),
    "full": PeersScale(n_cold=20_000, n_warm=5000, n_rounds=3, ceiling_window_seconds=8.0),
}


@dataclass(frozen=True)
class _Way:
    """Describes a way: `module` answers the requests, `library` must be installed for it, and `folder` returns where
    its features of a date lie.
    """

    name: str
    module: str
    library: str
    folder: Callable[[str], str]


_WAYS: Final = {
    OURS: _Way(OURS, "features.ours", "pyspark", lambda ingest_date: lake.date_prefix(lake.FEATURES, ingest_date)),
    DAFT: _Way(DAFT, "peers.daft_way", "daft", lambda ingest_date: output_key("daft", ingest_date)),
    RAY: _Way(RAY, "peers.ray_way", "ray", lambda ingest_date: output_key("ray", ingest_date)),
}


def installed_peers() -> tuple[list[str], list[str]]:
    """Returns the peers that can be measured here, and remarks about those that can't."""
    missing = [name for name in (DAFT, RAY) if find_spec(_WAYS[name].library) is None]
    remarks = [f"{name} is not installed, its rows are left out: make bench installs it." for name in missing]
    return [name for name in (DAFT, RAY) if name not in missing], remarks


def measure_peers(
    bench: BenchLake, images: Sequence[PlannedImage], scale: PeersScale, say: Callable[[str], None]
) -> PeersBenchmark:
    """Times every way in every round. Raises CommandError if there is no peer, or if a way breaks or gives other
    features than ours.
    """
    peers, remarks = installed_peers()
    if not peers:
        raise CommandError("Neither Daft nor Ray is installed: `make bench` installs them.")
    with contextlib.ExitStack() as stack:
        ceiling = Ceiling(stack, bench, images, scale.ceiling_window_seconds)
        say(f"ceiling: {ceiling.again().images_per_second:.0f} images/s")
        runner = _Runner(bench, ceiling, images, scale, say)
        for number in range(scale.n_rounds):
            # Ours opens the first round, because the others' features are compared with its features.
            for name in turned([OURS, *peers], number):
                runner.take_turn(_WAYS[name], number)
    return PeersBenchmark(bench.n_cores, ceiling.measured, runner.runs, runner.agreements, remarks)


class _Runner:
    """Times the runs, each on a date of its own, and compares what they wrote before it says how fast they were."""

    def __init__(
        self,
        bench: BenchLake,
        ceiling: Ceiling,
        images: Sequence[PlannedImage],
        scale: PeersScale,
        say: Callable[[str], None],
    ) -> None:
        self.runs: list[PeerRun] = []
        self.agreements: dict[str, Agreement] = {}
        self._bench = bench
        self._ceiling = ceiling
        self._images = {COLD: spread(images, scale.n_cold), WARM: spread(images, scale.n_warm)}
        self._say = say
        self._dates = _dates()
        self._expected: Features = {}

    def take_turn(self, way: _Way, number: int) -> None:
        dates = {kind: self._deliver(kind) for kind in (COLD, WARM)}
        name = f"{way.module.rpartition('.')[2]}-{number}"
        environment = {} if way.name == OURS else ONE_THREAD | _PEERS_ENVIRONMENT
        # Ray puts sockets into this folder, so its path must be short.
        with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as temporary:
            process = self._bench.start(way.module, name, **environment)
            with process, UsageMeter(process.pid) as meter:
                s3_before = self._bench.s3_cpu_seconds()
                started = process.ask("start", **({"temporary": temporary} if way.name == RAY else {}))["seconds"]
                for kind in (COLD, WARM):
                    if kind == WARM:
                        meter.take()
                        s3_before = self._bench.s3_cpu_seconds()
                    seconds = self._ask(process, dates[kind])
                    usage, s3_cpu_seconds = meter.take(), self._bench.s3_cpu_seconds() - s3_before
                    self._check(way, kind, dates[kind])
                    run = PeerRun(
                        way=way.name,
                        kind=kind,
                        round=number,
                        n_cores=self._bench.n_cores,
                        n_images=len(self._images[kind]),
                        seconds=seconds + (started if kind == COLD else 0.0),
                        cpu_seconds=usage.cpu_seconds,
                        s3_cpu_seconds=s3_cpu_seconds,
                        worker_megabytes=usage.peak_megabytes,
                        ceiling_before=self._ceiling.measured[-1],
                        ceiling_after=self._ceiling.again(),
                    )
                    self.runs.append(run)
                    self._say(
                        f"round {number + 1}, {run.way}, {kind}: {run.seconds:.1f} s, {run.images_per_second:.0f} "
                        f"images/s, {1000 * run.cpu_seconds_per_image:.1f} ms of CPU an image; ceiling: "
                        f"{run.ceiling_after.images_per_second:.0f}"
                    )

    def _deliver(self, kind: str) -> str:
        ingest_date = next(self._dates)
        lay_batch(self._images[kind], self._bench.folder, ingest_date)
        return ingest_date

    def _ask(self, process: WayProcess, ingest_date: str) -> float:
        answer = process.ask(
            "run", bucket=self._bench.bucket, release_id=self._bench.release_id, ingest_date=ingest_date
        )
        return float(answer["seconds"])

    def _check(self, way: _Way, kind: str, ingest_date: str) -> None:
        """Raises CommandError unless the run wrote every image once, all its columns, and our features."""
        folder = self._bench.folder / way.folder(ingest_date)
        n_images, n_rows = len(self._images[kind]), count_rows(folder)
        found = read_features(folder, tables.IMAGE_KEY)
        if n_rows != n_images or len(found) != n_images:
            raise CommandError(f"{way.name} wrote {n_rows:,} rows of {len(found):,} images, not of {n_images:,}.")
        if not self._expected:
            self._expected = found
        agreement = compare(self._expected, found)
        if agreement.n_images != n_images or not agreement.largest_difference <= AGREE_WITHIN:
            differences = f"of {agreement.n_images:,} images, they differ by up to {agreement.largest_difference:.1e}"
            raise CommandError(f"{way.name} has other features than ours: {differences}.")
        if way.name != OURS:
            self.agreements[way.name] = worse(self.agreements.get(way.name), agreement)
            shutil.rmtree(folder)


def count_rows(folder: Path) -> int:
    """Returns the number of rows in the Parquet files below `folder`. Raises CommandError if a file lacks a column of
    `features/`.
    """
    n_rows = 0
    for file in folder.rglob("*.parquet"):
        with pq.ParquetFile(file) as opened:
            missing = set(tables.FEATURES_COLUMNS) - set(opened.schema_arrow.names)
            n_rows += opened.metadata.num_rows
        if missing:
            raise CommandError(f"{file.name} lacks {', '.join(sorted(missing))}: another table is no comparison.")
    return n_rows


def _dates() -> Iterator[str]:
    day = _FIRST_DATE
    while True:
        yield day.isoformat()
        day += timedelta(days=1)
