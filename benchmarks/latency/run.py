"""Measures a day's features step and a refit, with S3 near and as far away as a distant region's."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.harness.bench_lake import bench_lake
from benchmarks.harness.images import lay_batch
from benchmarks.harness.machine import usable_cores
from benchmarks.harness.requests import requests_since
from benchmarks.history.synthetic_history import (
    SyntheticHistory,
    clone_lake,
    days_before,
    read_embedder_id,
    write_history,
)
from benchmarks.latency.result import LatencyBenchmark, StepRun
from benchmarks.scale.made_up_stores import FolderStore
from fruit_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.harness.bench_lake import BenchLake
    from benchmarks.harness.way_process import WayProcess
    from fruit_cli.lake.delivery_plan import PlannedImage

FEATURES: Final = "features of a day"
REFIT: Final = "refit of the PCA"

_MILLISECONDS: Final = (0.0, 60.0)
_NEW_DAY: Final = "2025-03-17"
_IMAGES_PER_PARTITION: Final = 6
_WAY: Final = "history.daily_steps"
# The lake that is written, and its clone that runs see. All clones have one name: workers keep the embedder by bucket.
_SOURCE, _RUN = "latency", "latency-run"


@dataclass(frozen=True)
class LatencyScale:
    """Says how much is measured: the days of history, the images of the new day, and timed runs at each distance."""

    n_days: int
    n_images: int
    rounds: int


LATENCY_SCALES: Final = {
    "small": LatencyScale(n_days=10, n_images=60, rounds=1),
    "full": LatencyScale(n_days=100, n_images=2_000, rounds=3),
}


def measure_latency(
    home: Path, images: Sequence[PlannedImage], scale: LatencyScale, say: Callable[[str], None]
) -> LatencyBenchmark:
    """Times both steps at every distance. Raises CommandError if a run breaks or does other work than it should."""
    runs: list[StepRun] = []
    for milliseconds in _MILLISECONDS:
        with bench_lake(home / f"{milliseconds:g}", usable_cores(), say, s3_latency_milliseconds=milliseconds) as lake:
            history = _write_lake(lake, images, scale)
            say(f"{milliseconds:g} ms: a history of {history.n_images:,} images is written")
            with lake.start(_WAY) as process:
                runner = _Runner(lake, process, milliseconds, len(images), say)
                process.ask("start")
                # This leaves the blocks of merged moments as daily runs leave them.
                runner.ask("refresh", _SOURCE, refit=False)
                runner.run("a warm-up")
                for number in range(scale.rounds):
                    runs += runner.run(f"round {number + 1}")
    return LatencyBenchmark(len(images), scale.n_days, history.n_partitions, history.n_images, runs)


class _Runner:
    """Runs both steps on clones of the lake."""

    def __init__(
        self, lake: BenchLake, process: WayProcess, milliseconds: float, n_images: int, say: Callable[[str], None]
    ) -> None:
        self._lake = lake
        self._process = process
        self._milliseconds = milliseconds
        self._n_images = n_images
        self._say = say

    def run(self, label: str) -> list[StepRun]:
        clone = self._lake.node.buckets_folder / _RUN
        clone_lake(self._lake.node.buckets_folder / _SOURCE, clone)
        try:
            features = self._timed(FEATURES, "extract", ingest_date=_NEW_DAY)
            refit = self._timed(REFIT, "refresh", refit=True)
        finally:
            shutil.rmtree(clone)
        self._say(f"{self._milliseconds:g} ms, {label}: {features.seconds:.1f} s, refit {refit.seconds:.1f} s")
        return [features, refit]

    def ask(self, do: str, bucket: str, **arguments: Any) -> dict[str, Any]:
        return self._process.ask(do, bucket=bucket, release_id=self._lake.release_id, **arguments)

    def _timed(self, step: str, do: str, **arguments: Any) -> StepRun:
        before = self._lake.request_counts()
        answer = self.ask(do, _RUN, **arguments)
        requests = requests_since(before, self._lake.request_counts())
        if answer.get("n_images", self._n_images) != self._n_images or answer.get("action", "fitted") != "fitted":
            raise CommandError(f"{step}: the step did other work than it should: {answer}.")
        return StepRun(step, self._milliseconds, answer["seconds"], requests)


def _write_lake(lake: BenchLake, images: Sequence[PlannedImage], scale: LatencyScale) -> SyntheticHistory:
    """Writes a second lake beside that of the release, with a history and a new day's images."""
    embedder_id = read_embedder_id(lake.folder, lake.release_id)
    history = SyntheticHistory(days_before(_NEW_DAY, scale.n_days), _IMAGES_PER_PARTITION, lake.release_id, embedder_id)
    folder = lake.node.buckets_folder / _SOURCE
    clone_lake(lake.folder, folder)
    write_history(FolderStore(_SOURCE, folder), history)
    lay_batch(images, folder, _NEW_DAY)
    return history
