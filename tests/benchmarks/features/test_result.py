"""Checks the figures that follow from what was measured."""

from __future__ import annotations

import pytest

from benchmarks.engines.field import EngineSpeed
from benchmarks.features.result import FeaturesBenchmark, FixedCosts, NotebookLoad, WayRun, notebook_load
from benchmarks.features.run import notebook_loads, notebook_name
from benchmarks.harness.agreement import Agreement


def ceiling(images_per_second):
    return EngineSpeed(images_per_second, cpu_seconds_per_image=0.01)


def run(way, images_per_second, *, before=200.0, after=200.0, worker_megabytes=None):
    return WayRun(
        way=way,
        n_images=400,
        seconds=400 / images_per_second,
        cpu_seconds=8.0,
        s3_cpu_seconds=0.4,
        ceiling_before=ceiling(before),
        ceiling_after=ceiling(after),
        worker_megabytes=worker_megabytes,
        n_cores=2,
    )


def ways(runs, reference="notebook way"):
    """Returns the rows of the table of ways by column, without the row of the ceiling."""
    costs = FixedCosts(6.1, 60, 1.3, 0.2, 100_000, 0.7)
    ways = FeaturesBenchmark(2, [ceiling(200.0)], runs, reference, costs, Agreement(200, 1.0, 1.0, 0.0)).grids()[0]
    return [dict(zip(ways.header, row, strict=True)) for row in ways.rows[1:]]


def test_a_run_is_compared_with_the_ceiling_around_it():
    assert run("ours", 120, before=100, after=200).share_of_ceiling == pytest.approx(0.8)


def test_what_the_s3_server_took_from_the_cores_can_be_left_out():
    # 0.4 s of one of two cores, of 2 s.
    assert run("ours", 200).share_with_s3_apart == pytest.approx(1 / 0.9)


def test_a_way_is_the_median_of_its_runs_and_is_compared_with_the_reference():
    slow, usual, fast = run("ours", 50), run("ours", 100), run("ours", 300)
    ours, notebook = ways([slow, usual, fast, run("notebook way", 20)])
    assert (ours["way"], ours["runs"]) == ("ours", "3")
    assert (ours["images/s"], ours["of ceiling"]) == ("100.0", "50 %")
    assert (ours["x notebook way"], notebook["x notebook way"]) == ("5.0", "1.0")


def test_cpu_is_counted_by_image():
    (ours,) = ways([run("ours", 100)], "ours")
    assert (ours["CPU ms/image"], ours["S3 CPU ms/image"]) == ("20.0", "1.00")


def test_the_largest_worker_of_all_runs_counts():
    (ours,) = ways([run("ours", 1, worker_megabytes=300), run("ours", 1, worker_megabytes=650), run("ours", 1)], "ours")
    assert ours["worker MB"] == "650"


def test_refuses_a_comparison_with_a_way_that_did_not_run():
    with pytest.raises(ValueError, match="notebook way"):
        ways([run("ours", 100)])


def test_the_notebook_way_gets_full_partitions_as_many_on_each_core():
    assert notebook_load(945, 5000, n_cores=2) == NotebookLoad(3780, 4)
    assert notebook_load(208, 5000, n_cores=2) == NotebookLoad(4992, 24)
    assert notebook_load(208, 5000, n_cores=16).n_partitions == 16


def test_of_few_images_the_notebook_way_gets_one_partition_a_core():
    load = notebook_load(945, 200, n_cores=2)
    assert (load, load.per_partition) == (NotebookLoad(200, 2), 100)


def test_the_notebook_ways_are_named_by_what_a_partition_holds_and_measured_once():
    assert [notebook_name(load) for load in notebook_loads(5000, 2)] == [
        "notebook way, 945 a partition",
        "notebook way, 208 a partition",
    ]
    assert [notebook_name(load) for load in notebook_loads(240, 2)] == ["notebook way, 120 a partition"]
