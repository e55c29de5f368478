from __future__ import annotations

import heapq
import itertools

from hypothesis import given
from hypothesis import strategies as st

from fruit_features.spark.task_planning import MOST_IMAGES_A_TASK, plan_chunks, plan_tasks, spread


@given(sizes=st.lists(st.integers(0, 20_000_000), max_size=400), n_slots=st.integers(1, 16))
def test_every_image_is_in_exactly_one_task(sizes: list[int], n_slots: int) -> None:
    tasks = plan_tasks(sizes, n_slots)

    # Runs of neighbours, so that a task's images are of few partitions.
    assert [index for task in tasks for index in task] == list(range(len(sizes)))
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
    assert max(map(len, plan_tasks([5_000] * 100_000, 2))) == MOST_IMAGES_A_TASK


def test_a_handful_of_images_is_one_task() -> None:
    assert plan_tasks([5_000] * 5, 4) == [range(5)]


def test_tasks_grow_smaller_towards_the_end() -> None:
    lengths = [len(task) for task in plan_tasks([5_000] * 20_000, 4)]
    assert lengths[:-1] == sorted(lengths[:-1], reverse=True)
    assert lengths[0] > 10 * lengths[-1]


@given(n_full=st.integers(0, 200), n_small=st.integers(0, 40), n_slots=st.integers(1, 9))
def test_spread_tasks_are_the_same_and_the_small_ones_stay_last(n_full: int, n_small: int, n_slots: int) -> None:
    ends = [MOST_IMAGES_A_TASK * (number + 1) for number in range(n_full)]
    tasks = [range(end - MOST_IMAGES_A_TASK, end) for end in ends]
    small = [range(10**7 + number, 10**7 + number + 1) for number in range(n_small)]

    found = spread([*tasks, *small], n_slots)

    assert sorted(found, key=lambda task: task.start) == [*tasks, *small]
    assert found[n_full:] == small


def test_tasks_that_run_at_once_are_far_apart() -> None:
    tasks = [range(MOST_IMAGES_A_TASK * number, MOST_IMAGES_A_TASK * (number + 1)) for number in range(320)]

    found = spread(tasks, 4)

    numbers = [task.start // MOST_IMAGES_A_TASK for task in found]
    assert all(abs(one - other) >= 16 for one, other in itertools.pairwise(numbers[:4]))
    # What is early in the listing is done early: the first 64 are among the first 64.
    assert sorted(numbers[:64]) == list(range(64))


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
