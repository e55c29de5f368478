from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.pca import RefreshPolicy
from fruit_contract.regions import DEFAULT_REGION, EU_REGIONS, RegionNotAllowedError
from fruit_contract.release import PinnedRelease
from fruit_pipeline.emr.cluster_request import (
    cluster_request,
    missing_safeguards,
    quoted_run_id,
    unquoted_run_id,
    validate_request,
)
from fruit_pipeline.emr.nodes.fleets import sibling_types
from fruit_pipeline.emr.nodes.instance_types import instance_type, vcpus
from fruit_pipeline.emr.nodes.node_program import NODE_START
from fruit_pipeline.emr.nodes.spark_sizes import MASTER_MIB, driver_sizes, executor_sizes
from fruit_pipeline.emr.steps import MAX_ARGUMENT_CHARACTERS, extract_features_step, refresh_pca_step
from fruit_pipeline.errors import StepTooLongError, UnfitInstanceTypeError, UnknownInstanceTypeError
from fruit_pipeline.settings import ON_DEMAND, SPOT, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = Settings(lake_bucket="fruits-lake")
KEY = "arn:aws:kms:eu-west-1:123456789012:key/12345678-1234-1234-1234-123456789012"
RUN_ID = "manual__2026-11-22T08:00:00+00:00"


def aws_problems(operation: str, request: dict[str, Any]) -> str:
    """Returns what botocore's own model of EMR has against a request; empty if nothing."""
    from botocore.validate import ParamValidator

    shape = emr_model().operation_model(operation).input_shape
    report = str(ParamValidator().validate(request, shape).generate_report())
    return report or "\n".join(value_problems(shape, request, operation))


@cache
def emr_model() -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model("emr")


def value_problems(shape: Any, value: Any, where: str) -> Iterator[str]:
    """Yields what the model's enums, greatest values and patterns have against a value. botocore itself checks names,
    types and least values.
    """
    if shape.type_name == "structure":
        for name, one in value.items():
            yield from value_problems(shape.members[name], one, f"{where}.{name}")
        return
    if shape.type_name == "list":
        for index, one in enumerate(value):
            yield from value_problems(shape.member, one, f"{where}[{index}]")
    elif shape.type_name == "map":
        for key, one in value.items():
            yield from value_problems(shape.key, key, f"{where} key")
            yield from value_problems(shape.value, one, f"{where}.{key}")
    constraints = shape.metadata
    if "enum" in constraints and value not in constraints["enum"]:
        yield f"{where}: {value} is none of {constraints['enum']}"
    size = value if isinstance(value, (int, float)) else len(value)
    if not constraints.get("min", size) <= size <= constraints.get("max", size):
        yield f"{where}: {value} is not within {constraints}"
    # The model writes characters beyond 16 bits as surrogate pairs, which Python's patterns do not know.
    pattern = constraints.get("pattern", "").replace("\\uD800\\uDC00-\\uDBFF\\uDFFF", "\\U00010000-\\U0010FFFF")
    if pattern and not re.fullmatch(pattern, value):
        yield f"{where}: '{value}' does not match {pattern}"


def request(settings: Settings = SETTINGS, task_instances: int = 0, run_id: str = RUN_ID) -> dict[str, Any]:
    return cluster_request(settings, PinnedRelease("r1", "0" * 64), run_id, ["2026-11-22"], task_instances)


