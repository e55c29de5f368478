"""Says which clusters nobody else will end.

The teardown ends a run's clusters, and EMR ends idle ones by itself. This is for those that both of them leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fruit_pipeline.emr.cluster_request import AIRFLOW_TAG, unquoted_run_id
from fruit_pipeline.emr.states import ALIVE, is_of_another_airflow, is_ours, state_of, tags_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime, timedelta


@dataclass(frozen=True)
class Judged:
    """Describes a living cluster of ours. `is_orphan` tells whether to end it, `reason` why or why not.

    `is_of_another_airflow` is true for a cluster of another Airflow with the same lake, which alone knows its runs.
    """

    cluster_id: str
    name: str
    run_id: str | None
    is_orphan: bool
    reason: str
    is_of_another_airflow: bool = False


def judge_clusters(
    clusters: Iterable[Mapping[str, Any]],
    lake_bucket: str,
    now: datetime,
    grace: timedelta,
    is_under_way: Callable[[str, str], bool],
    *,
    airflow_id: str,
    asked_before: datetime | None = None,
) -> list[Judged]:
    """Judges those of the clusters (as DescribeCluster tells them) that are of this lake's pipeline and live; leaves
    the others out.

    `is_under_way(dag_id, run_id)` asks Airflow, whose id is `airflow_id`. A cluster younger than `grace` is no orphan,
    whatever its run says, because the run's own teardown may be at it. Neither is one that was not asked for before the
    moment `asked_before`: by then this Airflow had left the lake, and another may work there.
    """
    ours = (cluster for cluster in clusters if is_ours(cluster, lake_bucket) and state_of(cluster) in ALIVE)
    return [_judge(cluster, now, grace, is_under_way, airflow_id, asked_before) for cluster in ours]


def _judge(
    cluster: Mapping[str, Any],
    now: datetime,
    grace: timedelta,
    is_under_way: Callable[[str, str], bool],
    airflow_id: str,
    asked_before: datetime | None,
) -> Judged:
    tags = tags_of(cluster)
    run_id = unquoted_run_id(tags["airflow_run_id"]) if "airflow_run_id" in tags else None
    anothers = is_of_another_airflow(cluster, airflow_id)

    def judged(*, is_orphan: bool, reason: str) -> Judged:
        return Judged(str(cluster["Id"]), str(cluster["Name"]), run_id, is_orphan, reason, anothers)

    created_at: datetime = cluster["Status"]["Timeline"]["CreationDateTime"]
    age = now - created_at
    if anothers:
        whose = f"of another Airflow, {tags[AIRFLOW_TAG]} (this one is {airflow_id or 'without an id yet'})"
        return judged(is_orphan=False, reason=f"it is {whose}, which alone knows whether its run is over")
    if run_id is None or "dag_id" not in tags:
        return judged(is_orphan=False, reason="its tags do not name its run: EMR's own idle time-out has to end it")
    if asked_before and created_at >= asked_before:
        return judged(
            is_orphan=False, reason="it was asked for after this Airflow had left its lake: another one may work there"
        )
    if is_under_way(tags["dag_id"], run_id):
        return judged(is_orphan=False, reason="its run is under way")
    if age < grace:
        return judged(
            is_orphan=False, reason=f"its run is over, but it is only {age.total_seconds() / 60:.0f} minutes old"
        )
    return judged(
        is_orphan=True, reason=f"its run is over (or deleted) and it is {age.total_seconds() / 60:.0f} minutes old"
    )
