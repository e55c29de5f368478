"""Holds an EMR in memory, and what the operators that drive it need around them."""

# ruff: noqa: ARG002, N803  # boto3 names its arguments so

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from botocore.exceptions import ClientError

from fruit_contract.release import PinnedRelease
from fruit_pipeline.emr.cluster_request import cluster_request
from fruit_pipeline.emr.states import tags_of
from fruit_pipeline.places import Place
from fruit_pipeline.settings import Settings
from tests.plugins.sample_lake import BUCKET, DAY, RUN_ID

DAG_ID = "fruit_image_pipeline"
AIRFLOW_ID = "0190a2c4-0000-7000-8000-000000000001"
SETTINGS = Settings(lake_bucket=BUCKET, poll_seconds=1)
PLACE = Place.of(SETTINGS)
OF_THE_PLAN = PLACE.as_dict()
STEP = {
    "Name": "refresh_pca",
    "ActionOnFailure": "CONTINUE",
    "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["true"]},
}
FILES = "fruit_pipeline.operators"


def request_of(airflow_id: str) -> dict[str, Any]:
    """Returns the cluster request of the run's plan."""
    return cluster_request(SETTINGS, PinnedRelease("r1", "0" * 64), RUN_ID, [DAY], airflow_id=airflow_id)


def api_error(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": f"{code}!"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "x"
    )


class Emr:
    """Plays EMR in memory. The next requests end in the errors of `lose` although they were carried out, or in those of
    `refuse` without being carried out.
    """

    def __init__(self) -> None:
        self.clusters: dict[str, dict[str, Any]] = {}
        self.steps: dict[str, list[dict[str, Any]]] = {}
        self.lose: list[Exception] = []
        self.refuse: list[Exception] = []
        self.cancelled: list[str] = []
        self.terminated: list[str] = []
        self.denied: set[str] = set()
        self.idle_timeouts: list[int] = []
        self.clock = 0
        self.elsewhere: dict[str, Emr] = {}
        self.seconds_to_end: float | None = None  # of clusters that were told to, if it is to be seen

    def client(self, settings: Settings, **_: Any) -> Emr:
        """Returns the EMR of the settings' region: this one, unless the region is one of those in `elsewhere`."""
        return self.elsewhere.get(settings.region, self)

    def cluster(
        self, state: str = "WAITING", run_id: str = RUN_ID, settings: Settings = SETTINGS, airflow_id: str = ""
    ) -> str:
        request = cluster_request(settings, PinnedRelease("r1", "0" * 64), run_id, [DAY], airflow_id=airflow_id)
        cluster_id = f"j-{len(self.clusters) + 1}"
        self.clusters[cluster_id] = {
            "Id": cluster_id,
            "Name": request["Name"],
            "Tags": request["Tags"],
            "LogUri": request["LogUri"],
            "Status": {"State": state, "Timeline": {"CreationDateTime": self._now()}},
        }
        self.steps[cluster_id] = []
        return cluster_id

    def step(self, cluster_id: str, state: str, name: str = "refresh_pca", *, started: bool = True) -> str:
        step_id = f"s-{sum(map(len, self.steps.values())) + 1}"
        timeline = {"CreationDateTime": self._now()}
        if started:
            timeline |= {"StartDateTime": self._now(), "EndDateTime": self._now()}
        self.steps[cluster_id].append({"Id": step_id, "Name": name, "Status": {"State": state, "Timeline": timeline}})
        return step_id

    def run_job_flow(self, **request: Any) -> Any:
        self._maybe(self.refuse)
        airflow_id = tags_of(request).get("airflow", "")
        assert request == request_of(airflow_id)
        cluster_id = self.cluster("STARTING", airflow_id=airflow_id)
        self._maybe(self.lose)
        return {"JobFlowId": cluster_id}

    def add_job_flow_steps(self, *, JobFlowId: str, Steps: list[Any]) -> Any:
        self._maybe(self.refuse)
        ids = [self.step(JobFlowId, "PENDING", step["Name"], started=False) for step in Steps]
        self._maybe(self.lose)
        return {"StepIds": ids}

    def describe_cluster(self, *, ClusterId: str) -> Any:
        if ClusterId in self.denied:
            raise api_error("AccessDeniedException")
        return {"Cluster": self.clusters[ClusterId]}

    def describe_step(self, *, ClusterId: str, StepId: str) -> Any:
        return {"Step": next(step for step in self.steps[ClusterId] if step["Id"] == StepId)}

    def cancel_steps(self, *, ClusterId: str, StepIds: list[str], StepCancellationOption: str) -> None:
        self.cancelled += StepIds

    def put_auto_termination_policy(self, *, ClusterId: str, AutoTerminationPolicy: dict[str, int]) -> None:
        self._maybe(self.refuse)
        self.idle_timeouts.append(AutoTerminationPolicy["IdleTimeout"])

    def terminate_job_flows(self, *, JobFlowIds: list[str]) -> None:
        self.terminated += JobFlowIds

    def pass_time(self, seconds: float) -> None:
        if self.seconds_to_end is not None:
            self.seconds_to_end -= seconds
            if self.seconds_to_end <= 0:
                for cluster_id in self.terminated:
                    self.clusters[cluster_id]["Status"]["State"] = "TERMINATED"

    def get_paginator(self, name: str) -> Any:
        def clusters(ClusterStates: list[str] | None = None, **_: Any) -> Any:
            found = [
                cluster
                for cluster in self.clusters.values()
                if not ClusterStates or cluster["Status"]["State"] in ClusterStates
            ]
            return [{"Clusters": [{"Id": cluster["Id"], "Name": cluster["Name"]} for cluster in found]}]

        def steps(ClusterId: str, StepStates: list[str] | None = None) -> Any:
            found = [step for step in self.steps[ClusterId] if not StepStates or step["Status"]["State"] in StepStates]
            return [{"Steps": list(reversed(found))}]

        return SimpleNamespace(paginate={"list_clusters": clusters, "list_steps": steps}[name])

    def _maybe(self, errors: list[Exception]) -> None:
        if errors:
            raise errors.pop(0)

    def _now(self) -> datetime:
        self.clock += 1
        return datetime(2026, 11, 22, 8, self.clock, tzinfo=UTC)