def fleets(of: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {fleet["InstanceFleetType"]: fleet for fleet in of["Instances"]["InstanceFleets"]}


def types(fleet: dict[str, Any]) -> list[str]:
    return [config["InstanceType"] for config in fleet["InstanceTypeConfigs"]]


def tags(of: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in of["Tags"]}


def properties(of: dict[str, Any], classification: str) -> dict[str, str]:
    found = next(entry for entry in of["Configurations"] if entry["Classification"] == classification)
    return dict(found.get("Properties") or found["Configurations"][0]["Properties"])


VARIANTS = [
    replace(
        SETTINGS,
        task_market=market,
        subnet_id=subnets,
        security_configuration=security,
        log_key=key,
        core_instance_type=core,
        core_instance_count=n,
    )
    for market, subnets, (security, key), (core, n) in product(
        (SPOT, ON_DEMAND),
        ("", "subnet-1", "subnet-1,subnet-2"),
        (("", ""), ("sec", KEY)),
        (("m5.xlarge", 1), ("r6i.4xlarge", 1000), ("c5.9xlarge", 2)),
    )
]


@pytest.mark.parametrize("task_instances", [0, 1, 1000])
def test_aws_knows_every_field_and_every_value_of_the_cluster_request(task_instances: int) -> None:
    for settings in VARIANTS:
        asked = request(settings, task_instances)
        assert aws_problems("RunJobFlow", asked) == ""
        assert json.loads(json.dumps(asked)) == asked


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"AutoTermination": 1}, "Unknown parameter"),
        ({"ScaleDownBehavior": "AT_ONCE"}, "AT_ONCE is none of"),
        ({"Name": "x" * 257}, "is not within"),
        ({"Name": "a\x00b"}, "does not match"),
        ({"Applications": [{"Name": 7}]}, "Invalid type"),
        (
            {"ManagedScalingPolicy": {"ScalingStrategy": "ADVANCED", "UtilizationPerformanceIndex": 101}},
            "101 is not within",
        ),
        ({"Instances": {"InstanceFleets": [{"InstanceFleetType": "Worker"}]}}, "Worker is none of"),
    ],
)
def test_the_check_against_aws_would_find_what_is_wrong(change: dict[str, Any], found: str) -> None:
    assert found in aws_problems("RunJobFlow", request() | change)


def test_asks_for_one_primary_and_two_core_nodes_on_demand_that_only_the_dag_ends() -> None:
    instances = request()["Instances"]
    nodes = [
        (fleet["InstanceFleetType"], types(fleet)[0], fleet["TargetOnDemandCapacity"], fleet.get("TargetSpotCapacity"))
        for fleet in instances["InstanceFleets"]
    ]
    assert nodes == [("MASTER", "m5.xlarge", 1, None), ("CORE", "m5.xlarge", 2, None)]
    assert instances["KeepJobFlowAliveWhenNoSteps"] is True
    assert instances["TerminationProtected"] is False
    assert request()["AutoTerminationPolicy"] == {"IdleTimeout": 1800}
    assert "InstanceGroups" not in instances


def test_task_nodes_are_spot_nodes_and_on_demand_when_none_can_be_had_in_time() -> None:
    asked = request(replace(SETTINGS, spot_timeout_minutes=15), 3)
    task = fleets(asked)["TASK"]
    assert (task["TargetSpotCapacity"], task["TargetOnDemandCapacity"]) == (3, 0)
    assert task["LaunchSpecifications"] == {
        "SpotSpecification": {
            "TimeoutDurationMinutes": 15,
            "TimeoutAction": "SWITCH_TO_ON_DEMAND",
            "AllocationStrategy": "price-capacity-optimized",
        },
        "OnDemandSpecification": {"AllocationStrategy": "lowest-price"},
    }
    assert all("SpotSpecification" not in fleets(asked)[role]["LaunchSpecifications"] for role in ("MASTER", "CORE"))


def test_task_nodes_may_be_had_on_demand() -> None:
    asked = request(replace(SETTINGS, task_market=ON_DEMAND), 3)
    task = fleets(asked)["TASK"]
    assert task["TargetOnDemandCapacity"] == 3
    assert "TargetSpotCapacity" not in task
    assert "SpotSpecification" not in task["LaunchSpecifications"]
    assert asked["ManagedScalingPolicy"]["ComputeLimits"]["MaximumOnDemandCapacityUnits"] == 5


@pytest.mark.parametrize("task_instances", [0, 3])
def test_scaling_leaves_the_core_nodes_alone_and_adds_spot_nodes_only(task_instances: int) -> None:
    asked = request(task_instances=task_instances)
    assert asked["ManagedScalingPolicy"]["ComputeLimits"] == {
        "UnitType": "InstanceFleetUnits",
        "MinimumCapacityUnits": 2,
        "MaximumCapacityUnits": 2 + task_instances,
        "MaximumOnDemandCapacityUnits": 2,
        "MaximumCoreCapacityUnits": 2,
    }
    assert asked["ScaleDownBehavior"] == "TERMINATE_AT_TASK_COMPLETION"


def test_application_masters_stay_off_spot_nodes() -> None:
    label = {"yarn.node-labels.enabled": "true", "yarn.node-labels.am.default-node-label-expression": "CORE"}
    assert properties(request(task_instances=1), "yarn-site").items() >= label.items()
    for without in (request(), request(replace(SETTINGS, task_market=ON_DEMAND), 1)):
        assert not label.keys() & properties(without, "yarn-site").keys()


