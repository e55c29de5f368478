"""Checks that executors and driver fit the nodes, and use all of their vCPUs."""

from __future__ import annotations

import pytest

from fruit_contract.limits import (
    DRIVER_BASE_BYTES,
    DRIVER_BYTES_AN_IMAGE,
    MOST_IMAGES_A_RUN,
    PYTHON_WORKER_BYTES,
)
from fruit_contract.regions import DEFAULT_REGION
from fruit_pipeline.emr.nodes.fleets import sibling_types
from fruit_pipeline.emr.nodes.instance_types import instance_type
from fruit_pipeline.emr.nodes.spark_sizes import (
    MASTER_MIB,
    MIB,
    YARN_GRAIN_MIB,
    driver_sizes,
    executor_sizes,
    most_images_a_run,
    task_slots,
)
from fruit_pipeline.errors import UnfitInstanceTypeError
from fruit_pipeline.settings import Settings

# EMR's default of yarn.nodemanager.resource.memory-mb, as AWS' release guide lists it ("Task configuration").
EMR_YARN_MIB = {
    "c5.xlarge": 6144, "c5.2xlarge": 12288, "c5.4xlarge": 24576, "c5.9xlarge": 65536, "c5.12xlarge": 90112,
    "c5.24xlarge": 188416,
    "c5a.xlarge": 5632, "c5a.2xlarge": 11712, "c5a.4xlarge": 23424, "c5a.12xlarge": 90112, "c5a.24xlarge": 179200,
    "m5.xlarge": 12288, "m5.2xlarge": 24576, "m5.4xlarge": 57344, "m5.8xlarge": 122880, "m5.24xlarge": 385024,
    "m5a.xlarge": 12288, "m5d.12xlarge": 188416,
    "m6g.xlarge": 11712, "m6g.2xlarge": 23424, "m6g.4xlarge": 54272, "m6g.8xlarge": 116736, "m6g.12xlarge": 181248,
    "m6g.16xlarge": 241664,
    "c6g.xlarge": 5632, "c6gn.8xlarge": 54272, "c6g.16xlarge": 116736,
    "r5.xlarge": 24576, "r5.4xlarge": 122880, "r5.24xlarge": 778240, "r5b.24xlarge": 741376, "r6g.xlarge": 23424,
    "r6g.12xlarge": 366592,
}  # fmt: skip
# The tasks send this much back to the driver's Java.
RESULT_BYTES_AN_IMAGE = 100
ASKED_FOR = ["c5.xlarge", "c5.4xlarge", "r5.xlarge", "m5.xlarge", "m6g.2xlarge", "m5.24xlarge"]
SIZES = ["xlarge", *(f"{times}xlarge" for times in (2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 48))]
TYPES = sorted(
    {f"{family}.{size}" for family in ("c5", "m6i", "r7g") for size in SIZES}
    | {"m5.large", "r5.large"}
    | set(ASKED_FOR)
)


@pytest.mark.parametrize("name", TYPES)
def test_every_vcpu_of_a_node_is_a_task_slot(name: str) -> None:
    node = instance_type(name)
    sizes = executor_sizes(node)
    assert sizes.cores * sizes.a_node == node.vcpus


@pytest.mark.parametrize("name", TYPES)
def test_the_executors_of_a_node_and_the_application_master_fit_into_what_yarn_has(name: str) -> None:
    sizes = executor_sizes(instance_type(name))
    assert sizes.container_mib % YARN_GRAIN_MIB == MASTER_MIB % YARN_GRAIN_MIB == 0  # YARN makes nothing larger of them
    assert sizes.a_node * sizes.container_mib + MASTER_MIB <= sizes.yarn_mib
    assert sizes.yarn_mib // sizes.container_mib == sizes.a_node  # and not one more where the master is not


@pytest.mark.parametrize("name", sorted(EMR_YARN_MIB))
def test_yarn_gets_no_more_of_a_node_than_emr_itself_would_give_it(name: str) -> None:
    assert executor_sizes(instance_type(name)).yarn_mib <= EMR_YARN_MIB[name]


