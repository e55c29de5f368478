from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.local_cloud.running_cloud import PATIENCE_SECONDS, LocalCloud, error_of, shell, wait_until

if TYPE_CHECKING:
    from typing import Any

FLEETS = [
    {
        "InstanceFleetType": "MASTER",
        "TargetOnDemandCapacity": 1,
        "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}],
    },
    {
        "InstanceFleetType": "CORE",
        "TargetSpotCapacity": 4,
        "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge", "WeightedCapacity": 2}],
    },
]


def test_an_unknown_cluster_is_named_in_emrs_words(cloud: LocalCloud) -> None:
    emr = cloud.client("emr")
    unknown = ("InvalidRequestException", "Cluster id 'j-NONE' is not valid.")
    for call in (
        emr.describe_cluster,
        emr.list_steps,
        emr.list_instances,
        emr.list_instance_fleets,
        emr.get_auto_termination_policy,
        emr.get_managed_scaling_policy,
    ):
        assert error_of(call, ClusterId="j-NONE") == unknown
    gone = ("ValidationException", "Specified job flow ID does not exist.")
    assert error_of(emr.add_job_flow_steps, JobFlowId="j-NONE", Steps=[shell("true")]) == gone
    assert error_of(emr.terminate_job_flows, JobFlowIds=["j-NONE"]) == gone


def test_an_unknown_step_is_named(cloud: LocalCloud) -> None:
    cluster = cloud.run_cluster(shell("true"))
    expected = ("InvalidRequestException", "Step id 's-NONE' is not valid.")
    assert error_of(cloud.client("emr").describe_step, ClusterId=cluster, StepId="s-NONE") == expected
    assert error_of(cloud.client("emr").cancel_steps, ClusterId=cluster, StepIds=["s-NONE"]) == expected


def test_a_finished_cluster_takes_no_steps_and_may_be_terminated_again(cloud: LocalCloud) -> None:
    emr = cloud.client("emr")
    cluster = cloud.run_cluster(shell("true"))
    cloud.wait_for_cluster(cluster, "TERMINATED")
    code, message = error_of(emr.add_job_flow_steps, JobFlowId=cluster, Steps=[shell("true")])
    assert (code, message) == (
        "ValidationException",
        "A job flow that is shutting down, terminating, or finished may not be modified.",
    )
    emr.terminate_job_flows(JobFlowIds=[cluster])
    assert cloud.cluster_status(cluster)["StateChangeReason"]["Code"] == "ALL_STEPS_COMPLETED"


def test_a_request_that_makes_no_sense_creates_no_cluster(cloud: LocalCloud) -> None:
    emr = cloud.client("emr", region="eu-north-1")
    request = {"Name": "x", "Instances": {"InstanceFleets": FLEETS}}
    assert error_of(emr.run_job_flow, **request | {"Instances": {}})[0] == "ValidationException"
    assert "MASTER" in error_of(emr.run_job_flow, **request | {"Instances": {"InstanceFleets": FLEETS[1:]}})[1]
    assert "between 60 and 604800" in error_of(emr.run_job_flow, **request, AutoTerminationPolicy={"IdleTimeout": 5})[1]
    assert emr.list_clusters()["Clusters"] == []


def test_an_action_it_does_not_offer_is_a_client_error(cloud: LocalCloud) -> None:
    code, message = error_of(cloud.client("emr").list_studios)
    assert (code, message) == ("InvalidRequestException", "The local EMR does not offer ListStudios.")


def test_a_cluster_lives_in_the_region_its_request_was_signed_for(cloud: LocalCloud) -> None:
    cluster = cloud.run_cluster(shell("true"))
    assert cluster in {found["Id"] for found in cloud.client("emr").list_clusters()["Clusters"]}
    assert (
        error_of(cloud.client("emr", region="eu-west-3").describe_cluster, ClusterId=cluster)[0]
        == "InvalidRequestException"
    )


