from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from fruit_features.spark.task_planning import plan_chunks, plan_tasks


@given(sizes=st.lists(st.integers(0, 20_000_000), max_size=400), n_slots=st.integers(1, 16))
def test_every_image_is_in_exactly_one_task(sizes: list[int], n_slots: int) -> None:
    tasks = plan_tasks(sizes, n_slots)

    assert sorted(index for task in tasks for index in task) == list(range(len(sizes)))
    assert all(tasks)


@given(sizes=st.lists(st.integers(0, 5_000_000), min_size=1, max_size=2000), n_slots=st.integers(1, 8))
def test_slots_end_almost_together(sizes: list[int], n_slots: int) -> None:
    costs = [sum(500_000 + sizes[index] for index in task) for task in plan_tasks(sizes, n_slots)]

    # As Spark does it: a slot that is free takes the next task.
    busy = [0] * n_slots
    for cost in costs:
        heapq.heapreplace(busy, busy[0] + cost)

    even = sum(costs) / n_slots
    assert max(busy) <= 1.1 * even + 2 * (32_000_000 + max(sizes))


def test_the_tail_of_a_day_is_under_a_tenth() -> None:
    for n_images in (5_000, 22_688, 200_000):
        for n_slots in (2, 3, 7, 16):
            busy = [0] * n_slots
            for task in plan_tasks([5_000] * n_images, n_slots):
                heapq.heapreplace(busy, busy[0] + len(task))
            assert max(busy) <= 1.1 * n_images / n_slots, (n_images, n_slots)


def test_a_small_batch_still_uses_every_slot() -> None:
    assert len(plan_tasks([5_000] * 660, 2)) >= 8


def test_a_few_images_are_shared_by_the_slots() -> None:
    assert [len(task) for task in plan_tasks([5_000] * 60, 2)] == [30, 30]


def test_a_task_never_holds_more_than_its_bound() -> None:
    assert max(map(len, plan_tasks([5_000] * 100_000, 2))) <= 512


def test_a_handful_of_images_is_one_task() -> None:
    assert plan_tasks([5_000] * 5, 4) == [[0, 1, 2, 3, 4]]


def test_the_costliest_task_comes_first() -> None:
    tasks = plan_tasks([5_000] * 64 + [40_000_000], 2)

    assert 64 in tasks[0]


def test_nothing_to_do_is_no_task() -> None:
    assert plan_tasks([], 4) == []


@given(sizes=st.lists(st.integers(0, 10**9), max_size=60), most=st.integers(1, 20))
def test_chunks_hold_every_file_once_in_order_and_about_the_same_bytes(sizes: list[int], most: int) -> None:
    chunks = plan_chunks(sizes, most)

    assert [index for chunk in chunks for index in chunk] == list(range(len(sizes)))
    assert len(chunks) <= most
    assert all(chunks)
    for chunk in chunks:
        # A share and what hangs over its ends: less than half of the largest at each.
        assert sum(sizes[index] for index in chunk) <= (sum(sizes) + len(sizes)) / most + max(sizes) + 1
