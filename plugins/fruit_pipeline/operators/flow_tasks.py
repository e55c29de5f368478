"""Does the work of those tasks of the main flow that have no operator of their own: the receipt and the report."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.newer_python import UTC
from fruit_pipeline.emr.airflow_id import airflow_id_of_run
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.places import PLANNING_TASK_ID, ask_everywhere, place_of_run, settings_of_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fruit_pipeline.planning.planner import PlannedXComs
    from fruit_pipeline.report.receipt import Receipt
    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)


def write_receipt_in_task(context: Mapping[str, Any], settings: Settings) -> Receipt | None:
    """Writes and returns the receipt of the run's clusters. Returns None if there are no clusters, or if the run's plan
    is gone. If the receipt can't be written, that is logged and fails nothing.
    """
    from fruit_pipeline.emr.clusters import read_cluster_costs
    from fruit_pipeline.report.receipt import spent_lines
    from fruit_pipeline.report.receipts import write_receipt

    run = context["dag_run"]
    # The plan is no argument, because Airflow does not let a task that directly follows a setup run whatever happened.
    planned: PlannedXComs | None = context["ti"].xcom_pull(task_ids=PLANNING_TASK_ID)
    try:
        begin = datetime.fromisoformat(planned["listed_at"]) if planned else run.start_date or run.run_after
        airflow_id = airflow_id_of_run(context["ti"])
        read = partial(
            read_cluster_costs, dag_id=context["dag"].dag_id, run_id=run.run_id, planned_at=begin, airflow_id=airflow_id
        )
        found = ask_everywhere(settings, place_of_run(context["ti"]), read)
        # EMR has the same clusters for two places that differ in the connection only.
        by_id = {cluster["id"]: cluster for clusters in found.values() for cluster in clusters}
        costs = sorted(by_id.values(), key=lambda cluster: str(cluster["created_at"]))
        if not costs:
            return None
        if planned is None:
            LOG.warning("The run's plan is gone, so there is nothing to compare with. Its clusters:")
            for line in spent_lines(costs, settings, datetime.now(UTC)):
                LOG.warning("%s", line)
            return None
        return write_receipt(lake_of(settings_of_run(settings, planned["place"])), run.run_id, planned, costs, settings)
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
    """Publishes the report, and returns where the reports and the record are."""
    from fruit_pipeline.emr.clusters import read_cluster_facts
    from fruit_pipeline.report.publish import publish_report

    settings = settings_of_run(settings, planned["place"])
    cluster = read_cluster_facts(settings, cluster_id)
    published = publish_report(lake_of(settings), context["dag_run"].run_id, planned, checks, cluster, receipt)
    LOG.info("Reports: %s", ", ".join(published["report_uris"]))
    return published