def test_what_was_asked_for_is_told_again(cloud: LocalCloud) -> None:
    emr = cloud.client("emr")
    scaling = {
        "ComputeLimits": {"UnitType": "InstanceFleetUnits", "MinimumCapacityUnits": 2, "MaximumCapacityUnits": 8}
    }
    cluster = emr.run_job_flow(
        Name="fleets",
        LogUri="s3://fruits-lake/logs/",
        ReleaseLabel="emr-7.14.0",
        Instances={"InstanceFleets": FLEETS, "KeepJobFlowAliveWhenNoSteps": True},
        ManagedScalingPolicy=scaling,
        Tags=[{"Key": "run_id", "Value": "manual__1"}],
        Configurations=[{"Classification": "spark-defaults", "Properties": {"spark.sql.shuffle.partitions": "8"}}],
    )["JobFlowId"]
    described = emr.describe_cluster(ClusterId=cluster)["Cluster"]
    assert described["InstanceCollectionType"] == "INSTANCE_FLEET"
    assert described["Tags"] == [{"Key": "run_id", "Value": "manual__1"}]
    assert (described["Name"], described["LogUri"], described["ReleaseLabel"]) == (
        "fleets",
        "s3://fruits-lake/logs/",
        "emr-7.14.0",
    )
    assert described["Configurations"][0]["Properties"] == {"spark.sql.shuffle.partitions": "8"}
    assert emr.get_managed_scaling_policy(ClusterId=cluster)["ManagedScalingPolicy"] == scaling
    primary, core = emr.list_instance_fleets(ClusterId=cluster)["InstanceFleets"]
    assert (primary["ProvisionedOnDemandCapacity"], core["ProvisionedSpotCapacity"]) == (1, 4)
    assert core["InstanceTypeSpecifications"][0]["WeightedCapacity"] == 2
    emr.terminate_job_flows(JobFlowIds=[cluster])


def test_steps_are_listed_newest_first_and_by_state_and_id(cloud: LocalCloud) -> None:
    emr = cloud.client("emr")
    cluster = cloud.run_cluster(shell("exit 1"), keep_alive=True)
    failed = cloud.wait_for_step(cluster, 0, "FAILED")["Id"]
    (good,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[shell("true")])["StepIds"]
    cloud.wait_for_step(cluster, 1, "COMPLETED")
    assert [step["Id"] for step in emr.list_steps(ClusterId=cluster)["Steps"]] == [good, failed]
    assert [step["Id"] for step in emr.list_steps(ClusterId=cluster, StepStates=["FAILED"])["Steps"]] == [failed]
    assert [step["Id"] for step in emr.list_steps(ClusterId=cluster, StepIds=[good])["Steps"]] == [good]
    emr.terminate_job_flows(JobFlowIds=[cluster])


def test_clusters_are_listed_newest_first_by_state_and_age_over_many_pages(cloud: LocalCloud) -> None:
    emr = cloud.client("emr", region="eu-central-1")

    def listed(**filters: Any) -> list[str]:
        pages = emr.get_paginator("list_clusters").paginate(**filters)
        return [cluster["Id"] for page in pages for cluster in page["Clusters"]]

    def run(*, keep_alive: bool) -> str:
        groups = [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}]
        instances = {"InstanceGroups": groups, "KeepJobFlowAliveWhenNoSteps": keep_alive}
        return str(emr.run_job_flow(Name="one of many", Instances=instances)["JobFlowId"])

    def ended() -> dict[str, Any]:
        return {"number": len(listed(ClusterStates=["TERMINATED"]))}

    clusters = [run(keep_alive=False) for _ in range(55)]
    between = datetime.now(UTC)
    waiting = run(keep_alive=True)
    assert listed() == [waiting, *reversed(clusters)]
    assert listed(CreatedAfter=between) == [waiting]
    assert listed(CreatedBefore=between) == list(reversed(clusters))
    wait_until(ended, lambda seen: seen["number"] == len(clusters), PATIENCE_SECONDS)
    assert listed(ClusterStates=["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]) == [waiting]
    assert listed(ClusterStates=["TERMINATED"]) == list(reversed(clusters))
    emr.terminate_job_flows(JobFlowIds=[waiting])
    assert error_of(emr.list_clusters, Marker="j-NONE") == ("InvalidRequestException", "Marker is not valid.")


@pytest.mark.parametrize("path", ["/", "/moto-api/reset"])
def test_nobody_without_the_credentials_is_heard(cloud: LocalCloud, path: str) -> None:
    answer = httpx.post(cloud.emr_url + path, content=b"{}", headers={"X-Amz-Target": "ElasticMapReduce.RunJobFlow"})
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers
