"""Measures what runs the network on a CPU: each engine in one process on each core, with one thread each, in turn."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.engines.field import ONE_THREAD, EngineField, step_batch
from benchmarks.engines.others import has_others
from benchmarks.engines.result import EngineRun, EnginesBenchmark, known_images, quality
from benchmarks.harness.images import spread
from benchmarks.harness.summary import turned
from fruit_cli.errors import CommandError
from fruit_contract import release

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.engines.result import Quality
    from benchmarks.harness.bench_lake import BenchLake
    from fruit_cli.lake.delivery_plan import PlannedImage

LITERT: Final = "LiteRT"
ONNX_RUNTIME: Final = "ONNX Runtime"
TENSORFLOW: Final = "TensorFlow"
OPENVINO: Final = "OpenVINO"
ONNX_RUNTIME_INT8: Final = "ONNX Runtime int8"
OPENVINO_INT8: Final = "OpenVINO int8"
OPENVINO_BF16: Final = "OpenVINO bf16"

_F32: Final = (LITERT, ONNX_RUNTIME, TENSORFLOW, OPENVINO)
# In each process, that is 39 MB of tensors: more than a core's cache, and whole batches of every size.
_MEASURED_IMAGES: Final = 64


@dataclass(frozen=True)
class EngineScale:
    """Says how much is measured: in every round, all engines at all batches, for `window_seconds` each.

    Batches divide 64. The features step's own batch is one of them, because all are compared with it.
    """

    n_images: int
    n_calibration: int
    inference_batches: Sequence[int]
    n_rounds: int
    window_seconds: float


ENGINE_SCALES: Final = {
    "small": EngineScale(n_images=160, n_calibration=32, inference_batches=(1, 4, 32), n_rounds=3, window_seconds=0.3),
    "full": EngineScale(
        n_images=2000, n_calibration=128, inference_batches=(1, 4, 8, 32), n_rounds=6, window_seconds=1.2
    ),
}


@dataclass(frozen=True)
class _Contender:
    """Describes an engine to measure: `name` is for people, `engine` and `model` are what a process loads."""

    name: str
    engine: str
    model: Path


def measure_engines(
    bench: BenchLake, images: Sequence[PlannedImage], scale: EngineScale, say: Callable[[str], None]
) -> EnginesBenchmark:
    """Measures the engines that are installed, then compares their features of `images`.

    Raises CommandError if an engine's process breaks, or if no category of `images` has two images.
    """
    categories = [image.category for image in images]
    known = known_images(categories)
    if all(known):
        raise CommandError(f"No category has two images among {len(images)}: choose a folder with more.")
    calibration = spread(
        [image for image, is_known in zip(images, known, strict=True) if is_known], scale.n_calibration
    )
    contenders, remarks = _contenders(bench, calibration, say)
    with contextlib.ExitStack() as stack:
        fields = {contender.name: _Field(stack, bench, contender) for contender in contenders}
        load_seconds = {}
        for name, field in fields.items():
            load_seconds[name] = field.load(images, scale.inference_batches)
            say(f"{name}: loaded")
        runs = _run_rounds(fields, scale, say)
        qualities = _qualities(fields, images, categories, scale.inference_batches[0], say)
    return EnginesBenchmark(
        n_cores=bench.n_cores,
        reference=LITERT,
        step_batch=step_batch(bench),
        f32=[contender.name for contender in contenders if contender.name in _F32],
        runs=runs,
        qualities=qualities,
        load_seconds=load_seconds,
        n_images=len(images),
        n_known=known.count(True),
        n_categories=len(set(categories)),
        n_calibration=len(calibration),
        remarks=remarks,
    )


class _Field(EngineField):
    """Runs one contender's processes."""

    def __init__(self, stack: contextlib.ExitStack, bench: BenchLake, contender: _Contender) -> None:
        super().__init__(stack, bench, contender.name)
        self._contender = contender
        self._scratch = bench.node.home / "ways"

    def load(self, images: Sequence[PlannedImage], inference_batches: Sequence[int]) -> float:
        """Loads the engine for each batch and returns the seconds that the first loading took."""
        engine, model = self._contender.engine, str(self._contender.model)
        seconds = [
            self.prepare(engine, model, images, _MEASURED_IMAGES, inference_batch)
            for inference_batch in inference_batches
        ]
        return seconds[0]

    def run(self, inference_batch: int, number: int, window_seconds: float) -> EngineRun:
        speed = self.measure(window_seconds, inference_batch)
        return EngineRun(
            self._contender.name, inference_batch, number, speed.images_per_second, speed.cpu_seconds_per_image
        )

    def embed(self, images: Sequence[PlannedImage], inference_batch: int) -> NDArray[np.float32]:
        """Returns the features of all images in their order, float32[n, 1280]."""
        n_processes = min(len(self.processes), len(images))
        places = [self._scratch / f"{self._contender.name}-{number}.npy" for number in range(n_processes)]
        for number, place in enumerate(places):
            paths = [image.path for image in images[number::n_processes]]
            self.processes[number].send("embed", images=paths, inference_batch=inference_batch, place=str(place))
        for process in self.processes[:n_processes]:
            process.receive()
        parts = [np.load(place) for place in places]
        features = np.empty((len(images), parts[0].shape[1]), dtype=np.float32)
        for number, part in enumerate(parts):
            features[number::n_processes] = part
        return features


