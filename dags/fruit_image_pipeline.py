"""The main flow: a day's image batch to features, PCA components and a report, on a cluster that lives only for this."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from airflow.providers.amazon.aws.operators.emr import EmrCreateJobFlowOperator
from airflow.sdk import DAG, Asset, ExceptionRetryPolicy, Param, RetryAction, RetryRule, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from fruit_contract.lake import FEATURES, PROJECTIONS, LakeNameError, run_key, uri
from fruit_contract.regions import RegionNotAllowedError
from fruit_pipeline.batch_schedule import batch_schedule
from fruit_pipeline.concurrent_runs import DateIsBusyError
from fruit_pipeline.ingest_dates import marker_uri_of_run
from fruit_pipeline.lake_reader import BOTOCORE_CONFIG, lake_of
from fruit_pipeline.operators.check_output import CheckOutputOperator
from fruit_pipeline.operators.run_step import RunStepOperator
from fruit_pipeline.operators.terminate_cluster import TerminateClusterOperator
from fruit_pipeline.operators.wait_for_batch import WaitForBatchSensor
from fruit_pipeline.planning import NoReleaseError
from fruit_pipeline.planning import plan_run as plan
from fruit_pipeline.run_context import is_active_run, request_of_run
from fruit_pipeline.run_plan import summary_lines
from fruit_pipeline.run_record import record_of_nothing
from fruit_pipeline.scaling import UnknownInstanceTypeError
from fruit_pipeline.settings import PCA_POLICIES, load_settings
from fruit_pipeline.steps import StepTooLongError

DOC = """
### From a day's fruit images to features, PCA components and a report

Each day's batch lands in `raw/ingest_date=<day>/<category>/<file>`; its marker `_SUCCESS` comes last. Then:

| task | what it does |
| --- | --- |
| `wait_for_batch` | waits for the marker, without a worker slot. No delivery in time: a scheduled run is skipped, not failed |
| `plan_run` | lists the batches against what is known, estimates minutes and euros. **Nothing new: the run stops here, no cluster** |
| `create_cluster` | asks EMR for a transient cluster (setup) |
| `extract_features` | MobileNetV2 features of every new image, rejects with a reason, moments, ledger |
| `refresh_pca` | PCA from all moments if the policy calls for a new one, projections of what changed; one run at a time |
| `check_output` | ledger against listing, partitions, schemas, vectors, variance. Changes nothing |
| `publish_report` | plots, page and the run's record |
| `terminate_cluster` | ends the cluster, whatever happened (teardown) |

A scheduled run also looks at the days before it for late, replaced and vanished images (`FRUITS_LOOKBACK_DAYS`).

**Run it for another day:** *Trigger*, and give the day. **For a range, on one cluster:** give its last day, too; days without a
complete batch are named and left out. Leave *categories* empty for all of them: new fruit in old dates touches only their own partitions.
**A run a day over a range:** *Trigger*, *Backfill*.
**A step failed?** Its task's log names the step, the cluster and the logs' address, with their last lines if they have arrived.
To do it again, clear the failed task: a new cluster is made for it. What an interrupted run left half written is mended by the next one.

