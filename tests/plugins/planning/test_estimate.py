"""Checks the scaling model: start + fixed + images over speed, in as many runs as a driver needs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_pipeline.emr.nodes.instance_types import primary_type
from fruit_pipeline.emr.nodes.spark_sizes import most_images_a_run
from fruit_pipeline.planning.estimate import (
    DRIVER_SECONDS_PER_MILLION,
    PROJECTION_VCPU_SECONDS_PER_MILLION,
    S3_GETS_PER_MILLION,
    S3_PUTS_AND_LISTS_PER_MILLION,
    MeasuredSpeed,
    Nodes,
    estimate,
    nodes_for,
)
from fruit_pipeline.planning.pca_state import Refit
from fruit_pipeline.settings import ON_DEMAND, SPOT, Settings

SETTINGS = Settings()
MEASURED = MeasuredSpeed(60.0, SETTINGS.engine, SETTINGS.core_instance_type, "manual__1")


def test_the_estimate_is_start_plus_fixed_plus_images_over_speed() -> None:
    settings = replace(
        SETTINGS,
        images_per_second_per_vcpu=10.0,
        core_instance_count=2,
        cluster_start_minutes=5.0,
        fixed_work_minutes=1.0,
        prices_eur_per_hour=(("m5.xlarge", 0.5),),
    )
    result = estimate(48_000, settings)
    driver = 0.048 * DRIVER_SECONDS_PER_MILLION
    projection = 0.048 * PROJECTION_VCPU_SECONDS_PER_MILLION / (4 * 2)
    assert result.minutes == pytest.approx(5 + 1 + (48_000 / (10 * 4 * 2) + driver + projection) / 60, abs=0.05)
    assert result.euros == pytest.approx(result.minutes / 60 * 0.5 * 3, abs=0.01)
    assert result.s3_euros == pytest.approx(
        0.048 * (S3_GETS_PER_MILLION * 0.4 + S3_PUTS_AND_LISTS_PER_MILLION * 5) / 1e6, abs=0.01
    )
    assert result.euros_per_thousand(48_000) == pytest.approx((result.euros + result.s3_euros) / 48)
    assert (result.core_instances, result.task_instances) == (2, 0)


def test_a_refit_projects_the_history_by_images_and_files() -> None:
    """Measured on two cores, which are four vCPUs: 37 s a million images, 2.5 s a thousand partitions."""
    settings, nodes = replace(SETTINGS, core_instance_count=1), Nodes(1)
    plain = estimate(0, settings, nodes=nodes).minutes
    assert estimate(0, settings, nodes=nodes, refit=Refit("", 60_000_000, 0)).minutes - plain == pytest.approx(
        37, abs=0.1
    )
    assert estimate(0, settings, nodes=nodes, refit=Refit("", 0, 120_000)).minutes - plain == pytest.approx(5, abs=0.1)
    assert nodes_for(0, SETTINGS, refit=Refit("", 10**9, 10**6)).task > nodes_for(0, SETTINGS).task


def test_task_nodes_work_like_core_nodes_and_spot_nodes_cost_less() -> None:
    settings = replace(SETTINGS, prices_eur_per_hour=(("m5.xlarge", 0.5),), spot_price_share=0.4)
    spot = estimate(10**6, settings, nodes=Nodes(2, 3))
    on_demand = estimate(10**6, replace(settings, task_market=ON_DEMAND), nodes=Nodes(2, 3))
    assert spot.minutes == on_demand.minutes == estimate(10**6, settings, nodes=Nodes(5)).minutes
    assert spot.euros == pytest.approx(spot.minutes / 60 * (0.5 * 3 + 0.2 * 3), abs=0.01)
    assert on_demand.euros == pytest.approx(on_demand.minutes / 60 * 0.5 * 6, abs=0.01)
    assert (spot.task_instances, spot.task_market, on_demand.task_market) == (3, SPOT, ON_DEMAND)


def test_no_work_costs_nothing() -> None:
    result = estimate(0, SETTINGS, needs_cluster=False)
    assert (result.core_instances, result.task_instances, result.minutes, result.euros, result.s3_euros) == (
        0,
        0,
        0.0,
        0.0,
        0.0,
    )


@given(images=st.integers(1, 10**9), more=st.integers(1, 10**6), core=st.integers(1, 500), task=st.integers(0, 500))
def test_more_images_never_take_less_time_and_more_nodes_never_more(
    images: int, more: int, core: int, task: int
) -> None:
    few, many = Nodes(core, task), Nodes(core, task + 1)
    assert estimate(images, SETTINGS, nodes=few).minutes <= estimate(images + more, SETTINGS, nodes=few).minutes
    assert estimate(images, SETTINGS, nodes=many).minutes <= estimate(images, SETTINGS, nodes=few).minutes


def test_more_images_than_a_driver_holds_are_several_runs_with_a_start_each() -> None:
    most = most_images_a_run(primary_type(SETTINGS))
    one, two = (estimate(n, SETTINGS, nodes=Nodes(2)) for n in (most, most + 1))
    start = SETTINGS.cluster_start_minutes + SETTINGS.fixed_work_minutes
    assert two.minutes - one.minutes == pytest.approx(start, abs=0.11)


SIZED = st.builds(
    lambda core, most, minutes: replace(
        SETTINGS, core_instance_count=core, task_instance_max=most, target_minutes=minutes
    ),
    st.integers(1, 50),
    st.integers(0, 300),
    st.floats(1, 10_000),
)
IMAGES = st.integers(0, 10**9)


@given(IMAGES, SIZED)
def test_the_fewest_task_nodes_that_finish_in_time(images: int, settings: Settings) -> None:
    nodes = nodes_for(images, settings)
    assert nodes.core == settings.core_instance_count
    assert 0 <= nodes.task <= settings.task_instance_max
    assert nodes.working == nodes.core + nodes.task
    if nodes.task:
        assert (
            estimate(images, settings, nodes=Nodes(nodes.core, nodes.task - 1)).minutes > settings.target_minutes - 0.06
        )
    if nodes.task < settings.task_instance_max:
        assert estimate(images, settings, nodes=nodes).minutes <= settings.target_minutes + 0.06
    sized = estimate(images, settings)
    assert (sized.core_instances, sized.task_instances) == (nodes.core, nodes.task)


@given(IMAGES, st.integers(0, 10**7), SIZED, st.floats(1, 100), st.floats(1, 100))
def test_more_images_or_a_slower_run_or_less_time_never_take_fewer_nodes(
    images: int, more: int, settings: Settings, slow: float, times: float
) -> None:
    slower, faster = (replace(MEASURED, images_per_second_per_vcpu=speed) for speed in (slow, slow * times))
    nodes = nodes_for(images, settings, slower).task
    assert nodes <= nodes_for(images + more, settings, slower).task
    assert nodes >= nodes_for(images, settings, faster).task
    assert nodes <= nodes_for(images, replace(settings, target_minutes=settings.target_minutes / times), slower).task


def test_a_day_that_two_core_nodes_finish_in_time_takes_no_task_node() -> None:
    assert nodes_for(22_688, SETTINGS) == Nodes(2, 0)
    assert nodes_for(10**6, SETTINGS) == Nodes(2, 1)
    assert nodes_for(10**8, SETTINGS) == Nodes(2, 8)


def test_a_measured_speed_takes_the_place_of_the_assumed_one_and_says_whose_it_is() -> None:
    assumed, measured = (
        estimate(10**6, SETTINGS, nodes=Nodes(2)),
        estimate(10**6, SETTINGS, nodes=Nodes(2), speed=MEASURED),
    )
    assert measured == replace(
        estimate(10**6, replace(SETTINGS, images_per_second_per_vcpu=60.0), nodes=Nodes(2)),
        assumptions=measured.assumptions,
    )
    assert measured.minutes < assumed.minutes
    told = [(one.assumptions["images_per_second_per_vcpu"], one.assumptions["speed"]) for one in (assumed, measured)]
    assert told == [(30.0, "assumed"), (60.0, "measured by run manual__1")]


@pytest.mark.parametrize("other", [{"engine": "tensorflow"}, {"core_instance_type": "c5.4xlarge"}])
def test_a_speed_of_another_engine_or_instance_type_tells_nothing(other: dict[str, Any]) -> None:
    settings = replace(SETTINGS, **other)
    assert estimate(10**6, settings, speed=MEASURED) == estimate(10**6, settings)


def test_a_measured_speed_is_read_back_as_it_was_written() -> None:
    assert MeasuredSpeed.from_record(json.loads(json.dumps(MEASURED.as_dict()))) == MEASURED


@pytest.mark.parametrize(
    "record",
    [
        None,
        {},
        {"engine": "x"},
        MEASURED.as_dict() | {"images_per_second_per_vcpu": 0},
        MEASURED.as_dict() | {"images_per_second_per_vcpu": float("nan")},
        MEASURED.as_dict() | {"images_per_second_per_vcpu": "fast"},
        MEASURED.as_dict() | {"more": 1},
    ],
)
def test_what_is_no_measured_speed_counts_as_none(record: dict[str, object] | None) -> None:
    assert MeasuredSpeed.from_record(record) is None
