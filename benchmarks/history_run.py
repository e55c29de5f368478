"""The history benchmark: the same new day after 1 to 1,000 days of history, and a refit with its re-projection.

Every timed run has a lake of its own, cloned from that of its history, so that it meets exactly so many days; a round runs the same day
on every history, one right after the other.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.history_measurements import DayRun, HistoryBenchmark, RefitRun
from benchmarks.images import lay_batch
from benchmarks.synthetic_history import History, clone_lake, days_before, read_embedder_id, write_history
from benchmarks.way_process import WayProcess
from fruit_cli.errors import CommandError
from local_cloud.s3_server import DIRECTORY_CACHE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.bench_lake import BenchLake
    from fruit_cli.delivery_plan import PlannedImage

# The last of 1,024 days that are one block of the compacted moments: on no other day does a refresh have more beside its path to read.
NEW_DAY: Final = "2026-05-31"
_IMAGES_PER_PARTITION: Final = 6  # 24 a day: what a history's images cost is measured apart, by the refits
_REFIT_DAYS: Final = 16
_WAY: Final = "daily_steps"


@dataclass(frozen=True)
class HistoryScale:
    """How much is measured. `refit_images` are those of two histories in as few partitions as each other."""

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
class _Base:
    """A lake with a history, from which the timed ones are cloned."""

    name: str
    history: History


class _Lakes:
    """The lakes beside the benchmark's own. Each is a bucket; Spark knows buckets by their names in its settings, so all are named first."""

    def __init__(self, bench: BenchLake, scale: HistoryScale) -> None:
        embedder_id = read_embedder_id(bench.folder, bench.release_id)
        self.days = [self._base(bench, embedder_id, n_days, _IMAGES_PER_PARTITION) for n_days in scale.days]
        partition_images = [n // (_REFIT_DAYS * 4) for n in scale.refit_images]
        self.refits = [self._base(bench, embedder_id, _REFIT_DAYS, n) for n in partition_images]
        self._bench = bench

    @property
    def names(self) -> list[str]:
        """Of all lakes there will be: a history's, and the one clone of it that is there at a time."""
        return [name for base in (*self.days, *self.refits) for name in (base.name, _clone_name(base))]
