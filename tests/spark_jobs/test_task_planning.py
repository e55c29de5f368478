from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fruit_features.task_planning import plan_tasks


@given(sizes=st.lists(st.integers(0, 20_000_000), max_size=400), n_slots=st.integers(1, 16))
def test_every_image_is_in_exactly_one_task(sizes: list[int], n_slots: int) -> None:
    tasks = plan_tasks(sizes, n_slots)

    assert sorted(index for task in tasks for index in task) == list(range(len(sizes)))
    assert all(tasks)


@given(sizes=st.lists(st.integers(0, 5_000_000), min_size=200, max_size=2000), n_slots=st.integers(1, 8))
def test_no_task_costs_much_more_than_its_share(sizes: list[int], n_slots: int) -> None:
    tasks = plan_tasks(sizes, n_slots)

    costs = [sum(1_000_000 + sizes[index] for index in task) for task in tasks]
    assert max(costs) <= sum(costs) / len(costs) + 2 * (1_000_000 + max(sizes))


def test_a_small_batch_still_uses_every_slot() -> None:
    assert len(plan_tasks([5_000] * 660, 2)) == 8


def test_a_task_never_holds_more_than_its_bound() -> None:
    assert max(map(len, plan_tasks([5_000] * 100_000, 2))) <= 512


def test_a_handful_of_images_is_one_task() -> None:
    assert plan_tasks([5_000] * 5, 4) == [[0, 1, 2, 3, 4]]


def test_the_costliest_task_comes_first() -> None:
    tasks = plan_tasks([5_000] * 64 + [40_000_000], 2)

    assert 64 in tasks[0]


def test_nothing_to_do_is_no_task() -> None:
    assert plan_tasks([], 4) == []
