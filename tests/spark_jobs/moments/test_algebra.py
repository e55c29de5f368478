from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_features.moments.algebra import (
    NotFiniteError,
    RunningMoments,
    empty_moments,
    merge,
    merge_all,
    moments_of,
    pack_upper_triangle,
    unpack_upper_triangle,
)

N_FEATURES = 12


def vectors(seed: int, n_samples: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(N_FEATURES, N_FEATURES))
    return (random.normal(size=(n_samples, N_FEATURES)) @ mixing + 100 * random.normal(size=N_FEATURES)).astype(
        np.float32
    )


def test_are_those_numpy_computes() -> None:
    values = vectors(1, 50)

    moments = moments_of(values)

    assert moments.n_samples == 50
    np.testing.assert_allclose(moments.mean, values.astype(np.float64).mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.scatter / 49, np.cov(values.astype(np.float64), rowvar=False), rtol=1e-10)


@given(seed=st.integers(0, 10_000), n_samples=st.integers(2, 200), data=st.data())
def test_any_split_and_any_order_give_the_same_eigenvalues(seed: int, n_samples: int, data: st.DataObject) -> None:
    values = vectors(seed, n_samples)
    cuts = sorted(data.draw(st.lists(st.integers(0, n_samples), max_size=8)))
    parts = [moments_of(part) for part in np.split(values, cuts)]
    shuffled = data.draw(st.permutations(parts))

    merged = merge_all(shuffled, N_FEATURES)

    whole = moments_of(values)
    assert merged.n_samples == n_samples
    eigenvalues, expected = np.linalg.eigvalsh(merged.scatter), np.linalg.eigvalsh(whole.scatter)
    np.testing.assert_allclose(eigenvalues, expected, rtol=0, atol=1e-9 * expected.max())
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-9)


def test_float32_values_far_from_zero_keep_their_small_variance() -> None:
    values = (
        np.float32(10_000) + np.random.default_rng(3).normal(size=(4000, 3)).astype(np.float32) * np.float32(0.01)
    ).astype(np.float32)

    merged = merge_all([moments_of(part) for part in np.array_split(values, 40)], 3)

    np.testing.assert_allclose(np.diag(merged.scatter) / 3999, values.astype(np.float64).var(axis=0, ddof=1), rtol=1e-9)


def test_moments_of_vectors_that_come_some_at_a_time_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunningMoments, "_ROWS_AT_ONCE", 7)
    vectors = np.random.default_rng(3).normal(5, 2, (50, 6)).astype(np.float32)
    running = RunningMoments(6)
    assert running.total().n_samples == 0

    for start, end in ((0, 3), (3, 3), (3, 20), (20, 26), (26, 50)):
        running.add(vectors[start:end])
        # Asking in between changes nothing.
        assert running.total().n_samples == end

    expected = moments_of(vectors)
    np.testing.assert_allclose(running.total().mean, expected.mean, rtol=1e-13)
    np.testing.assert_allclose(
        running.total().scatter, expected.scatter, rtol=1e-12, atol=1e-12 * np.abs(expected.scatter).max()
    )


def test_merging_nothing_changes_nothing() -> None:
    some = moments_of(vectors(5, 9))

    assert merge(some, empty_moments(N_FEATURES)) is some
    assert merge(empty_moments(N_FEATURES), some) is some
    assert merge_all([], N_FEATURES).n_samples == 0


def test_a_scatter_survives_packing_to_the_bit() -> None:
    scatter = moments_of(vectors(2, 30)).scatter
    symmetric = (scatter + scatter.T) / 2

    packed = pack_upper_triangle(symmetric)

    assert packed.shape == (N_FEATURES * (N_FEATURES + 1) // 2,)
    assert packed[:N_FEATURES].tolist() == symmetric[0].tolist()
    np.testing.assert_array_equal(unpack_upper_triangle(packed, N_FEATURES), symmetric)


def test_a_damaged_scatter_is_refused() -> None:
    with pytest.raises(ValueError, match="has 78 numbers, this one has 77"):
        unpack_upper_triangle(np.zeros(77), N_FEATURES)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_never_enters_and_its_image_is_named(number: float) -> None:
    values = vectors(1, 5)
    values[3, 7] = number
    running = RunningMoments(N_FEATURES)
    with pytest.raises(NotFiniteError, match="'k3'"):
        running.add(values, lambda: [f"k{row}" for row in range(5)])
    with pytest.raises(NotFiniteError, match="image 4 of 5"):
        running.add(values)
    assert running.n_samples == 0
