"""Runs an engine on every core: a process with one thread on each. All processes measure together and wait together."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any, Final

from benchmarks.harness.images import spread
from fruit_contract import release
from fruit_features.embedding.engines import load_engine

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Sequence

    from benchmarks.harness.bench_lake import BenchLake
    from fruit_cli.lake.delivery_plan import PlannedImage

# Each core has a process, so the libraries in a process get one thread.
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_CEILING_IMAGES: Final = 128  # in each process: 77 MB of tensors


@dataclass(frozen=True)
class EngineSpeed:
    """Holds the speed of the engine alone on every core for a few seconds: the images/s of all processes together, and
    the CPU that an image takes.
    """

    images_per_second: float
    cpu_seconds_per_image: float


class EngineField:
    """Holds the processes of one engine; they end with `stack`."""

    def __init__(self, stack: contextlib.ExitStack, bench: BenchLake, name: str) -> None:
        starts = (
            bench.start("engines.ways", f"{name.replace(' ', '-')}-{number}", **ONE_THREAD)
            for number in range(bench.n_cores)
        )
        self.processes = [stack.enter_context(process) for process in starts]

    def prepare(
        self, engine: str, model: str, images: Sequence[PlannedImage], n_images: int, inference_batch: int
    ) -> float:
        """Loads the engine for a batch and returns the mean seconds that the loading took. The first call also decodes
        `n_images`.
        """
        # If there are fewer images, each is taken more than once.
        chosen = [image.path for image in spread(images, n_images)]
        paths = [chosen[number % len(chosen)] for number in range(n_images)]
        answers = self._ask("prepare", engine=engine, model=model, images=paths, inference_batch=inference_batch)
        return mean(float(answer["load_seconds"]) for answer in answers)

    def measure(self, window_seconds: float, inference_batch: int) -> EngineSpeed:
        """Measures the engine in all processes at the same time."""
        answers = self._ask("measure", window_seconds=window_seconds, inference_batch=inference_batch)
        images_per_second = sum(answer["images_per_second"] for answer in answers)
        return EngineSpeed(images_per_second, mean(answer["cpu_seconds_per_image"] for answer in answers))

    def _ask(self, do: str, **arguments: Any) -> list[dict[str, Any]]:
        for process in self.processes:
            process.send(do, **arguments)
        return [process.receive() for process in self.processes]


class Ceiling:
    """Measures the most that the features step's own engine can do, again and again between the runs that are compared
    with it.
    """

    def __init__(
        self, stack: contextlib.ExitStack, bench: BenchLake, images: Sequence[PlannedImage], window_seconds: float
    ) -> None:
        self._field = EngineField(stack, bench, "ceiling")
        self._batch = step_batch(bench)
        self._window_seconds = window_seconds
        self.measured: list[EngineSpeed] = []
        self._field.prepare(release.DEFAULT_ENGINE, str(bench.model), images, _CEILING_IMAGES, self._batch)

    def again(self) -> EngineSpeed:
        self.measured.append(self._field.measure(self._window_seconds, self._batch))
        return self.measured[-1]


def step_batch(bench: BenchLake) -> int:
    """Returns how many images the features step gives its engine at once."""
    return load_engine(release.DEFAULT_ENGINE, bench.model.read_bytes()).inference_batch