@pytest.mark.parametrize(
    ("instance_type", "expected"),
    [
        ("m5.xlarge", ["m5.xlarge", "m5a.xlarge", "m5d.xlarge", "m6i.xlarge", "m6a.xlarge"]),
        ("m6i.4xlarge", ["m6i.4xlarge", "m5.4xlarge", "m5a.4xlarge", "m5d.4xlarge", "m6a.4xlarge"]),
        ("c5.2xlarge", ["c5.2xlarge", "c5a.2xlarge", "c6i.2xlarge", "c6a.2xlarge"]),
        ("r6a.xlarge", ["r6a.xlarge", "r5.xlarge", "r5a.xlarge", "r6i.xlarge"]),
        ("m7g.2xlarge", ["m7g.2xlarge", "m6g.2xlarge"]),
        ("c5.9xlarge", ["c5.9xlarge"]),  # a size of its own
        ("m7i.xlarge", ["m7i.xlarge"]),  # no sibling is known
    ],
)
def test_a_fleet_takes_the_set_type_or_one_of_the_same_size(instance_type: str, expected: list[str]) -> None:
    primary = "m6g.xlarge" if instance_type.startswith("m7g") else "m5.xlarge"
    asked = fleets(request(replace(SETTINGS, primary_instance_type=primary, core_instance_type=instance_type), 1))
    assert types(asked["CORE"]) == types(asked["TASK"]) == expected
    assert {config["WeightedCapacity"] for fleet in asked.values() for config in fleet["InstanceTypeConfigs"]} == {1}
    assert {vcpus(name) for name in types(asked["CORE"])} == {vcpus(instance_type)}


def test_siblings_are_each_others() -> None:
    for one in ("m5.xlarge", "c6a.4xlarge", "r5a.24xlarge", "r7g.16xlarge"):
        assert all(
            one in sibling_types(other, DEFAULT_REGION) and other != one for other in sibling_types(one, DEFAULT_REGION)
        )


def test_nothing_is_reachable_from_outside() -> None:
    instances = request()["Instances"]
    assert not {
        "Ec2KeyName",
        "EmrManagedMasterSecurityGroup",
        "AdditionalMasterSecurityGroups",
        "ServiceAccessSecurityGroup",
    } & set(instances)


def test_subnet_and_security_configuration_are_there_only_when_set() -> None:
    assert not {"Ec2SubnetId", "Ec2SubnetIds"} & set(request()["Instances"])
    assert "SecurityConfiguration" not in request()
    set_both = request(replace(SETTINGS, subnet_id="subnet-1", security_configuration="sec"))
    assert set_both["Instances"]["Ec2SubnetIds"] == ["subnet-1"]
    assert set_both["SecurityConfiguration"] == "sec"
    several = request(replace(SETTINGS, subnet_id="subnet-1,subnet-2"))
    assert several["Instances"]["Ec2SubnetIds"] == ["subnet-1", "subnet-2"]


def test_emr_encrypts_its_logs_with_the_key_that_is_set() -> None:
    assert "LogEncryptionKmsKeyId" not in request()
    assert request(replace(SETTINGS, log_key=KEY))["LogEncryptionKmsKeyId"] == KEY


def test_the_bootstrap_action_is_the_releases_own() -> None:
    (action,) = request()["BootstrapActions"]
    assert action["ScriptBootstrapAction"] == {
        "Path": f"s3://fruits-lake/runs/_node_start/{NODE_START.sha256}.py",
        "Args": ["s3://fruits-lake/code/r1/", "0" * 64],
    }
    assert request()["LogUri"] == "s3://fruits-lake/logs/"


def test_driver_and_executors_have_the_same_python_region_and_encoding() -> None:
    driver, executors = properties(request(), "spark-env"), properties(request(), "spark-defaults")
    for name, value in {
        "PYSPARK_PYTHON": "/opt/fruits/venv/bin/python",
        "AWS_REGION": "eu-west-1",
        "LC_ALL": "C.UTF-8",
    }.items():
        assert driver[name] == value
        assert executors[f"spark.executorEnv.{name}"] == value


def mib(of: dict[str, str], *names: str) -> int:
    assert all(of[name].endswith("m") for name in names)
    return sum(int(of[name].removesuffix("m")) for name in names)


