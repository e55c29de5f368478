"""Checks the figures that follow from the runs of ours and its peers."""

from __future__ import annotations

import pytest

from benchmarks.engines.field import EngineSpeed
from benchmarks.harness.agreement import Agreement
from benchmarks.harness.summary import turned
from benchmarks.peers.result import (
    COLD,
    DAFT,
    OURS,
    RAY,
    WARM,
    PeerRun,
    PeersBenchmark,
    faster_by,
    summarise_peers,
    worse,
)


def run(way, number, images_per_second, *, kind=WARM, cpu_milliseconds=8.0, peak_megabytes=None, ceiling=200.0):
    ceilings = EngineSpeed(ceiling, 0.004), EngineSpeed(ceiling, 0.004)
    seconds = 100 / images_per_second
    return PeerRun(
        way, 100, seconds, cpu_milliseconds / 10, 0.05, *ceilings, peak_megabytes, kind=kind, round=number, n_cores=2
    )


def test_a_peer_is_compared_with_ours_of_the_same_round():
    # The machine became half as fast from round to round: the ratio within a round is the same.
    runs = [
        run(DAFT, 0, 80.0, cpu_milliseconds=10.0),
        run(OURS, 0, 100.0),
        run(OURS, 1, 50.0),
        run(DAFT, 1, 40.0, cpu_milliseconds=12.0),
    ]
    ours, daft = summarise_peers(runs, WARM)
    assert (ours.first.way, ours.n_runs, faster_by(ours), ours.ratio("cpu_seconds_per_image")) == (OURS, 2, 1.0, 1.0)
    assert (daft.first.way, faster_by(daft), *daft.ratios("seconds_per_image")) == (DAFT, 1.25, 1.25, 1.25)
    assert daft.ratio("cpu_seconds_per_image") == pytest.approx(1.375)
    assert daft.median("images_per_second") == pytest.approx(60)


def test_cold_and_warm_are_apart_and_ours_comes_first():
    runs = [run(RAY, 0, 10.0, kind=COLD), run(RAY, 0, 20.0), run(OURS, 0, 40.0), run(OURS, 0, 20.0, kind=COLD)]
    assert [
        (way.first.way, way.median("images_per_second"), faster_by(way)) for way in summarise_peers(runs, COLD)
    ] == [
        (OURS, 20, 1),
        (RAY, 10, 2),
    ]
    assert [
        (way.first.way, way.median("images_per_second"), faster_by(way)) for way in summarise_peers(runs, WARM)
    ] == [
        (OURS, 40, 1),
        (RAY, 20, 2),
    ]


def test_a_run_is_compared_with_the_ceiling_around_it_and_the_largest_peak_counts():
    (ours,) = summarise_peers(
        [run(OURS, 0, 100.0, peak_megabytes=300.0), run(OURS, 1, 100.0, peak_megabytes=500.0), run(OURS, 2, 1.0)], WARM
    )
    assert (ours.median("share_of_ceiling"), ours.most("worker_megabytes")) == (0.5, 500)
    assert ours.median("s3_cpu_seconds_per_image") == pytest.approx(0.0005)


def test_refuses_a_round_without_ours():
    with pytest.raises(ValueError, match="Round 1 has no warm run of ours"):
        summarise_peers([run(OURS, 0, 1.0), run(DAFT, 1, 1.0)], WARM)


def test_each_round_begins_with_another_way():
    assert [turned([OURS, DAFT, RAY], number)[0] for number in range(4)] == [OURS, DAFT, RAY, OURS]
    assert turned([OURS, DAFT, RAY], 1) == [DAFT, RAY, OURS]


def test_of_all_comparisons_the_worst_is_kept():
    near, far = Agreement(10, 1.0, 1.0, 1e-7), Agreement(10, 1.0, 1.0, 3e-5)
    assert worse(None, near) == near
    assert worse(near, far) == worse(far, near) == far


def test_the_engines_own_time_is_the_median_of_all_its_windows():
    ceilings = [EngineSpeed(500.0, 0.0036), EngineSpeed(520.0, 0.0035), EngineSpeed(200.0, 0.009)]
    assert PeersBenchmark(2, ceilings, [], {}).engine_seconds_per_image == 0.0036
