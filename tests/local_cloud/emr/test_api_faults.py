from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ConnectionClosedError

from local_cloud.emr.api_faults import cluster_names
from local_cloud.faults import Fault, FaultKind
from tests.local_cloud.running_cloud import KEYS, error_of, shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.local_cloud.running_cloud import LocalCloud


def request_for(name: str) -> dict[str, Any]:
    groups = [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}]
    return {"Name": name, "ReleaseLabel": "emr-7.14.0", "Instances": {"InstanceGroups": groups}}


def clusters_named(emr: Any, name: str) -> list[str]:
    pages = emr.get_paginator("list_clusters").paginate()
    return [cluster["Id"] for page in pages for cluster in page["Clusters"] if cluster["Name"] == name]


def test_a_throttled_request_is_not_carried_out(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    emr = cloud.client("emr", attempts=1)
    commit(Fault("throttle", FaultKind.THROTTLE, cluster="throttled", action="RunJobFlow", times=2))
    for _ in range(2):
        assert error_of(emr.run_job_flow, **request_for("throttled one")) == ("ThrottlingException", "Rate exceeded")
    assert clusters_named(emr, "throttled one") == []
    emr.run_job_flow(**request_for("throttled one"))
    assert len(clusters_named(emr, "throttled one")) == 1


def test_a_refused_request_is_not_carried_out(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    emr = cloud.client("emr", attempts=1)
    commit(Fault("refuse", FaultKind.REFUSE, cluster="refused", action="RunJobFlow"))
    assert error_of(emr.run_job_flow, **request_for("refused"))[0] == "InternalServerException"
    assert clusters_named(emr, "refused") == []


def test_an_accepted_request_may_end_in_an_error(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    emr = cloud.client("emr", attempts=1)
    cluster = cloud.run_cluster(keep_alive=True, Name="takes steps")
    commit(Fault("error after", FaultKind.ACCEPT_THEN_ERROR, cluster="takes steps", action="AddJobFlowSteps"))
    assert error_of(emr.add_job_flow_steps, JobFlowId=cluster, Steps=[shell("true")])[0] == "InternalServerException"
    assert len(cloud.steps(cluster)) == 1
    emr.terminate_job_flows(JobFlowIds=[cluster])


def test_an_accepted_request_may_get_no_answer_at_all(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    emr = cloud.client("emr", attempts=1)
    commit(Fault("drop", FaultKind.ACCEPT_THEN_DROP, cluster="dropped", action="RunJobFlow"))
    with pytest.raises(ConnectionClosedError):
        emr.run_job_flow(**request_for("dropped"))
    assert len(clusters_named(emr, "dropped")) == 1


def test_a_client_that_repeats_a_dropped_request_gets_a_second_cluster(
    cloud: LocalCloud, commit: Callable[..., None]
) -> None:
    emr = cloud.client("emr", attempts=2)
    commit(Fault("drop twice", FaultKind.ACCEPT_THEN_DROP, cluster="repeated", action="RunJobFlow"))
    emr.run_job_flow(**request_for("repeated"))
    assert len(clusters_named(emr, "repeated")) == 2


def test_a_slow_answer_is_the_right_one(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    cluster = cloud.run_cluster(Name="answered slowly")
    commit(Fault("slow", FaultKind.SLOW, cluster="answered slowly", action="DescribeCluster", seconds=0.7))
    started = time.monotonic()
    described = cloud.client("emr").describe_cluster(ClusterId=cluster)["Cluster"]
    assert time.monotonic() - started >= 0.7
    assert described["Id"] == cluster


def test_a_fault_of_one_cluster_leaves_others_and_lists_alone(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    emr = cloud.client("emr", attempts=1)
    struck, spared = cloud.run_cluster(Name="this one"), cloud.run_cluster(Name="that one")
    commit(Fault("any action", FaultKind.THROTTLE, cluster="this", times=2))
    emr.list_clusters()
    emr.describe_cluster(ClusterId=spared)
    assert error_of(emr.terminate_job_flows, JobFlowIds=[spared, struck])[0] == "ThrottlingException"
    assert error_of(emr.list_steps, ClusterId=struck)[0] == "ThrottlingException"
    emr.list_steps(ClusterId=struck)


def test_the_list_of_clusters_is_struck_by_faults_of_no_cluster(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    commit(Fault("list", FaultKind.THROTTLE, action="ListClusters"))
    assert error_of(cloud.client("emr", attempts=1).list_clusters)[0] == "ThrottlingException"


@pytest.mark.slow
def test_an_asynchronous_client_is_answered_and_struck_alike(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    cluster = cloud.run_cluster(shell("true"), shell("true"), Name="watched")
    commit(Fault("drop a look", FaultKind.ACCEPT_THEN_DROP, cluster="watched", action="DescribeCluster"))

    async def look() -> list[str]:
        names = {"aws_access_key_id": KEYS[0], "aws_secret_access_key": KEYS[1]}
        async with get_session().create_client(
            "emr", region_name="eu-west-1", endpoint_url=cloud.emr_url, **names
        ) as emr:
            await emr.describe_cluster(ClusterId=cluster)  # asks again by itself
            await emr.get_waiter("cluster_terminated").wait(
                ClusterId=cluster, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
            )
            pages = emr.get_paginator("list_steps").paginate(ClusterId=cluster, StepStates=["COMPLETED"])
            return [step["Id"] async for page in pages for step in page["Steps"]]

    assert asyncio.run(look()) == [step["Id"] for step in reversed(cloud.steps(cluster))]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"Name": "new", "Instances": {}}', ["new"]),
        (b'{"ClusterId": "j-1"}', ["name of j-1"]),
        (b'{"JobFlowId": "j-1", "Steps": []}', ["name of j-1"]),
        (b'{"ResourceId": "j-1"}', ["name of j-1"]),
        (b'{"JobFlowIds": ["j-1", "j-2"]}', ["name of j-1", "name of j-2"]),
        (b'{"Name": "security", "SecurityConfiguration": "{}"}', []),
        (b"", []),
        (b"[]", []),
        (b"{", []),
    ],
)
def test_the_clusters_of_a_request_are_found(body: bytes, expected: list[str]) -> None:
    def names_of(cluster_ids: Iterable[str]) -> list[str]:
        return [f"name of {cluster_id}" for cluster_id in cluster_ids]

    assert list(cluster_names(body, names_of)) == expected