@pytest.mark.parametrize("name", ["m5.xlarge", "m6g.2xlarge", "c5.4xlarge", "m5.24xlarge", "r5.xlarge"])
def test_little_memory_is_left_unused(name: str) -> None:
    sizes = executor_sizes(instance_type(name))
    assert sizes.yarn_mib > 0.9 * EMR_YARN_MIB[name]
    assert sizes.a_node * (sizes.container_mib + YARN_GRAIN_MIB) + MASTER_MIB > sizes.yarn_mib


@pytest.mark.parametrize("name", TYPES)
def test_there_is_room_for_a_python_worker_on_each_core_and_for_java(name: str) -> None:
    sizes = executor_sizes(instance_type(name))
    for_java = sizes.overhead_mib * MIB - sizes.cores * PYTHON_WORKER_BYTES
    assert for_java >= max(384 * MIB, 0.1 * sizes.heap_mib * MIB)  # what Spark itself would keep for it
    assert sizes.heap_mib >= 1024


def test_the_sizes_on_the_default_nodes() -> None:
    sizes = executor_sizes(instance_type("m5.xlarge"))
    assert (sizes.cores, sizes.a_node, sizes.heap_mib, sizes.overhead_mib, sizes.yarn_mib) == (4, 1, 4147, 6221, 11264)


def test_all_types_of_a_fleet_are_given_the_same() -> None:
    for name in ("m5.xlarge", "c5.4xlarge", "r6i.24xlarge"):
        siblings = sibling_types(name, DEFAULT_REGION)
        assert {executor_sizes(instance_type(other)) for other in siblings} == {executor_sizes(instance_type(name))}


@pytest.mark.parametrize("sizes_of", [executor_sizes, driver_sizes, most_images_a_run])
def test_a_node_with_too_little_memory_is_refused_by_its_setting(sizes_of: object) -> None:
    with pytest.raises(
        UnfitInstanceTypeError, match=r"'c5\.large' has too little memory \(4 GiB\).*FRUITS_X to a larger type"
    ):
        sizes_of(instance_type("c5.large", "FRUITS_X"))  # type: ignore[operator]


@pytest.mark.parametrize("name", TYPES)
def test_driver_and_hadoop_fit_on_the_primary_node(name: str) -> None:
    primary = instance_type(name)
    sizes = driver_sizes(primary)
    hadoop_mib = 4096
    assert 2048 <= sizes.heap_mib <= 8192
    assert sizes.heap_mib + sizes.python_mib + hadoop_mib <= primary.memory_mib * 61 / 64
    assert sizes.max_result_mib <= sizes.heap_mib / 2
    assert most_images_a_run(primary) * RESULT_BYTES_AN_IMAGE <= sizes.max_result_mib * MIB
    assert DRIVER_BASE_BYTES + most_images_a_run(primary) * DRIVER_BYTES_AN_IMAGE <= sizes.python_mib * MIB


def test_the_default_primary_node_holds_a_run_of_millions_and_a_larger_one_the_largest() -> None:
    sizes = driver_sizes(instance_type("m5.xlarge"))
    assert (sizes.heap_mib, sizes.max_result_mib, sizes.python_mib) == (2560, 1280, 8448)
    assert (
        5_000_000
        < most_images_a_run(instance_type("m5.xlarge"))
        < most_images_a_run(instance_type("m5.2xlarge"))
        == MOST_IMAGES_A_RUN
    )


def test_a_primary_node_with_less_memory_holds_smaller_runs() -> None:
    fits = most_images_a_run(instance_type("c5.xlarge"))
    assert 100_000 < fits < 1_000_000
    assert fits == most_images_a_run(instance_type("m5.large")) < most_images_a_run(instance_type("c5.2xlarge"))


@pytest.mark.parametrize(
    ("core_type", "n_core", "n_task", "slots"),
    [("m5.xlarge", 2, 0, 8), ("m5.xlarge", 2, 3, 20), ("c5.9xlarge", 1, 1, 72)],
)
def test_there_is_a_task_slot_for_each_vcpu_of_core_and_task_nodes(
    core_type: str, n_core: int, n_task: int, slots: int
) -> None:
    assert task_slots(Settings(core_instance_type=core_type), n_core + n_task) == slots