def context(place: Any = OF_THE_PLAN, **states: str | None) -> Any:
    """Returns the context of a task of the run. `place` is what the plan says, if there is one."""
    task_instance = mock.Mock()
    plan = {"place": place, "cluster_request": request_of(AIRFLOW_ID)} if place else {}
    task_instance.xcom_pull = lambda task_ids, key: {"plan_run": plan}[task_ids].get(key)
    task_instance.get_task_states.return_value = {RUN_ID: states}
    task_instance.dag_id = DAG_ID
    task_instance.try_number = 1
    task_instance.dag_version_id = UUID(AIRFLOW_ID)
    task_instance.get_dr_count.return_value = 0  # no other run is under way
    return {"dag_run": SimpleNamespace(run_id=RUN_ID), "ti": task_instance}


def of_the_dag(make: Any) -> Any:
    """Returns the operator as the DAG has it; the DAG's id is part of a cluster's tags."""
    from airflow.sdk import DAG

    with DAG(DAG_ID, schedule=None):
        operator = make()
    hook = SimpleNamespace(conn=operator_client(), conn_region_name="eu-west-1", conn_partition="aws")
    operator.__dict__["hook"] = hook  # a cached property of the provider's base class
    return operator


def operator_client() -> Any:
    return SimpleNamespace(describe_cluster=lambda **_: {"Cluster": {"LogUri": f"s3://{BUCKET}/logs/"}})


def deferred(operator: Any, **arguments: Any) -> Any:
    """Executes the operator and returns the TaskDeferred with which it waits."""
    from airflow.sdk.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context(), **arguments)
    return caught.value


def run_step(cluster_id: str, settings: Settings = SETTINGS, **options: Any) -> Any:
    from fruit_pipeline.operators.run_step import RunStepOperator

    return of_the_dag(
        lambda: RunStepOperator(
            task_id="refresh_pca", settings=settings, place=OF_THE_PLAN, job_flow_id=cluster_id, steps=[STEP], **options
        )
    )


def create_cluster(settings: Settings = SETTINGS, airflow_id: str = AIRFLOW_ID) -> Any:
    from fruit_pipeline.operators.create_cluster import CreateClusterOperator

    return of_the_dag(
        lambda: CreateClusterOperator(
            task_id="create_cluster",
            settings=settings,
            place=OF_THE_PLAN,
            job_flow_overrides=request_of(airflow_id),
            teardown_task_id="terminate_cluster",
        )
    )
