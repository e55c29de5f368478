"""Deals images into tasks by bytes and count, so that no core waits long for the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# A small image costs the network (about 5 ms of a core); a large one also its decoding (about 10 ms a megabyte of JPEG at reduced scale).
_FIXED_COST_BYTES: Final = 500_000
# Bounds what a task holds and what its loss costs.
_MOST_IMAGES_A_TASK: Final = 512
# A task should be long enough to forget its start (some 100 ms), unless that would leave slots without one.
_USUAL_LEAST_COST: Final = 64 * _FIXED_COST_BYTES
_LEAST_COST: Final = 16 * _FIXED_COST_BYTES


def plan_chunks(sizes_bytes: Sequence[int], most: int) -> list[list[int]]:
    """Indices into `sizes_bytes` in at most `most` runs of neighbours, none empty, of about the same number of bytes."""
    total = sum(sizes_bytes) + len(sizes_bytes)
    chunks: dict[int, list[int]] = {}
    before = 0
    for index, size in enumerate(sizes_bytes):
        # By its middle, so that an item goes where most of it lies. An empty one counts as a byte.
        middle = before + (size + 1) / 2
        chunks.setdefault(min(int(middle * most / total), most - 1), []).append(index)
        before += size + 1
    return list(chunks.values())


def plan_tasks(sizes_bytes: Sequence[int], n_slots: int) -> list[list[int]]:
    """Indices into `sizes_bytes`, dealt into tasks, every index once; the costliest task first.

    `n_slots` is how many tasks run at once. Each task is half a slot's share of what remains (guided self-scheduling, Polychronopoulos and
    Kuck, 1987): large ones first, small ones to fill the end, when slots would wait for each other. O(n).
    """
    if not sizes_bytes:
        return []
    costs = [_FIXED_COST_BYTES + size for size in sizes_bytes]
    remaining = sum(costs)
    least = min(max(remaining / n_slots, _LEAST_COST), _USUAL_LEAST_COST)

    def share() -> float:
        return max(remaining / (2 * n_slots), least)

    tasks: list[list[int]] = [[]]
    task_cost, most = 0, share()
    for index, cost in enumerate(costs):
        if tasks[-1] and (task_cost + cost / 2 > most or len(tasks[-1]) >= _MOST_IMAGES_A_TASK):
            remaining -= task_cost
            tasks.append([])
            task_cost, most = 0, share()
        tasks[-1].append(index)
        task_cost += cost
    return sorted(tasks, key=lambda task: -sum(costs[index] for index in task))
