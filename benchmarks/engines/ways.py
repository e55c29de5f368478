"""Runs one engine in a process of its own, at one or more inference batches, on decoded tensors (see way_worker.py)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.engines.others import (
    BF16,
    F32,
    OnnxRuntimeEngine,
    OpenVinoEngine,
    cpu_has_bf16,
    cpu_has_vnni,
    make_int8,
    make_onnx,
)
from fruit_features.embedding.engines import load_engine
from fruit_features.embedding.preprocessing import decode_image, network_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fruit_features.embedding.engines import Engine

# A request gives these names to the engines that a release does not offer.
ONNX_RUNTIME: Final = "onnxruntime"
OPENVINO: Final = {"openvino": F32, "openvino-bf16": BF16}

_WARM_UP_BATCHES: Final = 2

# The engines by inference batch. All take their images from the same tensors, float32[n, 224, 224, 3].
_engines: dict[int, Engine] = {}
_tensors: dict[str, NDArray[np.float32]] = {}


def prepare(engine: str, model: str, images: Sequence[str], inference_batch: int) -> dict[str, Any]:
    """Loads the engine from the file `model`, for `inference_batch` images at once. The first call in a process also
    decodes `images`.

    Answers how many seconds the loading took; in the first call that includes the imports. Raises ValueError if
    `images` can't be divided into whole batches.
    """
    if len(images) % inference_batch:
        raise ValueError(f"{len(images)} images are no whole batches of {inference_batch}.")
    started = time.monotonic()
    content = Path(model).read_bytes()
    if engine in OPENVINO:
        loaded: Engine = OpenVinoEngine(content, inference_batch, precision=OPENVINO[engine])
    else:
        loaded = OnnxRuntimeEngine(content) if engine == ONNX_RUNTIME else load_engine(engine, content)
    load_seconds = time.monotonic() - started
    if "all" not in _tensors:
        _tensors["all"] = _decoded(images)
    for _ in range(_WARM_UP_BATCHES):
        loaded.embed(_tensors["all"][:inference_batch])
    _engines[inference_batch] = loaded
    return {"load_seconds": load_seconds}


def measure(window_seconds: float, inference_batch: int) -> dict[str, Any]:
    """Runs whole batches for about `window_seconds`. Answers the images per second and the CPU seconds for an image."""
    engine = _engines[inference_batch]
    tensors = _tensors["all"]
    batches = [tensors[start : start + inference_batch] for start in range(0, len(tensors), inference_batch)]
    started, cpu_before = time.monotonic(), time.process_time()
    n_batches = 0
    while (elapsed := time.monotonic() - started) < window_seconds:
        engine.embed(batches[n_batches % len(batches)])
        n_batches += 1
    n_images = n_batches * inference_batch
    return {
        "images_per_second": n_images / elapsed,
        "cpu_seconds_per_image": (time.process_time() - cpu_before) / n_images,
    }


def embed(images: Sequence[str], inference_batch: int, place: str) -> dict[str, Any]:
    """Saves the features of `images`, float32[n, 1280], as the .npy file `place`."""
    engine = _engines[inference_batch]
    features = []
    for start in range(0, len(images), inference_batch):
        tensors = _decoded(images[start : start + inference_batch])
        # An engine may take whole batches only.
        whole = np.resize(tensors, (inference_batch, *tensors.shape[1:]))
        features.append(engine.embed(whole)[: len(tensors)].copy())
    np.save(place, np.concatenate(features), allow_pickle=False)
    return {}


def convert(graph: str, place: str) -> dict[str, Any]:
    """Writes TensorFlow's graph as the ONNX file `place`."""
    make_onnx(Path(graph), Path(place))
    return {}


def quantise(model: str, images: Sequence[str], place: str) -> dict[str, Any]:
    """Writes the int8 model to the file `place`, and answers whether the CPU lets it use all 8 bits."""
    make_int8(Path(model), images, Path(place))
    return {"has_vnni": cpu_has_vnni()}


def capabilities() -> dict[str, Any]:
    """Answers whether the CPU computes in bf16. OpenVINO must be installed."""
    return {"has_bf16": cpu_has_bf16()}


def _decoded(paths: Sequence[str]) -> NDArray[np.float32]:
    return network_input(np.stack([decode_image(Path(path).read_bytes()).pixels for path in paths]))
