"""The ceiling: the engine alone, on tensors that are decoded already. One process a core, one thread each (see way_worker.py)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fruit_features.embedding.engines import load_engine
from fruit_features.embedding.preprocessing import decode_image, network_input

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fruit_features.embedding.engines import Engine

_prepared: dict[str, tuple[Engine, list[NDArray[np.float32]]]] = {}


def prepare(engine: str, model: str, images: Sequence[str]) -> dict[str, Any]:
    """Loads the engine from the file `model` and decodes `images` to whole inference batches, float32[n, 224, 224, 3] each."""
    loaded = load_engine(engine, Path(model).read_bytes())
    n_at_once = loaded.inference_batch
    pixels = np.stack([decode_image(Path(path).read_bytes()).pixels for path in images])
    whole = np.resize(pixels, (-(-len(pixels) // n_at_once) * n_at_once, *pixels.shape[1:]))
    batches = [network_input(whole[start : start + n_at_once]) for start in range(0, len(whole), n_at_once)]
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
    n_images = n_batches * engine.inference_batch
    return {"images_per_second": n_images / elapsed, "cpu_seconds_per_image": (time.process_time() - cpu_before) / n_images}


HANDLERS: Final[dict[str, Callable[..., dict[str, Any]]]] = {"prepare": prepare, "measure": measure}