def _contenders(
    bench: BenchLake, calibration: Sequence[PlannedImage], say: Callable[[str], None]
) -> tuple[list[_Contender], list[str]]:
    """Returns the engines that can run here, and remarks about what can't or is limited."""
    graph = bench.embedder / release.TENSORFLOW_GRAPH
    contenders = [_Contender(LITERT, release.DEFAULT_ENGINE, bench.model), _Contender(TENSORFLOW, "tensorflow", graph)]
    if not has_others():
        return contenders, [
            "ONNX Runtime and OpenVINO are not installed, their rows are left out: make bench installs them."
        ]
    onnx, int8 = bench.node.home / "model.onnx", bench.node.home / "int8.onnx"
    experiments = [_Contender(ONNX_RUNTIME_INT8, "onnxruntime", int8)]
    remarks = []
    with contextlib.ExitStack() as stack:
        maker = stack.enter_context(bench.start("engines.ways", "quantise", **ONE_THREAD))
        maker.ask("convert", graph=str(graph), place=str(onnx))
        answer = maker.ask("quantise", model=str(onnx), images=[image.path for image in calibration], place=str(int8))
        if not answer["has_vnni"]:
            remarks.append(
                "This CPU has no VNNI instructions: int8 weights have 7 bits here, and int8 gains less speed than it "
                "may."
            )
        contenders += [_Contender(ONNX_RUNTIME, "onnxruntime", onnx), _Contender(OPENVINO, "openvino", onnx)]
        experiments.append(_Contender(OPENVINO_INT8, "openvino", int8))
        if maker.ask("capabilities")["has_bf16"]:
            experiments.append(_Contender(OPENVINO_BF16, "openvino-bf16", onnx))
        else:
            remarks.append("This CPU has no bf16 instructions: OpenVINO would compute in f32, so bf16 is left out.")
    say(f"int8 model: calibrated on {len(calibration)} images")
    return [*contenders, *experiments], remarks


def _run_rounds(fields: dict[str, _Field], scale: EngineScale, say: Callable[[str], None]) -> list[EngineRun]:
    runs = []
    names = list(fields)
    for number in range(scale.n_rounds):
        for inference_batch in scale.inference_batches:
            runs += [fields[name].run(inference_batch, number, scale.window_seconds) for name in turned(names, number)]
        say(f"round {number + 1} of {scale.n_rounds}: all engines measured")
    return runs


def _qualities(
    fields: dict[str, _Field],
    images: Sequence[PlannedImage],
    categories: Sequence[str],
    inference_batch: int,
    say: Callable[[str], None],
) -> list[Quality]:
    expected = fields[LITERT].embed(images, inference_batch)
    qualities = []
    for name, field in fields.items():
        features = expected if name == LITERT else field.embed(images, inference_batch)
        qualities.append(quality(name, features, expected, categories))
        say(f"{name}: features compared")
    return qualities
