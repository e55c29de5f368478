"""Measures the same new day after 1 to 1,000 days of history, and a refit with its re-projection.

Every timed run has a lake to itself, cloned from that of its history, so that it meets exactly so many days. A round
runs the day on every history, one right after the other.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.harness.images import lay_batch
from benchmarks.harness.summary import turned
from benchmarks.history.result import DayRun, HistoryBenchmark, RefitRun
from benchmarks.history.synthetic_history import (
    CATEGORIES,
    SyntheticHistory,
    clone_lake,
    days_before,
    read_embedder_id,
    write_history,
)
from benchmarks.scale.made_up_stores import FolderStore
from fruit_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.harness.bench_lake import BenchLake
    from benchmarks.harness.way_process import WayProcess
    from fruit_cli.lake.delivery_plan import PlannedImage

# For no other day does a refresh read more kept moments (tests/benchmarks/history/test_synthetic_history.py).
NEW_DAY: Final = "2024-10-03"
_IMAGES_PER_PARTITION: Final = 6  # 24 a day; the histories of `refit_images` have more
_REFIT_DAYS: Final = 16
_WARM_UP_ROUNDS: Final = 2
_WAY: Final = "history.daily_steps"


@dataclass(frozen=True)
class HistoryScale:
    """Says how much is measured. `refit_images` are the sizes of two histories that differ only in their images, not in
    their dates and categories.
    """

    days: tuple[int, ...]
    n_images: int
    rounds: int
    refit_images: tuple[int, int]
    refit_rounds: int


HISTORY_SCALES: Final = {
    "small": HistoryScale(days=(1, 30, 100), n_images=60, rounds=3, refit_images=(2_048, 8_192), refit_rounds=1),
    "full": HistoryScale(days=(1, 30, 365, 1000), n_images=120, rounds=5, refit_images=(8_192, 32_768), refit_rounds=3),
}


@dataclass(frozen=True)
class HistoryLake:
    """Describes a lake with a history, which is a bucket. Timed runs get clones of it, one at a time."""

    history: SyntheticHistory

    @property
    def name(self) -> str:
        return f"history-{len(self.history.days)}-{self.history.images_per_partition}"

    @property
    def clone_name(self) -> str:
        # One name for all clones: Spark has to know all buckets from the start, and workers keep the embedder by
        # bucket.
        return f"{self.name}-run"


def measure_history(
    bench: BenchLake, images: Sequence[PlannedImage], scale: HistoryScale, say: Callable[[str], None]
) -> HistoryBenchmark:
    """Times everything. Raises CommandError if a run breaks, skips an image or does other work than it should."""
    embedder_id = read_embedder_id(bench.folder, bench.release_id)

    def lake_of(n_days: int, images_per_partition: int) -> HistoryLake:
        return HistoryLake(
            SyntheticHistory(days_before(NEW_DAY, n_days), images_per_partition, bench.release_id, embedder_id)
        )

    lakes = [lake_of(n_days, _IMAGES_PER_PARTITION) for n_days in scale.days]
    refit_lakes = [lake_of(_REFIT_DAYS, n // (_REFIT_DAYS * len(CATEGORIES))) for n in scale.refit_images]
    every_lake = [*lakes, *refit_lakes]
    with bench.start(
        _WAY, more_buckets=[name for lake in every_lake for name in (lake.name, lake.clone_name)]
    ) as process:
        process.send("start")
        for lake in every_lake:
            clone_lake(bench.folder, _folder(bench, lake.name))
            write_history(FolderStore(lake.name, _folder(bench, lake.name)), lake.history)
            say(f"a history of {len(lake.history.days):,} days and {lake.history.n_images:,} images is written")
        process.receive()
        runner = _Runner(bench, process, say)
        for lake in every_lake:
            runner.merge(lake)
        say("warming up")
        # Java still compiles during the first runs.
        for lake in lakes * _WARM_UP_ROUNDS:
            runner.run_day(lake, images)
        days = [
            runner.run_day(lake, images, number) for number in range(scale.rounds) for lake in turned(lakes, number)
        ]
        # The first refit is a warm-up and not timed. That of the longest history takes minutes and is run once.
        runner.refit(refit_lakes[0])
        refits = [runner.refit(lake) for lake in (*refit_lakes * scale.refit_rounds, lakes[-1])]
    return HistoryBenchmark(
        len(images), {len(lake.history.days): lake.history.n_images for lake in lakes}, days, refits
    )


class _Runner:
    """Runs steps on lakes, one after the other, and checks that each did the work that is to be timed."""

    def __init__(self, bench: BenchLake, process: WayProcess, say: Callable[[str], None]) -> None:
        self._bench = bench
        self._process = process
        self._say = say

    def merge(self, lake: HistoryLake) -> None:
        """Runs a PCA step that leaves the blocks of merged moments as daily runs leave them."""
        self._say(f"{lake.name}: keeping blocks of merged moments")
        self._ask("refresh", lake.name, "kept", 0, refit=False)

    def run_day(self, lake: HistoryLake, images: Sequence[PlannedImage], number: int = 0) -> DayRun:
        with self._clone(lake) as folder:
            lay_batch(images, folder, NEW_DAY)
            cpu_before = self._cpu_seconds()
            answer = self._ask("run", lake.clone_name, "kept", 1, ingest_date=NEW_DAY)
            cpu_seconds = self._cpu_seconds() - cpu_before
        if answer["n_images"] != len(images):
            raise CommandError(
                f"{lake.name}: {answer['n_images']:,} of {len(images):,} images were computed, the others must not be "
                "skipped."
            )
        run = DayRun(
            n_days=len(lake.history.days),
            round=number,
            features_seconds=answer["features_seconds"],
            pca_seconds=answer["pca_seconds"],
            cpu_seconds=cpu_seconds,
            moments_read=answer["moments_read"],
            stages={
                name: value
                for name, value in (answer["features_stages"] | answer["pca_stages"]).items()
                if name != "total"
            },
        )
        self._say(f"a day after {run.n_days:,} days: {run.seconds:.1f} s, {run.cpu_seconds:.1f} s of CPU")
        return run

    def refit(self, lake: HistoryLake) -> RefitRun:
        history = lake.history
        with self._clone(lake):
            answer = self._ask("refresh", lake.clone_name, "fitted", len(history.days), refit=True)
        self._say(f"a refit on {history.n_images:,} images of {len(history.days):,} days: {answer['seconds']:.1f} s")
        return RefitRun(
            n_days=len(history.days),
            n_partitions=history.n_partitions,
            n_images=history.n_images,
            moments_read=answer["moments_read"],
            k=answer["k"],
            seconds=answer["seconds"],
            stages=answer["stages"],
        )

    def _ask(self, do: str, bucket: str, action: str, n_projected: int, **arguments: Any) -> dict[str, Any]:
        answer = self._process.ask(do, bucket=bucket, release_id=self._bench.release_id, **arguments)
        found = (answer["action"], len(answer["projected_ingest_dates"]))
        if found != (action, n_projected):
            raise CommandError(
                f"{bucket}: the PCA was {found[0]} and {found[1]:,} dates projected, not {action} and {n_projected:,}."
            )
        return answer

    @contextlib.contextmanager
    def _clone(self, lake: HistoryLake) -> Iterator[Path]:
        clone = _folder(self._bench, lake.clone_name)
        clone_lake(_folder(self._bench, lake.name), clone)
        try:
            yield clone
        finally:
            shutil.rmtree(clone)

    def _cpu_seconds(self) -> float:
        return self._process.cpu_seconds() + self._bench.s3_cpu_seconds()


def _folder(bench: BenchLake, bucket: str) -> Path:
    return bench.node.buckets_folder / bucket