@pytest.mark.parametrize("name", ["c5.xlarge", "c5.4xlarge", "r5.xlarge", "m5.xlarge", "m6i.2xlarge", "m5.24xlarge"])
def test_executors_fill_their_nodes_and_leave_room_for_the_application_master(name: str) -> None:
    asked = request(replace(SETTINGS, core_instance_type=name))
    spark, yarn, sizes = (
        properties(asked, "spark-defaults"),
        properties(asked, "yarn-site"),
        executor_sizes(instance_type(name)),
    )
    executor_mib = mib(spark, "spark.executor.memory", "spark.executor.memoryOverhead")
    assert int(spark["spark.executor.cores"]) * sizes.a_node == vcpus(name)
    assert sizes.a_node * executor_mib + MASTER_MIB <= int(yarn["yarn.nodemanager.resource.memory-mb"])
    assert mib(spark, "spark.yarn.am.memory", "spark.yarn.am.memoryOverhead") == MASTER_MIB
    assert int(yarn["yarn.nodemanager.resource.cpu-vcores"]) == vcpus(name) + 1


def test_the_largest_container_is_that_of_the_core_nodes_however_small_the_primary_node_is() -> None:
    yarn = properties(
        request(replace(SETTINGS, primary_instance_type="c5.xlarge", core_instance_type="r5.4xlarge")), "yarn-site"
    )
    assert yarn["yarn.scheduler.maximum-allocation-mb"] == yarn["yarn.nodemanager.resource.memory-mb"]


@pytest.mark.parametrize("name", ["c5.xlarge", "m5.xlarge", "r5.4xlarge"])
def test_the_driver_is_sized_to_the_primary_node(name: str) -> None:
    spark = properties(request(replace(SETTINGS, primary_instance_type=name)), "spark-defaults")
    sizes = driver_sizes(instance_type(name))
    assert mib(spark, "spark.driver.memory") == sizes.heap_mib
    assert mib(spark, "spark.driver.maxResultSize") == sizes.max_result_mib


