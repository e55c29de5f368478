"""Deals work into tasks by its cost, so that no core waits long for the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# Every image costs the network's time (about 5 ms of a core), and a large one also its decoding (about 10 ms a megabyte
# of JPEG at reduced scale).
_FIXED_COST_BYTES: Final = 500_000
# This bounds what a task holds (4,096 vectors are 20 MB) and what its loss costs (half a minute of a core).
MOST_IMAGES_A_TASK: Final = 4_096
_WAVES_SPREAD: Final = 16
# A task should be long enough to forget its start (some 100 ms), unless that would leave slots without one.
_USUAL_LEAST_COST: Final = 32 * _FIXED_COST_BYTES
_LEAST_COST: Final = 16 * _FIXED_COST_BYTES


def plan_chunks(sizes_bytes: Sequence[int], most: int) -> list[list[int]]:
    """Cuts the indices of `sizes_bytes` into at most `most` runs of neighbours with about the same number of bytes.

    No run is empty.
    """
    total = sum(sizes_bytes) + len(sizes_bytes)
    chunks: dict[int, list[int]] = {}
    before = 0
    for index, size in enumerate(sizes_bytes):
        # An item's middle decides, so that it goes where most of it lies. Each item counts as a byte more than it has.
        middle = before + (size + 1) / 2
        chunks.setdefault(min(int(middle * most / total), most - 1), []).append(index)
        before += size + 1
    return list(chunks.values())


def plan_tasks(sizes_bytes: Sequence[int], n_slots: int) -> list[range]:
    """Cuts `sizes_bytes` into runs of neighbours, every index once, in the order in which they should begin.

    `n_slots` is how many tasks run at once. Each task is two thirds of a slot's share of what remains (guided
    self-scheduling, Polychronopoulos and Kuck, 1987), within bounds: large ones first, small ones to fill the end, when
    slots would wait for each other. O(n).
    """
    if not sizes_bytes:
        return []
    costs = [_FIXED_COST_BYTES + size for size in sizes_bytes]
    remaining = sum(costs)
    least = min(max(remaining / n_slots, _LEAST_COST), _USUAL_LEAST_COST)

    def share() -> float:
        return max(2 * remaining / (3 * n_slots), least)

    tasks: list[range] = []
    start, task_cost, most = 0, 0, share()
    for index, cost in enumerate(costs):
        if index > start and (task_cost + cost / 2 > most or index - start >= MOST_IMAGES_A_TASK):
            tasks.append(range(start, index))
            remaining -= task_cost
            start, task_cost, most = index, 0, share()
        task_cost += cost
    return [*tasks, range(start, len(costs))]


def spread(tasks: Sequence[range], n_slots: int) -> list[range]:
    """Orders tasks so that those which run at once are far apart in the listing.

    S3 limits the requests a second for each prefix. The last tasks, which fill the end, stay the last.
    """
    full = [task for task in tasks if len(task) >= MOST_IMAGES_A_TASK]
    rest = [task for task in tasks if len(task) < MOST_IMAGES_A_TASK]
    # Only so many tasks are mixed at a time, so that the first of many dates are done, and committed, first.
    window = _WAVES_SPREAD * n_slots
    windows = [full[start : start + window] for start in range(0, len(full), window)]
    return [task for some in windows for wave in range(_WAVES_SPREAD) for task in some[wave::_WAVES_SPREAD]] + rest
