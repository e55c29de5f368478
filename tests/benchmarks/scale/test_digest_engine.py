"""The engine of the scale benchmark stands for a network as far as the steps can see."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from benchmarks.scale.digest_engine import DigestEngine, DigestTask
from fruit_contract.tables import N_FEATURES
from fruit_features.extraction import task
from fruit_features.moments.algebra import moments_of
from fruit_features.pca.fit import fit_pca


def images(n, seed=1):
    return np.random.default_rng(seed).standard_normal((n, 224, 224, 3), dtype=np.float32)


def test_the_same_picture_has_the_same_features_and_another_one_has_others():
    pictures = images(2)
    first, again = (DigestEngine().embed(pictures) for _ in range(2))
    assert first.dtype == np.float32
    assert first.shape == (2, N_FEATURES)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first[0], first[1])
    np.testing.assert_array_equal(DigestEngine().embed(pictures[1:]), first[1:])


@pytest.mark.slow
def test_a_pca_needs_about_as_many_components_as_of_real_fruit():
    pictures = np.zeros((3_000, 8, 8, 3), np.float32)
    pictures[:, 0, 0, 0] = np.arange(3_000)
    assert 450 < fit_pca(moments_of(DigestEngine().embed(pictures)), 0.95).k < 600


def test_a_task_reaches_a_worker_and_leaves_the_product_s_engine_as_it_was(monkeypatch):
    embedders = []
    loaded = task.load_embedder  # type: ignore[attr-defined]

    def load_in_task(self, *_):
        embedders.append(task.load_embedder(self.embedder))  # type: ignore[attr-defined]

    monkeypatch.setattr(task.FeaturesTask, "__call__", load_in_task)
    pickle.loads(pickle.dumps(DigestTask(None, "write")))(b"", 0)  # noqa: S301 - our own bytes
    assert isinstance(embedders[0], DigestEngine)
    assert task.load_embedder is loaded  # type: ignore[attr-defined]
