"""Ends clusters of this lake's pipeline whose run is over. It is the third net below the teardown and EMR's own idle time-out."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, task

from fruit_contract.newer_python import UTC
from fruit_contract.regions import require_eu_region
from fruit_contract.runs import UNDER_WAY
from fruit_pipeline.alerts.failed_run import FailedRunNotifier, keep_failure
from fruit_pipeline.alerts.news import ORPHANS_SWEPT
from fruit_pipeline.alerts.notifiers import tell, where_to
from fruit_pipeline.emr.client import emr_client, terminate_clusters
from fruit_pipeline.emr.clusters import our_active_clusters
from fruit_pipeline.emr.orphans import judge_clusters
from fruit_pipeline.settings import load_settings

DOC = """
### Ends clusters that nothing else will end

A run's teardown ends its clusters, and EMR ends idle ones by itself. A cluster may slip through both, if a run was deleted, a task was
killed between two calls, or a step runs on after its run was given up. This DAG finds such clusters by their tags: product, lake, DAG and
run.

It ends a cluster that has the tags of **this lake**, that is older than `FRUITS_SWEEP_GRACE_MINUTES`, and whose run Airflow does not have
under way. It touches nothing else. The task's log has a line for each cluster it looked at, and it returns the list of those it ended.
"""

LOG = logging.getLogger(__name__)
settings = load_settings()

with DAG(
    dag_id="sweep_orphan_clusters",
    description="Terminates clusters of this pipeline whose run is over",
    doc_md=DOC,
    schedule=CronTriggerTimetable(settings.sweep_schedule, timezone="UTC"),
    catchup=False,
    # A safety net must not have to be switched on first.
    is_paused_upon_creation=False,
    max_active_runs=1,
    on_failure_callback=FailedRunNotifier(
        subject="Fruits! the sweep of orphan clusters failed",
        message="Clusters that nobody ends may be up.",
        **where_to(settings),
    ),
    default_args={
        "owner": "fruits",
        "retries": 2,
        "retry_delay": timedelta(seconds=settings.retry_delay_seconds),
        "on_failure_callback": keep_failure,
    },
    tags=["fruits", "emr", "safety net"],
) as dag:

    @task
    def sweep(**context: Any) -> list[dict[str, str]]:
        """Looks at every living cluster of this lake's pipeline, ends the orphans and returns what it ended."""
        require_eu_region(settings.region)
        client = emr_client(settings)

        def is_under_way(dag_id: str, run_id: str) -> bool:
            return bool(context["ti"].get_dr_count(dag_id=dag_id, run_ids=[run_id], states=[*UNDER_WAY]))

        judged = judge_clusters(
            our_active_clusters(client, settings.lake_bucket),
            settings.lake_bucket,
            datetime.now(UTC),
            timedelta(minutes=settings.sweep_grace_minutes),
            is_under_way,
        )
        for cluster in judged:
            LOG.info("%s %s: %s.", "Ending" if cluster.is_orphan else "Leaving", cluster.cluster_id, cluster.reason)
        orphans = [cluster for cluster in judged if cluster.is_orphan]
        if orphans:
            lines = "\n".join(f"{cluster.cluster_id} '{cluster.name}': {cluster.reason}" for cluster in orphans)
            tell(context, settings, ORPHANS_SWEPT, f"Fruits! {len(orphans)} orphan clusters are ended", lines)
            terminate_clusters(client, [cluster.cluster_id for cluster in orphans])
        LOG.info("%s clusters of ours, %s of them ended.", len(judged), len(orphans))
        return [{"cluster_id": cluster.cluster_id, "name": cluster.name, "reason": cluster.reason} for cluster in orphans]

    sweep()
