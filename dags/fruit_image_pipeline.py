"""Turns a day's image batch into features, PCA components and a report, on a cluster that lives only for this."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, task

from fruit_contract.lake import FEATURES, PROJECTIONS, uri
from fruit_pipeline.alerts.failed_run import FailedRunNotifier, FailedTaskNotifier, keep_failure
from fruit_pipeline.alerts.late import late_alert
from fruit_pipeline.alerts.notifiers import where_to
from fruit_pipeline.claims.patience import RUNS_AT_WORK
from fruit_pipeline.operators.check_output import CheckOutputOperator
from fruit_pipeline.operators.create_cluster import CreateClusterOperator
from fruit_pipeline.operators.flow_tasks import publish_in_task, write_receipt_in_task
from fruit_pipeline.operators.plan_run import PlanRunOperator
from fruit_pipeline.operators.run_step import RunStepOperator
from fruit_pipeline.operators.terminate_cluster import TerminateClusterOperator
from fruit_pipeline.operators.wait_for_batch import WaitForBatchSensor
from fruit_pipeline.request.form import params_of_form
from fruit_pipeline.request.params import marker_uri_of_run
from fruit_pipeline.request.schedule import batch_schedule
from fruit_pipeline.settings import load_settings

settings = load_settings()
retry_delay = timedelta(seconds=settings.retry_delay_seconds)

# Other DAGs can be scheduled on these assets. An event's extra has the dates, images and PCA version of the output that
# was found sound.
bucket = settings.lake_bucket or "fruits-lake-is-not-set"
features_asset = Asset(name="fruit_features", uri=uri(bucket, FEATURES))
projections_asset = Asset(name="fruit_projections", uri=uri(bucket, PROJECTIONS))

with DAG(
    dag_id="fruit_image_pipeline",
    description="A day's fruit images to MobileNetV2 features, PCA components and a report, on a transient EMR cluster",
    doc_md=Path(__file__).with_suffix(".md").read_text(encoding="utf-8"),
    schedule=batch_schedule(settings, bucket, settings.batch_queue_url),
    catchup=False,
    # A run counts while it waits for its batch, which it does until after the next day's run has begun.
    max_active_runs=ceil(settings.batch_timeout_hours / 24) + RUNS_AT_WORK,
    params=params_of_form(settings),
    user_defined_macros={"batch_marker_uri": partial(marker_uri_of_run, settings.lake_bucket, settings.day_boundary)},
    default_args={"owner": "fruits", "retries": 2, "retry_delay": retry_delay, "on_failure_callback": keep_failure},
    on_failure_callback=FailedRunNotifier(**where_to(settings)),
    on_success_callback=FailedTaskNotifier(**where_to(settings)),
    deadline=late_alert(settings),
    tags=["fruits", "emr", "daily"],
) as dag:
    wait_for_batch = WaitForBatchSensor(
        task_id="wait_for_batch", settings=settings, bucket_key="{{ batch_marker_uri(params, dag_run) }}"
    )

    # It stands for what the task will return, and is typed as Any because the operators' signatures ask for those
    # values. The tasks work in the plan's place, because the environment may have changed since; of these settings they
    # take only how they wait.
    planned: Any = PlanRunOperator(task_id="plan_run", settings=settings).output

    create_cluster = CreateClusterOperator(
        task_id="create_cluster",
        settings=settings,
        place=planned["place"],
        job_flow_overrides=planned["cluster_request"],
        teardown_task_id="terminate_cluster",
    )
    cluster_id: Any = create_cluster.output

    # EMR accepts steps while the cluster starts.
    extract_features = RunStepOperator(
        task_id="extract_features",
        settings=settings,
        place=planned["place"],
        job_flow_id=cluster_id,
        steps=planned["extract_features_steps"],
        needs_claim=True,
    )

    # The history has one PCA, so two runs must not fit it and flip its pointer at the same time.
    refresh_pca = RunStepOperator(
        task_id="refresh_pca",
        settings=settings,
        place=planned["place"],
        job_flow_id=cluster_id,
        steps=planned["refresh_pca_steps"],
        one_at_a_time=True,
    )

    check_output = CheckOutputOperator(
        task_id="check_output",
        settings=settings,
        place=planned["place"],
        ingest_dates=planned["ingest_dates"],
        categories=planned["categories"],
        listed_before=planned["listed_at"],
        outlets=[features_asset, projections_asset],
    )
    checks: Any = check_output.output

    # plan_run is a setup, too, so that the teardown also runs if create_cluster failed, for there may be a cluster all
    # the same. If a cluster could not be ended, the run must fail so that people see it: that cluster costs money.
    terminate_cluster = TerminateClusterOperator(
        task_id="terminate_cluster",
        settings=settings,
        asking_task_id="create_cluster",
        deciding_task_id="publish_report",
        retries=6,
    ).as_teardown(setups=[planned.operator, create_cluster], on_failure_fail_dagrun=True)

    @task
    def write_receipt(**context: Any) -> Any:
        """Compares what the run's clusters took and cost with the estimate. It does so for a failed run, too, which has
        also spent money.

        If the receipt can't be written, that is logged and does not keep the report from being published.
        """
        return write_receipt_in_task(context, settings)

    # This is a teardown, too, so that a run that somebody marks also gets a receipt.
    receipt: Any = write_receipt().as_teardown(setups=planned.operator)

    @task
    def publish_report(
        planned: Any, checks: dict[str, Any], receipt: Any, cluster_id: str, **context: Any
    ) -> dict[str, Any]:
        """Writes the plots and the page of the report, and the run's record."""
        return publish_in_task(context, settings, planned, checks, receipt, cluster_id)

    # This last task decides whether the run succeeded: if a step fails, check_output does not run, and so neither does
    # this.
    report = publish_report(planned, checks, receipt, cluster_id)

    wait_for_batch >> planned >> create_cluster >> extract_features >> refresh_pca >> [check_output, terminate_cluster]
    terminate_cluster >> receipt
    check_output >> report
