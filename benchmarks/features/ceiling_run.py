"""The ceiling as a benchmark runs it: the engine alone on every core, again and again between the runs of what is measured."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING, Final

from benchmarks.features.result import CeilingRun
from benchmarks.harness.images import spread
from fruit_contract import release

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Sequence

    from benchmarks.harness.bench_lake import BenchLake
    from benchmarks.harness.way_process import WayProcess
    from fruit_cli.lake.delivery_plan import PlannedImage

# For the libraries below a process that is one of as many as there are cores.
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_CEILING_IMAGES: Final = 128  # a process: 77 MB of tensors


class Ceiling:
    """One engine process a core; they measure together and wait between."""

    def __init__(self, processes: Sequence[WayProcess], window_seconds: float) -> None:
        self._processes = processes
        self._window_seconds = window_seconds
        self.measured: list[CeilingRun] = []

    def prepare(self, model: str, images: Sequence[PlannedImage]) -> None:
        paths = [image.path for image in spread(images, _CEILING_IMAGES)]
        for process in self._processes:
            process.send("prepare", engine=release.DEFAULT_ENGINE, model=model, images=paths)
        for process in self._processes:
            process.receive()

    def measure(self) -> CeilingRun:
        """All processes together."""
        for process in self._processes:
            process.send("measure", window_seconds=self._window_seconds)
        answers = [process.receive() for process in self._processes]
        images_per_second = sum(answer["images_per_second"] for answer in answers)
        self.measured.append(CeilingRun(images_per_second, mean(answer["cpu_seconds_per_image"] for answer in answers)))
        return self.measured[-1]


def start_ceiling(stack: contextlib.ExitStack, bench: BenchLake, n_cores: int, window_seconds: float) -> Ceiling:
    """Starts the engine processes; they end with `stack`."""
    processes = [stack.enter_context(bench.start("features.ceiling", f"ceiling-{number}", **ONE_THREAD)) for number in range(n_cores)]
    return Ceiling(processes, window_seconds)
