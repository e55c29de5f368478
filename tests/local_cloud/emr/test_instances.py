from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.local_cloud.running_cloud import error_of

if TYPE_CHECKING:
    from tests.local_cloud.running_cloud import LocalCloud

FLEETS = [
    {
        "InstanceFleetType": "MASTER",
        "TargetOnDemandCapacity": 1,
        "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}],
    },
    {
        "InstanceFleetType": "CORE",
        "TargetOnDemandCapacity": 8,
        "TargetSpotCapacity": 9,
        "InstanceTypeConfigs": [
            {"InstanceType": "m5.2xlarge", "WeightedCapacity": 8},
            {"InstanceType": "m5.xlarge", "WeightedCapacity": 4},
        ],
    },
    {
        "InstanceFleetType": "TASK",
        "TargetSpotCapacity": 120,
        "InstanceTypeConfigs": [{"InstanceType": "c5.xlarge", "BidPriceAsPercentageOfOnDemandPrice": 60}],
        "LaunchSpecifications": {
            "SpotSpecification": {
                "TimeoutDurationMinutes": 10,
                "TimeoutAction": "SWITCH_TO_ON_DEMAND",
                "AllocationStrategy": "capacity-optimized",
            }
        },
    },
]


def listed(cloud: LocalCloud, cluster: str, **filters: Any) -> list[dict[str, Any]]:
    pages = cloud.client("emr").get_paginator("list_instances").paginate(ClusterId=cluster, **filters)
    return [instance for page in pages for instance in page["Instances"]]


def test_a_fleet_has_an_instance_for_each_unit_of_its_capacity(cloud: LocalCloud) -> None:
    emr = cloud.client("emr")
    cluster = emr.run_job_flow(
        Name="fleets",
        ReleaseLabel="emr-7.14.0",
        Instances={
            "InstanceFleets": FLEETS,
            "KeepJobFlowAliveWhenNoSteps": True,
            "Ec2SubnetIds": ["subnet-1", "subnet-2"],
        },
        Configurations=[{"Classification": "yarn-site", "Properties": {"yarn.node-labels.enabled": "true"}}],
    )["JobFlowId"]
    cloud.wait_for_cluster(cluster, "WAITING")
    primary, core, task = (
        fleet
        for page in emr.get_paginator("list_instance_fleets").paginate(ClusterId=cluster)
        for fleet in page["InstanceFleets"]
    )
    assert (core["TargetSpotCapacity"], core["ProvisionedSpotCapacity"]) == (9, 16)
    everything = listed(cloud, cluster)
    assert Counter((entry["InstanceFleetId"], entry["Market"], entry["InstanceType"]) for entry in everything) == {
        (primary["Id"], "ON_DEMAND", "m5.xlarge"): 1,
        (core["Id"], "ON_DEMAND", "m5.2xlarge"): 1,
        (core["Id"], "SPOT", "m5.2xlarge"): 2,
        (task["Id"], "SPOT", "c5.xlarge"): 120,
    }
    assert len({entry["Id"] for entry in everything}) == len({entry["Ec2InstanceId"] for entry in everything}) == 124
    assert listed(cloud, cluster) == everything
    assert "InstanceGroupId" not in everything[0]
    times = cloud.cluster_status(cluster)["Timeline"]
    assert all(entry["Status"] == {"State": "RUNNING", "Timeline": times} for entry in everything)

    assert listed(cloud, cluster, InstanceFleetId=core["Id"]) == everything[1:4]
    assert listed(cloud, cluster, InstanceFleetType="TASK") == everything[4:]
    assert listed(cloud, cluster, InstanceStates=["TERMINATED"]) == []

    attributes = emr.describe_cluster(ClusterId=cluster)["Cluster"]["Ec2InstanceAttributes"]
    assert (attributes["Ec2SubnetId"], attributes["RequestedEc2SubnetIds"]) == ("subnet-1", ["subnet-1", "subnet-2"])
    emr.terminate_job_flows(JobFlowIds=[cluster])
    ended_at = cloud.wait_for_cluster(cluster, "TERMINATED")["Timeline"]["EndDateTime"]
    assert {
        entry["Status"]["Timeline"]["EndDateTime"] for entry in listed(cloud, cluster, InstanceStates=["TERMINATED"])
    } == {ended_at}


def test_a_group_has_as_many_instances_as_it_was_asked_for(cloud: LocalCloud) -> None:
    labels = [
        {
            "Classification": "yarn-site",
            "Properties": {"yarn.nodemanager.node-labels.provider.configured-node-partition": "CORE"},
        }
    ]
    groups = [
        {"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1},
        {
            "InstanceRole": "CORE",
            "InstanceType": "m5.2xlarge",
            "InstanceCount": 2,
            "Market": "SPOT",
            "Configurations": labels,
        },
    ]
    cluster = cloud.run_cluster(Instances={"InstanceGroups": groups}, keep_alive=True)
    cloud.wait_for_cluster(cluster, "WAITING")  # so that its instances stay as they are
    told = {
        group["InstanceGroupType"]: group
        for group in cloud.client("emr").list_instance_groups(ClusterId=cluster)["InstanceGroups"]
    }
    assert told["CORE"]["Configurations"] == labels
    primary, *core = listed(cloud, cluster)
    assert (primary["InstanceGroupId"], primary["Market"], primary["InstanceType"]) == (
        told["MASTER"]["Id"],
        "ON_DEMAND",
        "m5.xlarge",
    )
    assert [(entry["InstanceGroupId"], entry["Market"]) for entry in core] == [(told["CORE"]["Id"], "SPOT")] * 2
    assert listed(cloud, cluster, InstanceGroupTypes=["CORE"]) == core
    assert listed(cloud, cluster, InstanceGroupId=told["MASTER"]["Id"]) == [primary]
    cloud.client("emr").terminate_job_flows(JobFlowIds=[cluster])


def test_fleets_are_not_asked_about_groups_nor_the_other_way_round(cloud: LocalCloud) -> None:
    emr = cloud.client("emr")
    grouped = cloud.run_cluster()
    fleeted = emr.run_job_flow(Name="fleets", ReleaseLabel="emr-7.14.0", Instances={"InstanceFleets": FLEETS[:1]})[
        "JobFlowId"
    ]
    for call, cluster, words in (
        (emr.list_instance_fleets, grouped, "uses instance groups"),
        (emr.list_instance_groups, fleeted, "uses instance fleets"),
    ):
        code, message = error_of(call, ClusterId=cluster)
        assert code == "InvalidRequestException"
        assert words in message
