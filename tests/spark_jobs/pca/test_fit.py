from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from fruit_features.moments.algebra import Moments, NotFiniteError, merge_all, moments_of
from fruit_features.pca.fit import (
    TooFewImagesError,
    components_for,
    fit_pca,
    project,
    retained_variance,
    standard_deviation,
)
from fruit_features.pca.versions import model_from_parquet, model_to_parquet


def correlated(seed: int, n_samples: int = 300, n_features: int = 20) -> np.ndarray:
    random = np.random.default_rng(seed)
    hidden = random.normal(size=(n_samples, 6)) * [9, 5, 3, 2, 1, 0.5]
    return (
        hidden @ random.normal(size=(6, n_features)) + 0.1 * random.normal(size=(n_samples, n_features)) + 4
    ).astype(np.float32)


def standardised(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    deviation = values.std(axis=0, ddof=1)
    return (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, np.inf)


def test_agrees_with_scikit_learn_up_to_sign() -> None:
    values = correlated(1)

    model = fit_pca(moments_of(values), 0.95)

    reference = PCA(svd_solver="full").fit(standardised(values))
    k = int(np.argmax(np.cumsum(reference.explained_variance_ratio_) >= 0.95)) + 1
    assert model.k == k
    np.testing.assert_allclose(model.explained_variance, reference.explained_variance_[:k], rtol=1e-9)
    np.testing.assert_allclose(model.explained_variance_ratio, reference.explained_variance_ratio_[:k], rtol=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(model.components * reference.components_[:k], axis=1)), 1.0, atol=1e-9)
    np.testing.assert_allclose(
        np.abs(project(model, values)), np.abs(reference.transform(standardised(values))[:, :k]), atol=1e-5
    )


@given(seed=st.integers(0, 1000), n_parts=st.integers(1, 12))
def test_a_model_does_not_depend_on_how_the_images_were_split(seed: int, n_parts: int) -> None:
    values = correlated(seed)
    parts = [moments_of(part) for part in np.array_split(values, n_parts)]

    model = fit_pca(merge_all(parts, values.shape[1]), 0.95)

    whole = fit_pca(moments_of(values), 0.95)
    assert model.k == whole.k
    np.testing.assert_allclose(model.spectrum, whole.spectrum, atol=1e-9 * whole.spectrum.max())
    np.testing.assert_allclose(project(model, values), project(whole, values), atol=1e-4)


def test_the_same_moments_give_the_same_file() -> None:
    moments = moments_of(correlated(2))

    first, second = fit_pca(moments, 0.95), fit_pca(moments, 0.95)

    assert first.digest() == second.digest()
    assert model_to_parquet(first) == model_to_parquet(second)


def test_the_largest_loading_of_each_component_is_positive() -> None:
    model = fit_pca(moments_of(correlated(3)), 1.0)

    for component in model.components:
        assert component[np.abs(component).argmax()] > 0


def test_a_constant_feature_maps_to_zero_and_takes_no_variance() -> None:
    values = correlated(4)
    values[:, 7] = np.float32(0.1)
    values[:, 9] = 0
    parts = [moments_of(part) for part in np.array_split(values, 7)]

    model = fit_pca(merge_all(parts, values.shape[1]), 0.95)

    assert model.scale[[7, 9]].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(model.components[:, [7, 9]], 0, atol=1e-12)
    shifted = values.copy()
    shifted[:, 7] += 5
    np.testing.assert_array_equal(project(model, shifted), project(model, values))


def test_standard_deviation_is_that_of_the_sample() -> None:
    values = correlated(5)

    np.testing.assert_allclose(
        standard_deviation(moments_of(values)), values.astype(np.float64).std(axis=0, ddof=1), rtol=1e-10
    )


@pytest.mark.parametrize(("target", "k"), [(0.5, 1), (0.50001, 2), (0.8, 2), (0.95, 3), (1.0, 4)])
def test_k_is_the_smallest_that_reaches_the_target(target: float, k: int) -> None:
    assert components_for(np.array([0.5, 0.3, 0.15, 0.05]), target) == k


def test_rounding_never_asks_for_more_components_than_there_are() -> None:
    assert components_for(np.array([0.1] * 10), 1.0) == 10


def test_retained_variance_is_what_the_projections_keep() -> None:
    model = fit_pca(moments_of(correlated(6)), 0.9)
    others = correlated(60)

    kept = retained_variance(model, moments_of(others))

    projected = (others.astype(np.float64) - model.mean) / model.scale
    centred = projected - projected.mean(axis=0)
    expected = np.square(centred @ model.components.T).sum() / np.square(centred).sum()
    assert kept == pytest.approx(expected, rel=1e-9)
    assert retained_variance(model, moments_of(correlated(6))) == pytest.approx(model.variance_kept, rel=1e-9)


@pytest.mark.parametrize("values", [np.zeros((0, 5)), np.ones((1, 5)), np.full((9, 5), 3.0)])
def test_too_few_or_equal_images_are_said(values: np.ndarray) -> None:
    with pytest.raises(TooFewImagesError):
        fit_pca(moments_of(values), 0.95)


@pytest.mark.parametrize("target", [0.0, -1.0, 1.01])
def test_a_target_outside_its_range_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="target variance"):
        fit_pca(moments_of(correlated(1)), target)


def test_a_model_survives_its_file_to_the_bit() -> None:
    model = fit_pca(moments_of(correlated(8)), 0.95)

    again = model_from_parquet(model_to_parquet(model))

    assert again.digest() == model.digest()
    np.testing.assert_array_equal(again.spectrum, model.spectrum)
    np.testing.assert_array_equal(again.explained_variance_ratio, model.explained_variance_ratio)


@pytest.mark.slow
@pytest.mark.parametrize(("n_samples", "n_features"), [(50, 1280), (2, 40), (7, 20)])
def test_there_are_no_more_components_than_the_images_span(n_samples: int, n_features: int) -> None:
    values = np.maximum(np.random.default_rng(0).normal(size=(n_samples, n_features)), 0).astype(np.float32)

    model = fit_pca(moments_of(values), 1.0)

    assert model.k == n_samples - 1
    assert model.variance_kept == pytest.approx(1.0, abs=1e-12)
    parts = merge_all([moments_of(part) for part in np.array_split(values + 100, 3)], n_features)
    assert fit_pca(parts, 1.0).k == n_samples - 1


def test_features_that_follow_from_others_add_no_components() -> None:
    values = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    assert fit_pca(moments_of(np.hstack([values, values, values])), 1.0).k == 5


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_moments_that_are_no_numbers_are_refused(number: float) -> None:
    moments = moments_of(correlated(1))
    scatter = moments.scatter.copy()
    scatter[3, 4] = number
    with pytest.raises(NotFiniteError, match="300 images"):
        fit_pca(Moments(moments.n_samples, moments.mean, scatter), 0.95)
