from __future__ import annotations

import numpy as np

from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_contract.pca_files import Provenance
from fruit_features.moments.algebra import Moments, merge, moments_of
from fruit_features.pca.fit import fit_pca
from fruit_features.pca.policy import Decision, decide_refresh
from fruit_features.pca.versions import PcaVersion

TARGET = 0.9


def images(seed: int, n_samples: int = 200) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(n_samples, 3)) @ np.random.default_rng(0).normal(size=(3, 10)) + 0.05 * random.normal(
        size=(n_samples, 10)
    )


def fitted(values: np.ndarray) -> PcaVersion:
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
    return PcaVersion(model, provenance)


CURRENT = fitted(images(1))


def decide(
    policy: RefreshPolicy, current: PcaVersion | None, moments: Moments, embedder_id: str = "m", always_below: int = 0
) -> Decision:
    return decide_refresh(PolicySettings(policy, TARGET, always_below=always_below), current, moments, embedder_id)


def test_never_fits_nothing_even_without_a_version() -> None:
    assert not decide(RefreshPolicy.NEVER, None, moments_of(images(1))).fit


def test_always_fits() -> None:
    assert decide(RefreshPolicy.ALWAYS, CURRENT, moments_of(images(1))).fit


def test_auto_fits_the_first_version() -> None:
    decision = decide(RefreshPolicy.AUTO, None, moments_of(images(1)))

    assert decision.fit
    assert "no PCA version yet" in decision.reason


def test_auto_keeps_a_version_that_still_keeps_the_variance() -> None:
    decision = decide(RefreshPolicy.AUTO, CURRENT, merge(moments_of(images(1)), moments_of(images(2, 50))))

    assert not decision.fit
    assert "keeps" in decision.reason


def test_auto_fits_when_the_images_grew() -> None:
    decision = decide(RefreshPolicy.AUTO, CURRENT, merge(moments_of(images(1)), moments_of(images(2, 100))))

    assert decision.fit
    assert "grew from 200 to 300" in decision.reason


def test_auto_fits_when_new_fruit_vary_in_other_ways() -> None:
    strange = 8 * np.random.default_rng(9).normal(size=(60, 10))

    decision = decide(RefreshPolicy.AUTO, CURRENT, merge(moments_of(images(1)), moments_of(strange)))

    assert decision.fit
    assert "the target is 90.00%" in decision.reason


def test_auto_fits_few_images_every_time() -> None:
    same = moments_of(images(1))

    assert "few enough" in decide(RefreshPolicy.AUTO, CURRENT, same, always_below=201).reason
    assert not decide(RefreshPolicy.AUTO, CURRENT, same, always_below=200).fit


def test_auto_fits_for_another_target() -> None:
    decision = decide_refresh(
        PolicySettings(RefreshPolicy.AUTO, 0.8, always_below=0), CURRENT, moments_of(images(1)), "m"
    )

    assert decision.fit
    assert "the target changed from 0.9 to 0.8" in decision.reason


def test_auto_fits_for_another_embedder() -> None:
    assert "the embedder changed" in decide(RefreshPolicy.AUTO, CURRENT, moments_of(images(1)), "other").reason
