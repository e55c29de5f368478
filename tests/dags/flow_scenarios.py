"""Runs the flow through Airflow's own task runner against moto's S3 and EMR, scenario by scenario.

It is a process of its own, because Airflow changes logging, environment and database connections of the process it runs
in. Steps end at once, as the scenario says; a completed step has written what a real one writes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import boto3

from fruit_cli.stack.airflow_scheduler import share_service_descriptions
from fruit_contract.lake import safe_run_id, step_logs_prefix
from fruit_contract.release import EXTRACT_FEATURES_STEP, REFRESH_PCA_STEP, RELEASE_FORMAT
from fruit_pipeline.alerts.failed_run import FAILURE_KEY
from fruit_pipeline.lake.store import Lake
from local_cloud.project import PROJECT
from tests.plugins.sample_lake import DAY, EMBEDDER, RUN_ID, SampleLake, build_sample_lake, held_dates

if TYPE_CHECKING:
    from collections.abc import Callable

DAGS = PROJECT / "dags"
BUCKET = "fruits-lake"


@dataclass(frozen=True)
class Scenario:
    """Says what differs from a run in which all goes well."""

    conf: dict[str, Any] = field(default_factory=lambda: {"ingest_date": DAY})
    logical_date: datetime | None = None
    is_scheduled: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    failing_step: str | None = None
    endless_step: str | None = None
    tells_instances: bool = True
    delivered: Callable[[str], bool] = lambda key: key.startswith("raw/")
    after_delivery: Callable[[Any], Any] = lambda _: None


def put_forgotten_image(s3: Any) -> None:
    """Writes an image that is in the listing and in no table.

    The check forgives what arrives in the second of the listing itself, so this lets that second pass.
    """
    s3.put_object(Bucket=BUCKET, Key=f"raw/ingest_date={DAY}/Kiwi/forgotten.jpg", Body=b"x")
    time.sleep(1.1)


def put_claim_of_an_ended_run(s3: Any) -> None:
    """Writes a claim in the form of an earlier release."""
    claim = {"run_id": "manual__ended", "ingest_dates": [DAY]}
    s3.put_object(Bucket=BUCKET, Key="runs/_claims/manual__ended.json", Body=json.dumps(claim).encode())


SCENARIOS = {
    "all_well": Scenario(conf={}, logical_date=datetime(2026, 11, 22, tzinfo=UTC)),
    "features_step_fails": Scenario(failing_step=EXTRACT_FEATURES_STEP),
    "pca_step_fails": Scenario(failing_step=REFRESH_PCA_STEP),
    "step_never_ends": Scenario(
        endless_step=EXTRACT_FEATURES_STEP,
        environment={
            "FRUITS_STEP_TIMEOUT_HOURS": "0.0005",
            "FRUITS_CLUSTER_START_MINUTES": "0.001",
            "FRUITS_FIXED_WORK_MINUTES": "0.001",
        },
    ),
    "receipt_fails": Scenario(tells_instances=False),
    "above_the_budget": Scenario(environment={"FRUITS_BUDGET_EUR": "0.01"}),
    "above_the_budget_on_purpose": Scenario(
        conf={"ingest_date": DAY, "over_budget": True}, environment={"FRUITS_BUDGET_EUR": "0.01"}
    ),
    "image_forgotten": Scenario(after_delivery=put_forgotten_image),
    "empty_batch": Scenario(delivered=lambda key: key.endswith("_SUCCESS")),
    "nothing_new": Scenario(delivered=lambda _: True),
    "batch_of_the_day_before_was_late": Scenario(
        conf={}, logical_date=datetime(2026, 11, 23, tzinfo=UTC), is_scheduled=True
    ),
    "no_batch_for_days": Scenario(
        conf={}, is_scheduled=True, environment={"FRUITS_BATCH_TIMEOUT_HOURS": "0.0015"}, delivered=lambda _: False
    ),
    "range": Scenario(conf={"ingest_date": "2026-11-20", "last_ingest_date": DAY}),
    "abandoned_claim": Scenario(after_delivery=put_claim_of_an_ended_run),
    "outside_the_eu": Scenario(environment={"FRUITS_AWS_REGION": "eu-west-2"}),
    "nothing_published": Scenario(environment={"FRUITS_RELEASE": "r9"}),
    "nodes_of_another_processor": Scenario(
        environment={"FRUITS_CORE_INSTANCE_TYPE": "m6g.xlarge", "FRUITS_BUDGET_EUR": "1000"}
    ),
}


def main(names: list[str], results: Path) -> None:
    """Runs the scenarios and writes {scenario: {run, tasks, clusters, objects}} as JSON."""
    import httpx
    from moto.server import ThreadedMotoServer

    share_service_descriptions()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        extra = {"service_config": {name: {"endpoint_url": address} for name in ("s3", "emr")}}
        os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(
            {"conn_type": "aws", "login": "testing", "password": "testing", "extra": extra}
        )
        session = boto3.Session("testing", "testing", region_name="eu-west-1")
        clients = {name: session.client(name, endpoint_url=address) for name in ("s3", "emr")}
        sample = build_sample_lake()
        found = {}
        for name in names:
            print(f"##### {name}", flush=True)
            httpx.post(f"{address}/moto-api/reset").raise_for_status()
            found[name] = run_scenario(name, SCENARIOS[name], clients, sample)
        results.write_text(json.dumps(found), encoding="utf-8")
    finally:
        server.stop()


def run_scenario(name: str, scenario: Scenario, clients: dict[str, Any], sample: SampleLake) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.definitions.dag import SerializedDAG
    from airflow.utils.types import DagRunType
    from moto.core.responses import ActionResult
    from moto.emr.exceptions import ValidationException
    from moto.emr.models import Cluster
    from moto.emr.responses import ElasticMapReduceResponse

    s3 = clients["s3"]
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    copy_objects(sample, s3, scenario.delivered)
    scenario.after_delivery(s3)
    manifest = json.dumps({"format": RELEASE_FORMAT, "release": "r1", "embedder_id": EMBEDDER, "files": {}}).encode()
    s3.put_object(Bucket=BUCKET, Key="code/r1/release.json", Body=manifest)
    pointer = {"release": "r1", "manifest_sha256": hashlib.sha256(manifest).hexdigest()}
    s3.put_object(Bucket=BUCKET, Key="code/current.json", Body=json.dumps(pointer).encode())
    add_steps = Cluster.add_steps

    def add_and_end_steps(cluster: Any, steps: list[dict[str, Any]]) -> Any:
        added = add_steps(cluster, steps)
        for step in added:
            end_step(step, cluster.id, scenario, s3, sample)
        return added

    cancelled: list[str] = []

    def cancel_steps(response: Any) -> ActionResult:
        cancelled.extend(response._get_param("StepIds"))
        return ActionResult({"CancelStepsInfoList": []})

    def list_no_fleets(_: Any) -> ActionResult:
        if not scenario.tells_instances:
            raise ValidationException("not today")
        return ActionResult({"InstanceFleets": []})

    settings = {
        "FRUITS_LAKE_BUCKET": BUCKET,
        "FRUITS_POLL_SECONDS": "1",
        "FRUITS_RETRY_DELAY_SECONDS": "1",
        "FRUITS_LOG_WAIT_MINUTES": "0.05",
    }
    with (
        mock.patch.dict(os.environ, settings | scenario.environment),
        mock.patch.object(Cluster, "add_steps", add_and_end_steps),
        # moto has neither.
        mock.patch.object(ElasticMapReduceResponse, "cancel_steps", cancel_steps, create=True),
        mock.patch.object(ElasticMapReduceResponse, "list_instance_fleets", list_no_fleets, create=True),
    ):
        dag = DagBag(DAGS / "fruit_image_pipeline.py").dags["fruit_image_pipeline"]
        for task in dag.tasks:
            task.retry_delay = timedelta(0)
        # DAG.test() can't look up deadlines.
        dag.deadline = None
        start_run = SerializedDAG.create_dagrun
        # DAG.test() knows only runs by hand.
        scheduled = {"run_type": DagRunType.SCHEDULED, "run_id": f"scheduled__{name}"} if scenario.is_scheduled else {}
        with mock.patch.object(
            SerializedDAG, "create_dagrun", lambda dag, **facts: start_run(dag, **facts | scheduled)
        ):
            run = dag.test(run_conf=scenario.conf, logical_date=scenario.logical_date)
    clusters = [
        clients["emr"].describe_cluster(ClusterId=entry["Id"])["Cluster"]
        for entry in clients["emr"].list_clusters()["Clusters"]
    ]
    return {
        "run": str(run.state),
        "run_id": run.run_id,
        "tasks": {instance.task_id: str(instance.state) for instance in run.get_task_instances()},
        "clusters": [cluster["Status"]["State"] for cluster in clusters],
        "cluster_tags": [{tag["Key"]: tag["Value"] for tag in cluster["Tags"]} for cluster in clusters],
        "failures": failures_of(run),
        "cancelled_steps": len(cancelled),
        "claims": held_dates(Lake(s3, BUCKET)),
        "records": [
            json.loads(s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read())
            for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix="runs/", Delimiter="/").get("Contents", ())
        ],
        "objects": [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())],
    }


def failures_of(run: Any) -> dict[str, dict[str, Any]]:
    """Returns what each failed task left for the message at the run's end. (DAG.test() calls back where XComs can't be
    read.)
    """
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        kept: Any = session.scalars(XComModel.get_many(run_id=run.run_id, dag_ids=run.dag_id, key=FAILURE_KEY)).all()
        return {entry.task_id: XComModel.deserialize_value(entry) for entry in kept}


def end_step(step: Any, cluster_id: str, scenario: Scenario, s3: Any, sample: SampleLake) -> None:
    step.start()
    if step.name == scenario.endless_step:
        return
    step.end_date_time = step.start_date_time
    if step.name == scenario.failing_step:
        step.state = "FAILED"
        log = gzip.compress(b"Traceback (most recent call last):\nValueError: the step broke on purpose\n")
        s3.put_object(Bucket=BUCKET, Key=f"{step_logs_prefix(cluster_id, step.id)}stderr.gz", Body=log)
        return
    step.state = "COMPLETED"
    run_id = safe_run_id(step.args[step.args.index("--run-id") + 1])
    copy_objects(
        sample, s3, lambda key: not key.startswith("raw/"), rename=lambda key: key.replace(safe_run_id(RUN_ID), run_id)
    )


def copy_objects(
    sample: SampleLake, s3: Any, wanted: Callable[[str], bool], rename: Callable[[str], str] = str
) -> None:
    for key, (content, _) in sample.client.objects.items():
        if wanted(key):
            s3.put_object(Bucket=BUCKET, Key=rename(key), Body=content)


if __name__ == "__main__":
    main(sys.argv[2:] or list(SCENARIOS), Path(sys.argv[1]))
