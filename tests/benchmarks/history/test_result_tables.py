"""The history benchmark's tables say what was measured."""

from __future__ import annotations

from benchmarks.history.result import DayRun, HistoryBenchmark, RefitRun


def benchmark(slowest=3.6):
    days = [
        DayRun(1, 0, 2.0, 1.0, 4.0, 2, {"compute": 1.2, "write_features": 0.8, "project": 0.5}),
        DayRun(1000, 0, slowest - 1.5, 1.5, 5.0, 16, {"compute": 1.25, "write_features": 0.8, "project": 0.75}),
    ]
    stages = {"merge_moments": 0.1, "fit": 0.5, "project": 2.0}
    refits = [
        RefitRun(16, 64, 10_000, 2, 524, 2.6, stages),
        RefitRun(16, 64, 30_000, 2, 530, 4.6, stages | {"project": 4.0}),
        RefitRun(1000, 4000, 24_000, 1, 530, 102.6, stages | {"project": 102.0}),
    ]
    return HistoryBenchmark(120, {1: 24, 1000: 24_000}, days, refits)


def rows(grid):
    return [dict(zip(grid.header, row, strict=True)) for row in grid.rows]


def test_every_history_is_compared_with_the_shortest():
    one, thousand = rows(benchmark().grids()[0])
    assert (one["days of history"], one["both s"], one["x 1 day"], one["CPU x"]) == ("1", "3.00", "1.00", "1.00")
    assert (thousand["days of history"], thousand["its images"], thousand["moments read"]) == ("1,000", "24,000", "16")
    assert (thousand["x 1 day"], thousand["PCA x"], thousand["CPU x"]) == ("1.20", "1.50", "1.25")


def test_stages_stand_by_the_days_of_history():
    one, thousand = rows(benchmark().grids()[1])
    assert (one["compute"], one["features"], one["project"]) == ("1.20", "0.80", "0.50")
    assert thousand["project"] == "0.75"


def test_refits_and_their_cost():
    grids = benchmark().grids()
    assert [row["project s"] for row in rows(grids[2])] == ["2.00", "4.00", "102.00"]
    costs: dict[str, str] = dict(grids[3].rows)
    assert costs["projecting, per million images"] == "100"
    assert costs["fixed: eigen-decomposition, and saving the version"] == "0.50"


def test_the_verdict_says_whether_it_is_flat():
    assert benchmark().notes()[0].endswith("this is flat.")
    assert benchmark(slowest=4.6).notes()[0].endswith("this is NOT flat.")