def test_all_planned_executors_are_asked_for_at_once_and_those_of_core_nodes_are_kept() -> None:
    spark = properties(request(replace(SETTINGS, core_instance_type="m5.4xlarge"), 3), "spark-defaults")
    assert spark["spark.dynamicAllocation.minExecutors"] == str(2 * 4)
    assert spark["spark.dynamicAllocation.initialExecutors"] == str((2 + 3) * 4)
    assert spark["spark.scheduler.minRegisteredResourcesRatio"] == "0"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"core_instance_type": "m6g.2xlarge"}, UnfitInstanceTypeError, "nodes of one architecture"),
        ({"core_instance_type": "c5.large"}, UnfitInstanceTypeError, "too little memory.*FRUITS_CORE_INSTANCE_TYPE"),
        (
            {"primary_instance_type": "c5.large"},
            UnfitInstanceTypeError,
            "too little memory.*FRUITS_PRIMARY_INSTANCE_TYPE",
        ),
        ({"core_instance_type": "g4dn.xlarge"}, UnknownInstanceTypeError, "FRUITS_CORE_INSTANCE_TYPE"),
        ({"primary_instance_type": "t3.xlarge"}, UnknownInstanceTypeError, "FRUITS_PRIMARY_INSTANCE_TYPE"),
    ],
)
def test_no_cluster_is_asked_for_of_nodes_on_which_the_jobs_can_not_run(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        request(replace(SETTINGS, **change))


def test_tags_and_name_find_the_cluster_of_a_run() -> None:
    assert tags(request()) == {
        "product": "fruits",
        "lake": "fruits-lake",
        "dag_id": "fruit_image_pipeline",
        "run_id": "manual__2026-11-22T08_00_00_00_00",
        "airflow_run_id": RUN_ID,
        "ingest_date": "2026-11-22",
        "release": "r1",
        "for-use-with-amazon-emr-managed-policies": "true",
    }
    by_an_airflow = cluster_request(
        SETTINGS, PinnedRelease("r1", "0" * 64), RUN_ID, [], airflow_id="0190a2c4-0000-7000-8000-000000000001"
    )
    assert tags(by_an_airflow)["airflow"] == "0190a2c4-0000-7000-8000-000000000001"
    assert request()["Name"] == "fruits 2026-11-22 manual__2026-11-22T08_00_00_00_00"
    several = cluster_request(SETTINGS, PinnedRelease("r1", "0" * 64), "x" * 1000, ["2026-11-20", "2026-11-22"])
    assert several["Name"].startswith("fruits 2026-11-20..2026-11-22 xxx")
    assert len(several["Name"]) <= 256


@pytest.mark.parametrize(
    ("run_id", "tag"),
    [
        ("scheduled__2026-11-22T00:00:00+00:00", "scheduled__2026-11-22T00:00:00+00:00"),
        ("a=b, 柿", "a=3Db=2C =E6=9F=BF"),
        ("=41", "=3D41"),
        ("", ""),
    ],
)
def test_a_run_id_is_quoted_into_what_a_tag_may_hold(run_id: str, tag: str) -> None:
    assert quoted_run_id(run_id) == tag
    assert unquoted_run_id(tag) == run_id


@given(st.text(max_size=300))
def test_a_quoted_run_id_is_read_back_as_it_was(run_id: str) -> None:
    quoted = quoted_run_id(run_id)
    if quoted is None:
        assert len(run_id) * 12 > 256
    else:
        assert unquoted_run_id(quoted) == run_id
        assert re.fullmatch(r"[A-Za-z0-9 +=._:/@-]{0,256}", quoted)
    asked = request(run_id=run_id, task_instances=1)
    assert aws_problems("RunJobFlow", asked) == ""
    assert tags(asked).get("airflow_run_id") == (quoted or None)


@given(st.text(max_size=300))
def test_any_tag_can_be_read(tag: str) -> None:
    assert isinstance(unquoted_run_id(tag), str)


def test_a_run_id_that_is_too_long_for_a_tag_has_none() -> None:
    assert quoted_run_id("é" * 43) is None
    assert "airflow_run_id" not in tags(request(run_id="é" * 43))


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    """Returns a request of three task nodes with one value replaced."""
    asked = deepcopy(request(task_instances=3))
    at: Any = asked
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return asked


FLEETS = ["Instances", "InstanceFleets"]
LIMITS = ["ManagedScalingPolicy", "ComputeLimits"]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (["Name"], "x" * 257, "name must have 1 to 256"),
        (["Name"], "", "name must have 1 to 256"),
        (["Name"], "line\nbreak", "name must have 1 to 256"),
        (["Tags", 0, "Value"], "x" * 257, "'product' is too long"),
        (["Tags", 0, "Key"], "x" * 129, "is too long"),
        (["Tags", 0, "Key"], "", "is too long"),
        (["Tags", 0, "Value"], "a,b", "'product' may hold letters"),
        (["Tags", 0, "Key"], "lake", "'lake' is there 2 times"),
        (["AutoTerminationPolicy", "IdleTimeout"], 59, "idle timeout in seconds must be from 60 to 604800, not 59"),
        (["AutoTerminationPolicy", "IdleTimeout"], 604_801, "not 604801"),
        ([*FLEETS, 0, "TargetOnDemandCapacity"], 2, "1 primary node, not 2"),
        ([*FLEETS, 0, "TargetSpotCapacity"], 1, "1 primary node, not 2"),
        ([*FLEETS, 0, "InstanceFleetType"], "CORE", "There are 2 CORE fleets. There must be 1 primary node, not 0"),
        ([*FLEETS, 1, "TargetOnDemandCapacity"], 0, "at least 1 core node"),
        ([*FLEETS, 2, "InstanceTypeConfigs"], [], "TASK fleet must have 1 to 30 instance types"),
        (
            [*FLEETS, 2, "LaunchSpecifications", "SpotSpecification", "TimeoutDurationMinutes"],
            4,
            "spot nodes in minutes must be from 5",
        ),
        ([*LIMITS, "MinimumCapacityUnits"], 6, "can't scale between 6 and 5"),
        ([*LIMITS, "MinimumCapacityUnits"], 0, "can't scale between 0 and 5"),
        ([*LIMITS, "MaximumOnDemandCapacityUnits"], 6, "MaximumOnDemandCapacityUnits must be from 0 to 5, not 6"),
        ([*LIMITS, "MaximumCoreCapacityUnits"], 6, "MaximumCoreCapacityUnits must be from 0 to 5, not 6"),
    ],
)
def test_names_what_emr_would_refuse(path: list[Any], value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        validate_request(changed(path, value))


def test_names_everything_that_is_wrong_at_once_before_emr_is_asked() -> None:
    with pytest.raises(ValueError, match=r"idle timeout.* not 1\."):
        request(replace(SETTINGS, idle_timeout_seconds=1))
    with pytest.raises(ValueError, match=r"at least 1 core node\..*can't scale between 0 and 0.*not 1\."):
        request(replace(SETTINGS, idle_timeout_seconds=1, core_instance_count=0))


def test_says_which_safeguards_of_an_account_are_not_set() -> None:
    assert [line.split(" ")[0] for line in missing_safeguards(SETTINGS)] == [
        "FRUITS_SECURITY_CONFIGURATION",
        "FRUITS_SUBNET_ID",
    ]
    assert missing_safeguards(replace(SETTINGS, subnet_id="subnet-1", security_configuration="sec")) == []


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-2", "eu-central-2", "", "EU-WEST-1"])
def test_no_cluster_is_asked_for_outside_the_eu(region: str) -> None:
    with pytest.raises(RegionNotAllowedError, match="FRUITS_AWS_REGION"):
        request(replace(SETTINGS, region=region))


@pytest.mark.parametrize("region", sorted(EU_REGIONS))
def test_every_eu_region_is_allowed(region: str) -> None:
    assert properties(request(replace(SETTINGS, region=region)), "spark-env")["AWS_REGION"] == region


def test_the_features_step_is_what_a_laptop_runs_too() -> None:
    step = extract_features_step(SETTINGS, "r1", RUN_ID, ["2026-11-22", "2026-11-21"], ["Äpfel 50%", "-odd"])
    assert step["ActionOnFailure"] == "CONTINUE"
    assert step["HadoopJarStep"]["Jar"] == "command-runner.jar"
    code = "/opt/fruits/release"
    assert step["HadoopJarStep"]["Args"] == [
        "spark-submit", "--deploy-mode", "client", "--name", "extract_features",
        "--py-files", f"{code}/fruit_library.zip", f"{code}/jobs/extract_features.py",
        "--lake-bucket", "fruits-lake", "--release", "r1", "--release-folder", code,
        "--run-id", RUN_ID, "--task-slots", "8",
        "--ingest-date", "2026-11-21..2026-11-22", "--category=Äpfel 50%", "--category=-odd",
    ]  # fmt: skip


def test_the_pca_step_has_target_and_policy() -> None:
    arguments = refresh_pca_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"])["HadoopJarStep"]["Args"]
    assert arguments[-14:] == [
        "--target-variance", "0.95", "--policy", "auto", "--margin", "0.005", "--growth", "1.5",
        "--always-below", "5000", "--keep-versions", "3", "--ingest-date", "2026-11-22",
    ]  # fmt: skip
    asked = refresh_pca_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"], RefreshPolicy.ALWAYS)["HadoopJarStep"]["Args"]
    assert asked[asked.index("--policy") + 1] == "always"
    assert "/opt/fruits/release/jobs/refresh_pca.py" in arguments


def test_both_steps_are_told_the_task_slots_of_the_nodes_that_are_planned() -> None:
    settings = replace(SETTINGS, core_instance_type="c5.4xlarge")
    steps = [
        extract_features_step(settings, "r1", RUN_ID, ["2026-11-22"], [], task_instances=3),
        refresh_pca_step(settings, "r1", RUN_ID, ["2026-11-22"], task_instances=3),
    ]
    for step in steps:
        words = step["HadoopJarStep"]["Args"]
        assert words[words.index("--run-id") :][:4] == ["--run-id", RUN_ID, "--task-slots", str((2 + 3) * 16)]


def test_what_a_run_is_allowed_reaches_its_steps() -> None:
    features = extract_features_step(
        SETTINGS, "r1", RUN_ID, ["2026-11-22"], [], retry_rejected=True, accept_rejects=True
    )
    assert {"--retry-rejected", "--accept-rejects"} <= set(features["HadoopJarStep"]["Args"])
    pca = refresh_pca_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"], switch_embedder=True)
    assert "--switch-embedder" in pca["HadoopJarStep"]["Args"]
    for plain in (
        extract_features_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"], []),
        refresh_pca_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"]),
    ):
        assert not {"--retry-rejected", "--accept-rejects", "--switch-embedder"} & set(plain["HadoopJarStep"]["Args"])


def test_aws_knows_every_field_of_the_steps() -> None:
    steps = [
        extract_features_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"], []),
        refresh_pca_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"]),
    ]
    assert aws_problems("AddJobFlowSteps", {"JobFlowId": "j-1", "Steps": steps}) == ""


def test_refuses_more_categories_than_emr_takes_as_arguments() -> None:
    categories = [f"category number {n}" for n in range(MAX_ARGUMENT_CHARACTERS // 20)]
    with pytest.raises(
        StepTooLongError, match="Name fewer categories, or none for all of them; or take a shorter range"
    ):
        extract_features_step(SETTINGS, "r1", RUN_ID, ["2026-11-22"], categories)
