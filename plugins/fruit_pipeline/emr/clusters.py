"""Reads through an Airflow connection what EMR knows about clusters."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from fruit_pipeline.aws import is_denied
from fruit_pipeline.emr.client import emr_client
from fruit_pipeline.emr.cluster_facts import cluster_facts
from fruit_pipeline.emr.states import ACTIVE, is_of_another_airflow, is_of_run, is_ours, may_be_ours

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fruit_pipeline.emr.cluster_facts import ClusterFacts
    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)
# This machine's clock and EMR's may differ. And a task that is cleared plans anew, so its earlier clusters are looked
# for further back.
_CLOCK_SLACK: Final = timedelta(days=7)


def our_active_clusters(client: Any, lake_bucket: str) -> list[dict[str, Any]]:
    """Returns the clusters of this lake's pipeline that have not ended, as DescribeCluster tells them."""
    return [
        cluster
        for cluster in _described(client, _list_clusters(client, states=ACTIVE))
        if is_ours(cluster, lake_bucket)
    ]


def clusters_of_run(
    client: Any,
    lake_bucket: str,
    dag_id: str,
    run_id: str,
    *,
    airflow_id: str | None,
    states: Sequence[str] = ACTIVE,
    created_after: datetime | None = None,
) -> list[dict[str, Any]]:
    """Returns a run's clusters in any of `states` (none: all), as DescribeCluster tells them. EMR forgets ended ones
    after two months.

    Clusters of a run of the same id in another Airflow are left out (a scheduled run's id tells its day alone), unless
    `airflow_id` is None.
    """
    listed = _list_clusters(client, states=states, created_after=created_after)
    of_run = [cluster for cluster in _described(client, listed) if is_of_run(cluster, lake_bucket, dag_id, run_id)]
    anothers = (
        [] if airflow_id is None else [cluster for cluster in of_run if is_of_another_airflow(cluster, airflow_id)]
    )
    for cluster in anothers:
        LOG.warning("Cluster %s is of a run of this id in another Airflow, and is left to that one.", cluster["Id"])
    return [cluster for cluster in of_run if cluster not in anothers]


def steps_of_cluster(client: Any, cluster_id: str) -> list[dict[str, Any]]:
    pages = client.get_paginator("list_steps").paginate(ClusterId=cluster_id)
    return [step for page in pages for step in page["Steps"]]


def read_cluster_facts(settings: Settings, cluster_id: str) -> ClusterFacts:
    """Returns the times of a cluster and of its steps, without its nodes."""
    client = emr_client(settings)
    return cluster_facts(client.describe_cluster(ClusterId=cluster_id)["Cluster"], steps_of_cluster(client, cluster_id))


def read_cluster_costs(
    settings: Settings, dag_id: str, run_id: str, planned_at: datetime, airflow_id: str
) -> list[ClusterFacts]:
    """Returns the facts of every cluster that the run has had since it was first planned, with its nodes."""
    client = emr_client(settings)
    begin = planned_at - _CLOCK_SLACK
    clusters = clusters_of_run(
        client, settings.lake_bucket, dag_id, run_id, airflow_id=airflow_id, states=(), created_after=begin
    )
    return [
        cluster_facts(
            cluster,
            steps_of_cluster(client, cluster["Id"]),
            _pages(client, "list_instances", "Instances", cluster["Id"]),
            _pages(client, "list_instance_fleets", "InstanceFleets", cluster["Id"]),
        )
        for cluster in clusters
    ]


def _list_clusters(
    client: Any, *, states: Sequence[str] = (), created_after: datetime | None = None
) -> list[dict[str, Any]]:
    filters: dict[str, Any] = {"ClusterStates": list(states)} if states else {}
    if created_after:
        filters["CreatedAfter"] = created_after
    return [
        cluster for page in client.get_paginator("list_clusters").paginate(**filters) for cluster in page["Clusters"]
    ]


def _pages(client: Any, operation: str, field: str, cluster_id: str) -> list[dict[str, Any]]:
    return [entry for page in client.get_paginator(operation).paginate(ClusterId=cluster_id) for entry in page[field]]


def _described(client: Any, listed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    described = (_describe(client, entry["Id"]) for entry in listed if may_be_ours(entry))
    return [cluster for cluster in described if cluster is not None]


def _describe(client: Any, cluster_id: str) -> dict[str, Any] | None:
    """Returns None for a cluster that this role may not even look at: it bears our name and not our tags."""
    try:
        cluster: dict[str, Any] = client.describe_cluster(ClusterId=cluster_id)["Cluster"]
    except ClientError as error:
        if not is_denied(error):
            raise
        LOG.info("Cluster %s is not ours: %s", cluster_id, error)
        return None
    return cluster
