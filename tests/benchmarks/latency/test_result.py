"""Checks the figures of the same steps near S3 and far from it, and their table."""

from __future__ import annotations

import pytest

from benchmarks.latency.result import LatencyBenchmark, StepRun, more_seconds, requests_of, summarise_steps, waits


def run(milliseconds, seconds, step="refit", gets=100):
    return StepRun(step, milliseconds, seconds, {"GET": gets, "LIST": 2})


def test_a_step_is_compared_with_itself_near_s3():
    near, far = summarise_steps([run(0, 2.0), run(60, 5.0), run(60, 8.0), run(60, 6.0)])
    assert (near.first.milliseconds, waits(near, near), far.n_runs) == (0, None, 3)
    assert (far.median("seconds"), far.least("seconds"), far.most("seconds")) == (6.0, 5.0, 8.0)
    assert more_seconds(far, near) == pytest.approx(4.0)
    assert waits(far, near) == pytest.approx(4.0 / 0.060)


def test_steps_keep_their_order_and_the_nearest_comes_first():
    summaries = summarise_steps([run(60, 3.0, "features"), run(60, 5.0), run(0, 1.0, "features"), run(0, 2.0)])
    assert [(summary.first.step, summary.first.milliseconds) for summary in summaries] == [
        ("features", 0),
        ("features", 60),
        ("refit", 0),
        ("refit", 60),
    ]


def test_requests_are_those_of_the_middle_run():
    (near,) = summarise_steps([run(0, 2.0, gets=90), run(0, 2.0, gets=100), run(0, 2.0, gets=300)])
    assert requests_of(near) == {"GET": 100, "LIST": 2}


def test_refuses_a_step_that_was_never_run_near_s3():
    with pytest.raises(ValueError, match="refit at 0 ms"):
        summarise_steps([run(0, 1.0, "features"), run(60, 2.0, "features"), run(60, 3.0)])


def test_the_table_has_a_line_for_each_step_and_distance():
    result = LatencyBenchmark(60, 10, 40, 240, [run(0, 2.0), run(60, 5.0)])
    (grid,) = result.grids()
    near, far = (dict(zip(grid.header, row, strict=True)) for row in grid.rows)
    assert (near["ms a request"], near["waits"], near["GET"], near["requests"]) == ("0", "", "100", "102")
    assert (far["ms a request"], far["more s"], far["waits"]) == ("60", "3.00", "50")
    assert "240 images in 40 partitions" in result.notes()[0]
