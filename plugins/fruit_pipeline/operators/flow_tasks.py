"""What those tasks of the main flow do that have no operator of their own: the receipt and the report."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from fruit_pipeline.lake.store import lake_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fruit_pipeline.planning.planner import PlannedXComs
    from fruit_pipeline.report.receipt import Receipt
    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)


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
