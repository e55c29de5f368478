"""Checks that parts of moments, whatever they are split by, merge to the moments of all rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fruit_contract import tables
from fruit_features.lake.store import ObjectNotFoundError
from fruit_features.moments import parts as parts_module
from fruit_features.moments.algebra import Moments, RunningMoments, moments_of
from fruit_features.moments.of_files import merge_parts
from fruit_features.moments.parts import PartPlace, add_part, part_bytes, part_to_bytes

if TYPE_CHECKING:
    from tests.spark_jobs.lake_folder import LakeFolder

N = tables.N_FEATURES


def vectors(seed: int, n_samples: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(3, 2, (n_samples, N)).astype(np.float32)


def running_of(*some: np.ndarray) -> RunningMoments:
    running = RunningMoments(N)
    for few in some:
        running.add(few)
    return running


def assert_same(found: Moments, expected: Moments) -> None:
    assert found.n_samples == expected.n_samples
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        found.scatter, expected.scatter, rtol=0, atol=1e-9 * max(np.abs(expected.scatter).max(), 1.0)
    )


@pytest.mark.slow
@settings(max_examples=12)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    few=st.integers(0, 9),
    at_once=st.integers(1, 12),
    order=st.randoms(use_true_random=False),
)
def test_parts_of_either_kind_in_any_order_are_the_moments_of_one_pass(
    sizes: list[int], few: int, at_once: int, order
) -> None:
    whole = vectors(7, sum(sizes))
    split = np.split(whole, np.cumsum(sizes)[:-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts_module, "_FEW", few)
        patch.setattr(RunningMoments, "_ROWS_AT_ONCE", at_once)
        contents = [part_to_bytes(running_of(part)) for part in split]
        order.shuffle(contents)
        running = RunningMoments(N)
        for content in contents:
            add_part(running, content)

        assert running.n_samples == len(whole)
        assert_same(running.total(), moments_of(whole))


def test_few_vectors_are_kept_as_they_are_and_many_as_their_moments() -> None:
    few, many = part_to_bytes(running_of(vectors(1, 2), vectors(2, 1))), part_to_bytes(running_of(vectors(1, 700)))
    assert len(few) == 16 + 3 * N * 4
    assert len(many) == 16 + 8 * (N + N * (N + 1) // 2)

    running = RunningMoments(N)
    add_part(running, few)

    np.testing.assert_array_equal(running.all_waiting(), np.concatenate([vectors(1, 2), vectors(2, 1)]))


def test_a_part_may_be_read_wherever_it_lies_in_memory() -> None:
    running = RunningMoments(N)
    content = b"?" + part_to_bytes(running_of(vectors(1, 3)))
    add_part(running, memoryview(content)[1:])
    assert_same(running.total(), moments_of(vectors(1, 3)))


def test_parts_in_the_lake_are_added_to_what_is_there(test_lake: LakeFolder) -> None:
    places = []
    for number in range(9):
        key = f"moments/_parts/ingest_date=2026-11-22/w-{number}.bin"
        test_lake.store.write(key, part_to_bytes(running_of(vectors(number, 2))))
        places.append(PartPlace("2026-11-22", key, 2, number))
    running = running_of(vectors(99, 3))

    merge_parts(test_lake.store, running, places)

    assert_same(
        running.total(), moments_of(np.concatenate([vectors(99, 3), *(vectors(number, 2) for number in range(9))]))
    )
    with pytest.raises(ObjectNotFoundError, match=r"gone\.bin"):
        merge_parts(test_lake.store, running, [PartPlace("2026-11-22", "moments/gone.bin", 1, 0)])


@pytest.mark.parametrize("n_samples", [0, 1, 640, 641, 900])
def test_a_part_is_as_large_as_is_foretold(n_samples: int) -> None:
    assert len(part_to_bytes(running_of(vectors(3, n_samples)))) == part_bytes(n_samples)
