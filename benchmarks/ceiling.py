"""The ceiling: the engine alone, on tensors that are decoded already. One process a core, one thread each (see way_worker.py)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fruit_features.engines import load_engine
from fruit_features.featurise import INFERENCE_BATCH
from fruit_features.preprocessing import decode_image, network_input

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fruit_features.engines import Engine

_prepared: dict[str, tuple[Engine, list[NDArray[np.float32]]]] = {}


def prepare(engine: str, model: str, images: Sequence[str]) -> dict[str, Any]:
    """Loads the engine from the file `model` and decodes `images` to whole inference batches, float32[32, 224, 224, 3] each."""
    pixels = np.stack([decode_image(Path(path).read_bytes()).pixels for path in images])
    whole = np.resize(pixels, (-(-len(pixels) // INFERENCE_BATCH) * INFERENCE_BATCH, *pixels.shape[1:]))
    batches = [network_input(whole[start : start + INFERENCE_BATCH]) for start in range(0, len(whole), INFERENCE_BATCH)]
    loaded = load_engine(engine, Path(model).read_bytes())
    loaded.embed(batches[0])
    _prepared["all"] = (loaded, batches)
    return {}


def measure(window_seconds: float) -> dict[str, Any]:
    """Runs whole inference batches for about `window_seconds`."""
    engine, batches = _prepared["all"]
    started, cpu_before = time.monotonic(), time.process_time()
    n_batches = 0
    while (elapsed := time.monotonic() - started) < window_seconds:
        engine.embed(batches[n_batches % len(batches)])
        n_batches += 1
    n_images = n_batches * INFERENCE_BATCH
    return {"images_per_second": n_images / elapsed, "cpu_seconds_per_image": (time.process_time() - cpu_before) / n_images}


HANDLERS: Final[dict[str, Callable[..., dict[str, Any]]]] = {"prepare": prepare, "measure": measure}
