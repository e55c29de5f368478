"""Ends clusters of this lake's pipeline whose run is over. It ends those that the teardown and EMR's own idle time-out
have left.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, task

from fruit_pipeline.alerts.failed_run import FailedRunNotifier, keep_failure
from fruit_pipeline.alerts.notifiers import where_to
from fruit_pipeline.operators.sweep import sweep_in_task
from fruit_pipeline.settings import read_settings

DOC = """
### Ends clusters that nothing else will end

A run's teardown ends its clusters, and EMR ends idle ones by itself. A cluster may slip through both, if a run was
deleted, a task was killed between two calls, or a step runs on after its run was given up. This DAG finds such clusters
by their tags: product, lake, DAG and run.

It ends a cluster that has the tags of **this lake**, that is older than `FRUITS_SWEEP_GRACE_MINUTES`, and whose run
Airflow does not have under way. It touches nothing else, and no cluster that another Airflow asked for (the tag
`airflow`, the Variable `fruits_airflow`). The task's log has a line for each cluster it looked at, and it returns the
list of those it ended.

It also looks in lakes and regions **in which this Airflow worked before** the settings were changed (the Variables
`fruits_place_…`), at clusters that were asked for until then. One that has no cluster and no claim of a run under way
any more is forgotten after a day. If one can't be looked at, the others are; then the task fails and says which.

If a `FRUITS_…` variable holds what it may not, `fruit_image_pipeline` can't be read. This DAG then takes the variable's
default, logs an error, and tells people once.
"""

# A single mistyped variable makes the main DAG unreadable. This DAG must go on all the same.
settings, bad_settings = read_settings()

with DAG(
    dag_id="sweep_orphan_clusters",
    description="Terminates clusters of this pipeline whose run is over",
    doc_md=DOC,
    schedule=CronTriggerTimetable(settings.sweep_schedule, timezone="UTC"),
    catchup=False,
    # This DAG must be at work without anybody having to switch it on.
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
        """Looks at every living cluster of this Airflow's pipeline, ends the orphans and returns what it ended."""
        return sweep_in_task(context, settings, bad_settings)

    sweep()
