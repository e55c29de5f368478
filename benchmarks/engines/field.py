"""An engine on every core: a process each, one thread each, that measure together and wait between."""

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

# For the libraries below a process that is one of as many as there are cores.
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_CEILING_IMAGES: Final = 128  # a process: 77 MB of tensors


@dataclass(frozen=True)
class EngineSpeed:
    """The engine alone on every core, for a few seconds: the images/s of all processes together."""

    images_per_second: float
    cpu_seconds_per_image: float


class EngineField:
    """The processes of one engine; they end with `stack`."""

    def __init__(self, stack: contextlib.ExitStack, bench: BenchLake, name: str) -> None:
        starts = (
            bench.start("engines.ways", f"{name.replace(' ', '-')}-{number}", **ONE_THREAD)
            for number in range(bench.n_cores)
        )
        self.processes = [stack.enter_context(process) for process in starts]

    def prepare(
        self, engine: str, model: str, images: Sequence[PlannedImage], n_images: int, inference_batch: int
    ) -> float:
        """Loads the engine for a batch; the first time, decodes `n_images`. Returns the seconds that the loading
        took.
        """
        # Fewer images than that are taken more than once.
        chosen = [image.path for image in spread(images, n_images)]
        paths = [chosen[number % len(chosen)] for number in range(n_images)]
        answers = self._ask("prepare", engine=engine, model=model, images=paths, inference_batch=inference_batch)
        return mean(float(answer["load_seconds"]) for answer in answers)

    def measure(self, window_seconds: float, inference_batch: int) -> EngineSpeed:
        """All processes together."""
        answers = self._ask("measure", window_seconds=window_seconds, inference_batch=inference_batch)
        images_per_second = sum(answer["images_per_second"] for answer in answers)
        return EngineSpeed(images_per_second, mean(answer["cpu_seconds_per_image"] for answer in answers))

    def _ask(self, do: str, **arguments: Any) -> list[dict[str, Any]]:
        for process in self.processes:
            process.send(do, **arguments)
        return [process.receive() for process in self.processes]


class Ceiling:
    """What the features step's own engine can do at most, measured again and again between the runs of what is compared
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
    """How many images the features step gives its engine at once."""
    return load_engine(release.DEFAULT_ENGINE, bench.model.read_bytes()).inference_batch
