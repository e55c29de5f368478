"""The main flow: a day's image batch to features, PCA components and a report, on a cluster that lives only for this."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from math import ceil
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    task,
)
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from fruit_contract.lake import FEATURES, PROJECTIONS, LakeNameError, run_key, uri
from fruit_contract.pca import RefreshPolicy
from fruit_contract.regions import RegionNotAllowedError
from fruit_pipeline.alerts.deadline import RunFirstQueued
from fruit_pipeline.alerts.notifiers import OVER_BUDGET, RUN_FAILED, RUN_LATE, FruitsNotifier, tell, where_to
from fruit_pipeline.emr.cluster_request import missing_safeguards
from fruit_pipeline.emr.instance_types import InstanceTypeError
from fruit_pipeline.emr.steps import StepTooLongError
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.operators.check_output import CheckOutputOperator
from fruit_pipeline.operators.create_cluster import CreateClusterOperator
from fruit_pipeline.operators.run_step import RunStepOperator
from fruit_pipeline.operators.terminate_cluster import TerminateClusterOperator
from fruit_pipeline.operators.wait_for_batch import WaitForBatchSensor
from fruit_pipeline.planning.claims import DateIsBusyError
from fruit_pipeline.planning.earlier_clusters import require_no_cluster_from_before
from fruit_pipeline.planning.limits import RunTooLargeError
from fruit_pipeline.planning.planner import NoReleaseError, OverBudgetError, RunTooLongError
from fruit_pipeline.planning.planner import plan_run as plan
from fruit_pipeline.planning.run_plan import summary_lines
from fruit_pipeline.report.record import record_of_nothing
from fruit_pipeline.request.context import is_active_run, request_of_run
from fruit_pipeline.request.params import marker_uri_of_run
from fruit_pipeline.request.schedule import batch_schedule
from fruit_pipeline.settings import load_settings

DOC = """
### From a day's fruit images to features, PCA components and a report

Each day's batch lands in `raw/ingest_date=<day>/<category>/<file>`; its marker `_SUCCESS` comes last. Then:

| task | what it does |
| --- | --- |
| `wait_for_batch` | waits for the marker, without a worker slot. No delivery in time: people are told, and a scheduled run goes on with \
the days before |
| `plan_run` | lists the batches against what is known, sizes the cluster, estimates minutes and euros. \
**Nothing new, or above the budget: the run stops here, no cluster** |
| `create_cluster` | asks EMR for a transient cluster, or finds the run's own (setup) |
| `extract_features` | MobileNetV2 features of every new image, rejects with a reason, moments, ledger |
| `refresh_pca` | PCA from all moments if the policy calls for a new one, projections of what changed; one run at a time |
| `check_output` | ledger against listing, every file that it names: schemas, contents, counts; variance. Changes nothing |
| `terminate_cluster` | ends the run's clusters, whatever happened (teardown) |
| `write_receipt` | what the clusters took and cost, beside the estimate; of failed runs, too |
| `publish_report` | plots, page and the run's record |

A scheduled run also looks at the days before it for late, replaced and vanished images (`FRUITS_LOOKBACK_DAYS`).

**Run it for another day:** *Trigger*, and give the day. **For a range, on one cluster:** give its last day, too; days without a
complete batch are named and left out. Leave *categories* empty for all of them: new fruit in old dates touches only their own partitions.
**A run a day over a range:** *Trigger*, *Backfill*.
**How far is it?** The log of `extract_features` says how many images are done, and when it will be; its link *Progress* has a page.
**A step failed?** Its task's log has the first error of the step's own logs, what usually causes it and what to do.
To do it again, clear the failed task: a new cluster is made for it. What a run has committed before it was interrupted stays; \
the next one does the rest.

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
        items={
            "type": "string",
            "pattern": r"^\s*$|^[\t\r]*[^._/\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*[\t\r]*$",
            # Airflow shows it with a line that it refuses.
            "description": "a category is called as its folder: without '/' or control characters, and not beginning with '.' or '_'",
        },
        title="Categories",
        description="Only these fruit categories, one a line, as their folders are called. Empty lines don't count. A blank around a name "
        "counts if there is a category that is called just so, else the name is taken without it. Empty: all of them.",
    ),
    "pca_policy": Param(
        None,
        type=["null", "string"],
        enum=[None, *(policy.value for policy in RefreshPolicy)],
        title="PCA policy",
        description=f"Whether the PCA is fitted anew: auto, always or never. Empty: as set, {settings.pca_policy}.",
    ),
    "retry_rejected": Param(
        False,
        type="boolean",
        title="Retry rejected images",
        description="Looks again at images that were rejected before.",
    ),
    "accept_rejects": Param(
        False,
        type="boolean",
        title="Accept many rejected images",
        description="If an unusual share of the images is rejected for one reason, the features step stops before it writes anything. "
        "With this it goes on all the same.",
    ),
    "switch_embedder": Param(
        False,
        type="boolean",
        title="Switch to the new embedder now",
        description="After a change of weights or preprocessing, readers stay on the current PCA until everything it covers is "
        "featurised anew. With this they are switched at once.",
    ),
    "over_budget": Param(
        False,
        type="boolean",
        title="Go on above the budget",
        description=f"A run whose estimate is above {settings.budget_eur:g} EUR stops before anything is started, unless this is set.",
    ),
}

