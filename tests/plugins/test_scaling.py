"""The scaling model: start + fixed + images over speed, in as many runs as a driver needs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_pipeline.scaling import (
    DRIVER_SECONDS_PER_MILLION,
    IMAGES_PER_RUN,
    PROJECTION_VCPU_SECONDS_PER_MILLION,
    UnknownInstanceTypeError,
    core_instances_for,
    estimate,
    vcpus,
)
from fruit_pipeline.settings import Settings

SETTINGS = Settings()


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
    assert result.euros_per_thousand(48_000) == pytest.approx(result.euros / 48)
    assert result.core_instances == 2


def test_no_work_costs_nothing() -> None:
    result = estimate(0, SETTINGS, needs_cluster=False)
    assert (result.core_instances, result.minutes, result.euros) == (0, 0.0, 0.0)


@given(images=st.integers(1, 10**9), more=st.integers(1, 10**6), nodes=st.integers(1, 500))
def test_more_images_never_take_less_time_and_more_nodes_never_more(images: int, more: int, nodes: int) -> None:
    few, many = replace(SETTINGS, core_instance_count=nodes), replace(SETTINGS, core_instance_count=nodes + 1)
    assert estimate(images, few).minutes <= estimate(images + more, few).minutes
    assert estimate(images, many).minutes <= estimate(images, few).minutes


@pytest.mark.parametrize(("instance_type", "expected"), [("m5.large", 2), ("m5.xlarge", 4), ("m5.2xlarge", 8), ("c5.24xlarge", 96)])
def test_knows_the_vcpus_of_a_size(instance_type: str, expected: int) -> None:
    assert vcpus(instance_type) == expected


def test_says_what_to_do_about_a_size_without_a_number() -> None:
    with pytest.raises(UnknownInstanceTypeError, match="FRUITS_CORE_INSTANCE_TYPE"):
        vcpus("m5.metal")


def test_more_images_than_a_driver_holds_are_several_runs_with_a_start_each() -> None:
    one, two = estimate(IMAGES_PER_RUN, SETTINGS), estimate(IMAGES_PER_RUN + 1, SETTINGS)
    start = SETTINGS.cluster_start_minutes + SETTINGS.fixed_work_minutes
    assert two.minutes - one.minutes == pytest.approx(start, abs=0.11)


@given(images=st.integers(1, 10**9), minutes=st.floats(15, 10_000), most=st.integers(1, 300))
def test_the_fewest_nodes_that_finish_in_time(images: int, minutes: float, most: int) -> None:
    n = core_instances_for(images, SETTINGS, minutes, most=most)
    assert SETTINGS.core_instance_count <= n <= max(most, SETTINGS.core_instance_count)
    if n > SETTINGS.core_instance_count:
        assert estimate(images, SETTINGS, core_instances=n - 1).minutes > minutes - 0.06
    if n < most:
        assert estimate(images, SETTINGS, core_instances=n).minutes <= minutes + 0.06
