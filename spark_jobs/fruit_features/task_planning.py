"""Deals images into tasks by bytes and count, so that no core waits long for the last one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# A small image costs the network (about 10 ms of a core); a large one also its decoding (about 10 ms a megabyte of JPEG at reduced scale).
_FIXED_COST_BYTES: Final = 1_000_000
# A task should be long enough to forget its start (tens of ms), and short enough for an even end.
_MOST_IMAGES_A_TASK: Final = 512
_TASKS_A_SLOT: Final = 4
_FEWEST_IMAGES_A_TASK: Final = 32


def plan_tasks(sizes_bytes: Sequence[int], n_slots: int) -> list[list[int]]:
    """Indices into `sizes_bytes`, dealt into tasks of like cost, every index once; the costliest task first.

    `n_slots` is how many tasks run at once. O(n).
    """
    if not sizes_bytes:
        return []
    costs = [_FIXED_COST_BYTES + size for size in sizes_bytes]
    by_images = math.ceil(len(costs) / _FEWEST_IMAGES_A_TASK)
    at_least = math.ceil(len(costs) / _MOST_IMAGES_A_TASK)
    n_tasks = max(at_least, min(by_images, n_slots * _TASKS_A_SLOT), 1)
    share = sum(costs) / n_tasks
    tasks: list[list[int]] = [[]]
    filled = 0.0
    for index, cost in enumerate(costs):
        # A task ends where its share of the running total ends, so rounding never piles up in the last one.
        if tasks[-1] and (filled + cost / 2 > share * len(tasks) or len(tasks[-1]) >= _MOST_IMAGES_A_TASK):
            tasks.append([])
        tasks[-1].append(index)
        filled += cost
    return sorted(tasks, key=lambda task: -sum(costs[index] for index in task))
