"""Checks what the soak counts, and which findings break a promise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.soak.result import Books, RunFound, SoakResult, TaskTrouble

WELL = SoakResult(
    seconds=1800,
    at_once=4,
    runs=[RunFound("one", "success", 40.0), RunFound("two", "success", 60.0)],
    clusters=2,
    clusters_left=(),
    books=Books(frozenset({"raw/a", "raw/b"}), {"raw/a": 1, "raw/b": 1}),
    memory={"scheduler": (300.0, 310.0)},
)


def trouble(*, has_failed=False, is_stale=False):
    return TaskTrouble("two", "plan_run", has_failed, "SomeError: of some kind", is_stale)


def counts(result):
    return dict(result.grids()[0].rows)


def test_a_good_hour_breaks_no_promise_and_is_counted():
    assert WELL.problems() == []
    assert WELL.notes() == [
        "Every run succeeded, no cluster is left, and every image that was delivered is in exactly one ledger line."
    ]
    assert counts(WELL) | {
        "runs": "2",
        "runs an hour": "4",
        "clusters left": "0",
        "images in exactly one ledger line": "2",
    } == counts(WELL)
    assert WELL.grids()[1].rows == [("scheduler", "300", "310")]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"runs": []}, "No run has ended"),
        ({"runs": [RunFound("two", "failed", 1.0)]}, "1 runs did not succeed: two"),
        (
            {"runs": [RunFound("two", "success", 1.0, (trouble(has_failed=True, is_stale=True),))]},
            "failed by a stale event: plan_run of two",
        ),
        ({"clusters_left": ["j-1"]}, "1 clusters are left: j-1"),
        ({"books": Books(frozenset({"raw/a"}), {})}, "1 images are in no ledger line: raw/a"),
        ({"books": Books(frozenset({"raw/a"}), {"raw/a": 2})}, "in more than one ledger line: raw/a"),
        ({"books": Books(frozenset(), {"raw/a": 1})}, "never delivered: raw/a"),
    ],
)
def test_each_broken_promise_is_named(broken, words):
    (problem,) = replace(WELL, **broken).problems()
    assert words in problem


def test_a_task_that_was_tried_again_is_told_with_its_error_and_breaks_nothing():
    result = replace(WELL, runs=[RunFound("two", "success", 60.0, (trouble(is_stale=True), trouble()))])
    assert result.problems() == []
    assert counts(result)["tasks tried again"] == "2"
    assert counts(result)["tasks tried again after a stale event"] == "1"
    assert ("`plan_run` was tried again: SomeError: of some kind", "2") in result.grids()[2].rows
