from __future__ import annotations

import numpy as np
import pytest

from fruit_features.model_store import Provenance
from fruit_features.moments import merge, moments_of
from fruit_features.pca import fit_pca
from fruit_features.refresh_policy import CurrentVersion, RefreshPolicy, decide_refresh

TARGET = 0.9


def images(seed: int, n_samples: int = 200) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(n_samples, 3)) @ np.random.default_rng(0).normal(size=(3, 10)) + 0.05 * random.normal(size=(n_samples, 10))


def fitted(values: np.ndarray) -> CurrentVersion:
    model = fit_pca(moments_of(values), TARGET)
    provenance = Provenance(
        version="v1",
        embedder_id="m",
        n_samples=len(values),
        ingest_dates=("2026-11-22",),
        target_variance=TARGET,
        k=model.k,
        variance_kept=model.variance_kept,
        target_reached=True,
        release="r",
        created_at="2026-11-22T00:00:00+00:00",
    )
    return CurrentVersion(model, provenance)


CURRENT = fitted(images(1))


def test_never_fits_nothing_even_without_a_version() -> None:
    assert not decide_refresh(RefreshPolicy.NEVER, None, moments_of(images(1)), "m", TARGET).fit


def test_always_fits() -> None:
    assert decide_refresh(RefreshPolicy.ALWAYS, CURRENT, moments_of(images(1)), "m", TARGET).fit


def test_auto_fits_the_first_version() -> None:
    decision = decide_refresh(RefreshPolicy.AUTO, None, moments_of(images(1)), "m", TARGET)

    assert decision.fit
    assert "no PCA version yet" in decision.reason


def test_auto_keeps_a_version_that_still_keeps_the_variance() -> None:
    decision = decide_refresh(RefreshPolicy.AUTO, CURRENT, merge(moments_of(images(1)), moments_of(images(2, 50))), "m", TARGET)

    assert not decision.fit
    assert "keeps" in decision.reason


def test_auto_fits_when_the_images_grew() -> None:
    decision = decide_refresh(RefreshPolicy.AUTO, CURRENT, merge(moments_of(images(1)), moments_of(images(2, 100))), "m", TARGET)

    assert decision.fit
    assert "grew from 200 to 300" in decision.reason


def test_auto_fits_when_new_fruit_vary_in_other_ways() -> None:
    strange = 8 * np.random.default_rng(9).normal(size=(60, 10))

    decision = decide_refresh(RefreshPolicy.AUTO, CURRENT, merge(moments_of(images(1)), moments_of(strange)), "m", TARGET)

    assert decision.fit
    assert "the target is 90.00%" in decision.reason


@pytest.mark.parametrize("policy", [RefreshPolicy.AUTO])
def test_auto_fits_for_another_embedder(policy: RefreshPolicy) -> None:
    assert "the embedder changed" in decide_refresh(policy, CURRENT, moments_of(images(1)), "other", TARGET).reason
