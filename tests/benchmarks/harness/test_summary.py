"""Checks that runs are summed up in the same way for every part."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from benchmarks.harness.summary import Summary, median_stages, summarise, turned


@dataclass(frozen=True)
class Run:
    way: str
    round: int
    seconds: float
    megabytes: float | None = None


def is_ours(run):
    return run.way == "ours"


def test_ratios_are_of_the_same_round():
    runs = [
        Run("ours", 0, 1.0),
        Run("theirs", 0, 2.0),
        Run("theirs", 1, 9.0),
        Run("ours", 1, 3.0),
        Run("theirs", 2, 5.0),
        Run("ours", 2, 1.0),
    ]
    found = summarise(runs, lambda run: run.way, is_ours)
    assert list(found) == ["ours", "theirs"]
    assert found["theirs"].ratios("seconds") == [2, 3, 5]
    assert (found["theirs"].ratio("seconds"), found["theirs"].median("seconds"), found["ours"].ratio("seconds")) == (
        3,
        5,
        1,
    )


def test_a_round_without_the_reference_is_refused_by_its_name():
    with pytest.raises(ValueError, match="Round 1 has no warm run of ours: there is nothing to compare with"):
        summarise([Run("ours", 0, 1.0), Run("theirs", 1, 1.0)], lambda run: run.way, is_ours, "warm run of ours")


def test_a_figure_that_a_run_lacks_is_left_out():
    summary = Summary([Run("ours", 0, 1.0), Run("ours", 1, 2.0, 500.0), Run("ours", 2, 4.0, 300.0)])
    assert (summary.most("megabytes"), summary.least("megabytes"), summary.n_runs) == (500, 300, 3)
    assert Summary([Run("ours", 0, 1.0)]).most("megabytes") is None


def test_stages_keep_their_order_and_may_be_missing_in_a_run():
    assert median_stages([{"list": 1.0, "compute": 2.0}, {"compute": 4.0, "write": 3.0}]) == {
        "list": 1,
        "compute": 3,
        "write": 3,
    }


def test_each_round_begins_with_another_way():
    assert [turned(["a", "b", "c"], number)[0] for number in range(4)] == ["a", "b", "c", "a"]
    assert turned(["a", "b", "c"], 1) == ["b", "c", "a"]
