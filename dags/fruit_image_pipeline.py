"""The main flow: a day's image batch to features, PCA components and a report, on a cluster that lives only for this."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, ExceptionRetryPolicy, RetryAction, RetryRule, task

from fruit_contract.lake import FEATURES, PROJECTIONS, uri
from fruit_pipeline.alerts.late import late_alert
from fruit_pipeline.alerts.notifiers import RUN_FAILED, FruitsNotifier, where_to
from fruit_pipeline.errors import PassingError
from fruit_pipeline.operators.check_output import CheckOutputOperator
from fruit_pipeline.operators.create_cluster import CreateClusterOperator
from fruit_pipeline.operators.flow_tasks import plan_in_task, publish_in_task, write_receipt_in_task
from fruit_pipeline.operators.run_step import RunStepOperator
from fruit_pipeline.operators.terminate_cluster import TerminateClusterOperator
from fruit_pipeline.operators.wait_for_batch import WaitForBatchSensor
from fruit_pipeline.request.form import params_of_form
from fruit_pipeline.request.params import marker_uri_of_run
from fruit_pipeline.request.schedule import batch_schedule
from fruit_pipeline.settings import load_settings

settings = load_settings()
retry_delay = timedelta(seconds=settings.retry_delay_seconds)

# Other DAGs can be scheduled on these: an event's extra has ingest dates, images and PCA version of what was found sound.
features_asset = Asset(name="fruit_features", uri=uri(settings.lake_bucket, FEATURES))
projections_asset = Asset(name="fruit_projections", uri=uri(settings.lake_bucket, PROJECTIONS))

# Two runs of one date would replace the same partitions at once: the later one asks again, for hours. Other failures end the
# task at once (its requests to AWS are retried by themselves).
wait_for_the_date = ExceptionRetryPolicy(
    rules=[RetryRule(exception=PassingError, action=RetryAction.RETRY, retry_delay=retry_delay, reason="the date is busy")],
    default=RetryAction.FAIL,
)

with DAG(
    dag_id="fruit_image_pipeline",
    description="A day's fruit images to MobileNetV2 features, PCA components and a report, on a transient EMR cluster",
    doc_md=Path(__file__).with_suffix(".md").read_text(encoding="utf-8"),
    schedule=batch_schedule(settings, settings.batch_queue_url),
    catchup=False,
    # A day's run holds a place while it waits for its batch, until after the next one has begun; three more may work.
    max_active_runs=ceil(settings.batch_timeout_hours / 24) + 3,
    params=params_of_form(settings),
    user_defined_macros={"batch_marker_uri": partial(marker_uri_of_run, settings.lake_bucket, settings.day_boundary)},
    default_args={"owner": "fruits", "retries": 2, "retry_delay": retry_delay},
    on_failure_callback=FruitsNotifier(
        event=RUN_FAILED,
        subject="Fruits! run failed",
        message="The log of the task that failed says why and what to do.",
        **where_to(settings),
    ),
    deadline=late_alert(settings),
    tags=["fruits", "emr", "daily"],
) as dag:
    wait_for_batch = WaitForBatchSensor(task_id="wait_for_batch", settings=settings, bucket_key="{{ batch_marker_uri(params, dag_run) }}")

    @task(multiple_outputs=True, retries=240, retry_policy=wait_for_the_date, max_active_tis_per_dag=1)
    def plan_run(**context: Any) -> dict[str, Any]:
        """Settles dates, categories and release, looks at the batches, prepares the requests. Shows the plan in the log and in XCom."""
        return dict(plan_in_task(context, settings))

    # What tasks will have returned, typed as such: the operators' signatures ask for the values.
    planned: Any = plan_run()

    create_cluster = CreateClusterOperator(task_id="create_cluster", settings=settings, job_flow_overrides=planned["cluster_request"])
    cluster_id: Any = create_cluster.output

    # The steps are accepted while the cluster starts.
    extract_features = RunStepOperator(
        task_id="extract_features",
        settings=settings,
        job_flow_id=cluster_id,
        steps=planned["extract_features_steps"],
        needs_claim=True,
    )

    # The history has one PCA: two runs must not fit it and flip its pointer at once.
    refresh_pca = RunStepOperator(
        task_id="refresh_pca",
        settings=settings,
        job_flow_id=cluster_id,
        steps=planned["refresh_pca_steps"],
        one_at_a_time=True,
        max_active_tis_per_dag=1,
    )

    check_output = CheckOutputOperator(
        task_id="check_output",
        settings=settings,
        ingest_dates=planned["ingest_dates"],
        categories=planned["categories"],
        listed_before=planned["listed_at"],
        outlets=[features_asset, projections_asset],
    )
    checks: Any = check_output.output

    # plan_run is a setup, too: the teardown then runs although create_cluster failed, which may have got a cluster all the same. A cluster
    # that could not be ended must be seen: it costs money.
    terminate_cluster = TerminateClusterOperator(
        task_id="terminate_cluster",
        settings=settings,
        asking_task_id="create_cluster",
        deciding_task_id="publish_report",
        retries=6,
    ).as_teardown(setups=[planned.operator, create_cluster], on_failure_fail_dagrun=True)

    @task
    def write_receipt(**context: Any) -> Any:
        """Compares what the run's clusters took and cost with the estimate. A run that failed has spent money, too.

        A receipt that can't be written is logged: it does not keep the report from being published.
        """
        return write_receipt_in_task(context, settings)

    # A teardown, too, so that a run which somebody marks has one.
    receipt: Any = write_receipt().as_teardown(setups=planned.operator)

    @task
    def publish_report(planned: Any, checks: dict[str, Any], receipt: Any, cluster_id: str, **context: Any) -> dict[str, Any]:
        """Writes the report's plots and page, and the run's record."""
        return publish_in_task(context, settings, planned, checks, receipt, cluster_id)

    # The leaf that decides the run: a step that failed keeps check_output from running, and so this one.
    report = publish_report(planned, checks, receipt, cluster_id)

    wait_for_batch >> planned >> create_cluster >> extract_features >> refresh_pca >> [check_output, terminate_cluster]
    terminate_cluster >> receipt
    check_output >> report
