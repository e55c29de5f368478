from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fruit_features.moments.algebra import Moments, merge_all, moments_of
from fruit_features.moments.history_tree import (
    READ_AT_ONCE,
    Block,
    HistoryTree,
    LostBlockError,
    LostMomentsError,
    Source,
    states_digest,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

N_FEATURES = 3
FIRST_DAY = date(2024, 1, 1)


def day(number: int) -> str:
    return (FIRST_DAY + timedelta(days=number)).isoformat()


class Memory:
    """Keeps moments in dictionaries; `states` are what the ledgers say of them."""

    def __init__(self) -> None:
        self.days: dict[str, Moments] = {}
        self.states: dict[str, str] = {}
        self.blocks: dict[tuple[str, str], Moments] = {}
        self.reads: list[list[Source]] = []

    def put(self, name: str, state: str, seed: int, n_samples: int = 4) -> None:
        self.states[name] = state
        self.days[name] = moments_of(np.random.default_rng(seed).normal(size=(n_samples, N_FEATURES)))

    def remove(self, name: str) -> None:
        self.states.pop(name, None)
        self.days.pop(name, None)

    def read(self, sources: Sequence[Source]) -> dict[Source, Moments]:
        self.reads.append(list(sources))
        found = {}
        for source in sources:
            if source.block is None:
                if source.day in self.days:
                    found[source] = self.days[source.day]
            elif (source.block.name, source.fingerprint) in self.blocks:
                found[source] = self.blocks[source.block.name, source.fingerprint]
        return found

    def keep(self, block: Block, fingerprint: str, moments: Moments) -> None:
        self.blocks[block.name, fingerprint] = moments


def tree_of(memory: Memory, kept: dict[str, str]) -> HistoryTree:
    return HistoryTree(memory.states, dict(kept), memory, N_FEATURES)


def assert_merged(moments: Moments, memory: Memory) -> None:
    whole = merge_all((memory.days[name] for name in sorted(memory.days)), N_FEATURES)
    assert moments.n_samples == whole.n_samples
    np.testing.assert_allclose(moments.mean, whole.mean, atol=1e-12)
    np.testing.assert_allclose(moments.scatter, whole.scatter, atol=1e-9)


@pytest.mark.slow
@given(
    steps=st.lists(
        st.lists(
            st.tuples(st.integers(0, 90), st.sampled_from(["put", "remove"]), st.integers(0, 99)),
            min_size=1,
            max_size=8,
        ),
        min_size=1,
        max_size=6,
    )
)
# The last day goes, and the block before it ends the history.
@example(steps=[[(number, "put", 0) for number in (0, 10, 26, 58)], [(58, "remove", 0)]])
def test_whatever_days_come_change_and_go_the_merged_moments_are_those_of_one_pass(steps: list) -> None:
    memory = Memory()
    kept: dict[str, Any] = {}
    for changes in steps:
        for number, action, seed in changes:
            if action == "put":
                memory.put(day(number), f"s{seed}", seed)
            else:
                memory.remove(day(number))
        tree = tree_of(memory, kept)
        assert_merged(tree.merge_all(), memory)
        used = tree.used_blocks()
        kept = {name: fingerprint for name, fingerprint in tree.kept.items() if name in used}
        again = tree_of(memory, kept)
        assert_merged(again.merge_all(), memory)
        # One beginning a level, the last day, and what comes before the largest block.
        assert again.n_read <= 6
        assert again.kept == kept


@pytest.mark.slow
@pytest.mark.parametrize("n_days", [0, 360, 990])
def test_a_new_day_reads_and_writes_a_few_moments_however_long_the_history_is(n_days: int) -> None:
    memory = Memory()
    kept: dict[str, Any] = {}
    for number in range(n_days):
        memory.put(day(number), "s", number)
    n_read, n_written = [], []
    for number in range(n_days, n_days + 70):
        memory.put(day(number), "s", number)
        tree = tree_of(memory, kept)
        n_blocks = len(memory.blocks)
        moments = tree.merge_all()
        n_read.append(tree.n_read)
        n_written.append(len(memory.blocks) - n_blocks)
        used = tree.used_blocks()
        kept = {name: fingerprint for name, fingerprint in tree.kept.items() if name in used}
    assert_merged(moments, memory)
    # The first of them has nothing kept.
    assert max(n_read[1:]) <= 8
    assert max(n_written[1:]) <= 7
    assert sum(n_written[1:]) / 69 < 1.5


@pytest.mark.slow
def test_a_change_of_an_earlier_day_reads_what_stands_beside_its_path() -> None:
    memory = Memory()
    for number in range(1000):
        memory.put(day(number), "s", number)
    first = tree_of(memory, {})
    first.merge_all()
    used = first.used_blocks()
    kept = {name: fingerprint for name, fingerprint in first.kept.items() if name in used}
    for number in (0, 17, 500, 900, 998):
        memory.put(day(number), "t", number + 5000)
        tree = tree_of(memory, kept)
        assert_merged(tree.merge_all(), memory)
        assert tree.n_read <= 24, (number, tree.n_read)
        used = tree.used_blocks()
        kept = {name: fingerprint for name, fingerprint in tree.kept.items() if name in used}


def test_never_reads_more_at_once_than_the_driver_can_hold() -> None:
    memory = Memory()
    for number in range(300):
        memory.put(day(number), "s", number)
    tree_of(memory, {}).merge_all()
    assert max(len(sources) for sources in memory.reads) <= READ_AT_ONCE


def test_a_day_whose_moments_are_gone_is_told_and_no_block_of_it_is_kept() -> None:
    memory = Memory()
    for number in range(8):
        memory.put(day(number), "s", number)
    lost = day(5)
    moments = memory.days.pop(lost)

    with pytest.raises(LostMomentsError, match=f"moments of {lost} are gone") as raised:
        tree_of(memory, {}).merge_all()

    assert raised.value.ingest_date == lost
    memory.days[lost] = moments
    assert_merged(tree_of(memory, {}).merge_all(), memory)


def test_a_block_of_another_state_of_its_days_is_not_used() -> None:
    memory = Memory()
    for number in range(8):
        memory.put(day(number), "s", number)
    tree = tree_of(memory, {})
    tree.merge_all()
    memory.put(day(5), "t", 99)

    again = tree_of(memory, tree.kept)

    assert_merged(again.merge_all(), memory)
    assert 1 < again.n_read < 8


def test_a_block_that_is_gone_is_told() -> None:
    memory = Memory()
    for number in range(8):
        memory.put(day(number), "s", number)
    tree = tree_of(memory, {})
    tree.merge_all()
    memory.blocks.clear()

    with pytest.raises(LostBlockError, match="gone or damaged"):
        tree_of(memory, tree.kept).merge_all()


def test_no_days_have_no_moments() -> None:
    assert tree_of(Memory(), {}).merge_all().n_samples == 0


def test_the_digest_of_all_states_does_not_depend_on_their_order() -> None:
    assert (
        states_digest({"a": "1", "b": "2"})
        == states_digest({"b": "2", "a": "1"})
        != states_digest({"a": "2", "b": "1"})
    )