# Other DAGs can be scheduled on these: an event's extra has ingest dates, images and PCA version of what was found sound.
features_asset = Asset(name="fruit_features", uri=uri(settings.lake_bucket, FEATURES))
projections_asset = Asset(name="fruit_projections", uri=uri(settings.lake_bucket, PROJECTIONS))

# Two runs of one date would replace the same partitions at once: the later one asks again, for hours. Other failures end the
# task at once (its requests to AWS are retried by themselves).
wait_for_the_date = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=DateIsBusyError,
            action=RetryAction.RETRY,
            retry_delay=timedelta(seconds=settings.retry_delay_seconds),
            reason="the date is busy",
        )
    ],
    default=RetryAction.FAIL,
)

with DAG(
    dag_id="fruit_image_pipeline",
    description="A day's fruit images to MobileNetV2 features, PCA components and a report, on a transient EMR cluster",
    doc_md=DOC,
    schedule=batch_schedule(settings, settings.batch_queue_url),
    catchup=False,
    # A day's run holds a place while it waits for its batch, until after the next one has begun; three more may work.
    max_active_runs=ceil(settings.batch_timeout_hours / 24) + 3,
    params=params,
    user_defined_macros={"batch_marker_uri": partial(marker_uri_of_run, settings.lake_bucket, settings.day_boundary)},
    default_args={"owner": "fruits", "retries": 2, "retry_delay": timedelta(seconds=settings.retry_delay_seconds)},
    on_failure_callback=FruitsNotifier(
        event=RUN_FAILED,
        subject="Fruits! run failed",
        message="The log of the task that failed says why and what to do.",
        **where_to(settings),
    ),
    deadline=DeadlineAlert(
        name="late",
        reference=RunFirstQueued(),
        interval=timedelta(hours=settings.late_after_hours),
        callback=AsyncCallback(
            FruitsNotifier,
            {
                "event": RUN_LATE,
                "subject": "Fruits! run is late",
                "message": f"It has not ended {settings.late_after_hours:g} hours after it was queued.",
                **where_to(settings),
            },
        ),
    ),
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
            # A task was cleared: the plan is made anew, and what it needs is a new cluster. Were the plan to fail or to find nothing,
            # no teardown would end the one from before.
            require_no_cluster_from_before(settings, context["dag"].dag_id, context["dag_run"].run_id)
            request = request_of_run(context, settings)
            planned = plan(settings, lake_of, request, listed_at, is_active_run(context["ti"], settings))
        except OverBudgetError as error:
            tell(context, settings, OVER_BUDGET, "Fruits! run is above the budget", str(error))
            raise AirflowFailException(str(error)) from error
        except (
            InstanceTypeError,
            LakeNameError,
            NoReleaseError,
            RegionNotAllowedError,
            RunTooLargeError,
            RunTooLongError,
            StepTooLongError,
        ) as error:
            raise AirflowFailException(str(error)) from error
        for line in summary_lines(planned.plan):
            LOG.info("%s", line)
        for line in missing_safeguards(settings):
            LOG.warning("%s", line)
        if not planned.plan.has_work:
            context["ti"].xcom_push(key="plan", value=planned.plan.as_dict())
            lake_of(settings).write_json(run_key(request.run_id), record_of_nothing(request.run_id, planned.as_xcoms()))
            raise AirflowSkipException("Nothing to do: nothing is computed and no cluster is started.")
        return planned.as_xcoms()

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
    def write_receipt(**context: Any) -> dict[str, Any] | None:
        """Compares what the run's clusters took and cost with the estimate. A run that failed has spent money, too.

        A receipt that can't be written is logged: it does not keep the report from being published.
        """
        from fruit_pipeline.emr.clusters import read_cluster_costs
        from fruit_pipeline.report.receipts import write_receipt as write

        run_id = context["dag_run"].run_id
        # Not as an argument: what directly follows a setup may not run whatever happened.
        planned = context["ti"].xcom_pull(task_ids="plan_run")
        try:
            costs = read_cluster_costs(settings, context["dag"].dag_id, run_id, planned["listed_at"])
            return write(lake_of(settings), run_id, planned, costs, settings) if costs else None
        except Exception:
            LOG.exception("There is no receipt of this run.")
            return None

    # A teardown, too, so that a run which somebody marks has one.
    receipt: Any = write_receipt().as_teardown(setups=planned.operator)

    @task
    def publish_report(
        planned: dict[str, Any], checks: dict[str, Any], receipt: dict[str, Any] | None, cluster_id: str, **context: Any
    ) -> dict[str, Any]:
        """Writes the report's plots and page, and the run's record."""
        from fruit_pipeline.emr.clusters import read_cluster_facts
        from fruit_pipeline.report.publish import publish_report as publish

        cluster = read_cluster_facts(settings, cluster_id)
        published = publish(lake_of(settings), context["dag_run"].run_id, planned, checks, cluster, receipt)
        LOG.info("Reports: %s", ", ".join(published["report_uris"]))
        return published

    # The leaf that decides the run: a step that failed keeps check_output from running, and so this one.
    report = publish_report(planned, checks, receipt, cluster_id)

    wait_for_batch >> planned >> create_cluster >> extract_features >> refresh_pca >> [check_output, terminate_cluster]
    terminate_cluster >> receipt
    check_output >> report