**What did a run do?** See `runs/<run id>.json` and `reports/ingest_date=<day>/index.html` in the lake.
"""

LOG = logging.getLogger(__name__)
settings = load_settings()

params = {
    "ingest_date": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Ingest date",
        description="The day whose image batch is processed. Empty: the run's own day.",
    ),
    "last_ingest_date": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Last ingest date",
        description="For a range of days on one cluster: its last day, with the first one above. Empty: one day.",
    ),
    "categories": Param(
        [],
        type=["null", "array"],
        items={"type": "string", "pattern": r"^[^._/\r\n][^/\r\n]*$"},
        title="Categories",
        description="Only these fruit categories, one a line, as their folders are called. Empty: all of them.",
    ),
    "pca_policy": Param(
        None,
        type=["null", "string"],
        enum=[None, *PCA_POLICIES],
        title="PCA policy",
        description=f"Whether the PCA is fitted anew: auto, always or never. Empty: as set, {settings.pca_policy}.",
    ),
    "retry_rejected": Param(
        False,
        type="boolean",
        title="Retry rejected images",
        description="Looks again at images that were rejected before.",
    ),
}

# Other DAGs can be scheduled on these: an event's extra has ingest dates, images and PCA version of what was found sound.
features_asset = Asset(name="fruit_features", uri=uri(settings.lake_bucket, FEATURES))
projections_asset = Asset(name="fruit_projections", uri=uri(settings.lake_bucket, PROJECTIONS))

# Two runs of one date would replace the same partitions at once: the later one asks again, for hours. Other failures end the
# task at once (its requests to AWS are retried by themselves).
wait_for_the_date = ExceptionRetryPolicy(
    rules=[RetryRule(exception=DateIsBusyError, action=RetryAction.RETRY, retry_delay=timedelta(minutes=1), reason="the date is busy")],
    default=RetryAction.FAIL,
)

with DAG(
    dag_id="fruit_image_pipeline",
    description="A day's fruit images to MobileNetV2 features, PCA components and a report, on a transient EMR cluster",
    doc_md=DOC,
    schedule=batch_schedule(settings, settings.batch_queue_url),
    catchup=False,
    # Today's run holds a place while it waits for its batch; three more may work.
    max_active_runs=4,
    params=params,
    user_defined_macros={"batch_marker_uri": partial(marker_uri_of_run, settings.lake_bucket)},
    default_args={"owner": "fruits", "retries": 2, "retry_delay": timedelta(minutes=1)},
    tags=["fruits", "emr", "daily"],
) as dag:
    wait_for_batch = WaitForBatchSensor(
        task_id="wait_for_batch",
        settings=settings,
        bucket_key="{{ batch_marker_uri(params, dag_run) }}",
    )

    @task(multiple_outputs=True, retries=240, retry_policy=wait_for_the_date, max_active_tis_per_dag=1)
    def plan_run(**context: Any) -> dict[str, Any]:
        """Settles dates, categories and release, looks at the batches, prepares the requests. Shows the plan in the log and in XCom."""
        # S3 tells times in whole seconds.
        listed_at = datetime.now(UTC).replace(microsecond=0)
        try:
            request = request_of_run(context, settings)
            planned = plan(settings, lake_of, request, listed_at, is_active_run(context["ti"], settings))
        except (LakeNameError, NoReleaseError, RegionNotAllowedError, StepTooLongError, UnknownInstanceTypeError) as error:
            raise AirflowFailException(str(error)) from error
        for line in summary_lines(planned.plan):
            LOG.info("%s", line)
        if not planned.plan.has_work:
            context["ti"].xcom_push(key="plan", value=planned.plan.as_dict())
            lake_of(settings).write_json(run_key(request.run_id), record_of_nothing(request.run_id, planned.as_xcoms()))
            raise AirflowSkipException("Nothing to do: nothing is computed and no cluster is started.")
        return planned.as_xcoms()

    # What tasks will have returned, typed as such: the operators' signatures ask for the values.
    planned: Any = plan_run()

    # Not waiting: a setup that fails would keep its teardown from running. The steps are accepted while the cluster starts.
    create_cluster = EmrCreateJobFlowOperator(
        task_id="create_cluster",
        job_flow_overrides=planned["cluster_request"],
        aws_conn_id=settings.aws_conn_id,
        region_name=settings.region,
        emr_conn_id=None,
        botocore_config=BOTOCORE_CONFIG,
        deferrable=False,
        retries=0,  # a second request would be a second cluster
    )
    cluster_id: Any = create_cluster.output

    extract_features = RunStepOperator(
        task_id="extract_features",
        settings=settings,
        job_flow_id=cluster_id,
        steps=planned["extract_features_steps"],
        needs_claim=True,
        deferrable=True,
    )

    # The history has one PCA: two runs must not fit it and flip its pointer at once. Deferred tasks are not counted for
    # max_active_tis_per_dag, so this one waits in its worker slot.
    refresh_pca = RunStepOperator(
        task_id="refresh_pca",
        settings=settings,
        job_flow_id=cluster_id,
        steps=planned["refresh_pca_steps"],
        deferrable=False,
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

    @task
    def publish_report(planned: dict[str, Any], checks: dict[str, Any], cluster_id: str, **context: Any) -> dict[str, Any]:
        """Writes the report's plots and page, and the run's record."""
        from fruit_pipeline.cluster_reader import read_cluster_facts
        from fruit_pipeline.report import publish_report as publish

        published = publish(lake_of(settings), context["dag_run"].run_id, planned, checks, read_cluster_facts(settings, cluster_id))
        LOG.info("Reports: %s", ", ".join(published["report_uris"]))
        return published

    report = publish_report(planned, checks, cluster_id)

    # A cluster that could not be ended must be seen: it costs money. The report beside it stays a leaf of its own, so
    # that a failed step fails the run.
    terminate_cluster = TerminateClusterOperator(
        task_id="terminate_cluster",
        settings=settings,
        job_flow_id=cluster_id,
        retries=4,
    ).as_teardown(setups=create_cluster, on_failure_fail_dagrun=True)

    wait_for_batch >> planned >> create_cluster >> extract_features >> refresh_pca >> [check_output, terminate_cluster]
    check_output >> report
