"""What those tasks of the main flow do that have no operator of their own: the plan, the receipt and the report."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk.exceptions import AirflowSkipException

from fruit_pipeline.emr.cluster_request import missing_safeguards
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.operators.refusal import refused_for_good
from fruit_pipeline.planning.earlier_clusters import require_no_cluster_from_before
from fruit_pipeline.planning.planner import plan_run
from fruit_pipeline.planning.run_plan import summary_lines
from fruit_pipeline.report.record import record_of_nothing, write_record
from fruit_pipeline.request.context import is_active_run, request_of_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fruit_pipeline.planning.planner import PlannedRun, PlannedXComs
    from fruit_pipeline.report.receipt import Receipt
    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)


def plan_in_task(context: Mapping[str, Any], settings: Settings) -> PlannedXComs:
    """Returns the XComs of `plan_run`, and shows the plan in the log. Skips the task, and so the run, if there is nothing to do."""
    planned = _planned(context, settings)
    for line in summary_lines(planned.plan):
        LOG.info("%s", line)
    for line in missing_safeguards(settings):
        LOG.warning("%s", line)
    if not planned.plan.has_work:
        run_id = context["dag_run"].run_id
        context["ti"].xcom_push(key="plan", value=planned.plan.as_dict())
        write_record(lake_of(settings), record_of_nothing(run_id, planned.as_xcoms()))
        raise AirflowSkipException("Nothing to do: nothing is computed and no cluster is started.")
    return planned.as_xcoms()


def _planned(context: Mapping[str, Any], settings: Settings) -> PlannedRun:
    # S3 gives times in whole seconds.
    listed_at = datetime.now(UTC).replace(microsecond=0)
    with refused_for_good():
        # If a task was cleared, the plan is made anew and needs a new cluster. The one from before must end first: if the plan failed
        # or found nothing to do, no teardown would end it.
        require_no_cluster_from_before(settings, context["dag"].dag_id, context["dag_run"].run_id)
        request = request_of_run(context, settings)
        return plan_run(settings, lake_of, request, listed_at, is_active_run(context["ti"], settings))


def write_receipt_in_task(context: Mapping[str, Any], settings: Settings) -> Receipt | None:
    """Returns the receipt of the run's clusters, None without any. A receipt that can't be written is logged and fails nothing."""
    from fruit_pipeline.emr.clusters import read_cluster_costs
    from fruit_pipeline.report.receipts import write_receipt

    run_id = context["dag_run"].run_id
    # The plan is no argument, because Airflow does not let a task that directly follows a setup run whatever happened.
    planned: PlannedXComs = context["ti"].xcom_pull(task_ids="plan_run")
    try:
        costs = read_cluster_costs(settings, context["dag"].dag_id, run_id, planned["listed_at"])
        return write_receipt(lake_of(settings), run_id, planned, costs, settings) if costs else None
    except Exception:
        LOG.exception("There is no receipt of this run.")
        return None


def publish_in_task(
    context: Mapping[str, Any],
    settings: Settings,
    planned: PlannedXComs,
    checks: dict[str, Any],
    receipt: Receipt | None,
    cluster_id: str,
) -> dict[str, Any]:
    """Returns where the reports and the record are."""
    from fruit_pipeline.emr.clusters import read_cluster_facts
    from fruit_pipeline.report.publish import publish_report

    cluster = read_cluster_facts(settings, cluster_id)
    published = publish_report(lake_of(settings), context["dag_run"].run_id, planned, checks, cluster, receipt)
    LOG.info("Reports: %s", ", ".join(published["report_uris"]))
    return published
