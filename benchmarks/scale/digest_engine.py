"""Holds an engine that runs no network: it draws numbers by a digest of the pixels, so that a benchmark sees what
everything else costs.

The same picture always gets the same numbers and other pictures get others, and their standardised PCA needs about as
many components as real fruit does (`synthetic_history`). The engine is never published, and no release knows its name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final
from unittest.mock import patch

import numpy as np

from benchmarks.history.synthetic_history import DECAY
from fruit_contract.tables import N_FEATURES
from fruit_features.extraction import task
from fruit_features.extraction.task import FeaturesTask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fruit_features.embedding.artefact import EmbedderArtefact
    from fruit_features.embedding.engines import Engine
    from fruit_features.extraction.task import TaskAccount

_N_WAVES: Final = N_FEATURES // 2 + 1
# Every eighth pixel in both directions is enough to tell two pictures apart.
_STRIDE: Final = 8


class DigestEngine:
    """Makes features as a sum of waves: the strength of each wave falls as an eigenvalue does, and the picture draws
    its phase.
    """

    inference_batch = 1

    def __init__(self) -> None:
        self._strengths = np.arange(1, 2 * _N_WAVES, 2) ** (-DECAY / 2)

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        drawn = np.stack([np.random.default_rng(_digest(image)).standard_normal((2, _N_WAVES)) for image in images])
        waves = (drawn[:, 0] + 1j * drawn[:, 1]) * self._strengths
        features: NDArray[np.float32] = np.fft.irfft(waves, N_FEATURES, norm="forward").astype(np.float32)
        return features


@dataclass(frozen=True)
class DigestTask(FeaturesTask):
    """Runs a task of the features step as it is, but with this engine."""

    def __call__(self, images: bytes, attempt: int) -> TaskAccount:
        with patch.object(task, "load_embedder", _load):
            return super().__call__(images, attempt)


@cache
def _load(artefact: EmbedderArtefact) -> Engine:  # noqa: ARG001 - as `artefact.load_embedder`
    return DigestEngine()


def _digest(image: NDArray[np.float32]) -> int:
    return int.from_bytes(hashlib.blake2b(image[::_STRIDE, ::_STRIDE].tobytes(), digest_size=16).digest(), "little")
