"""What EMR knows about clusters, through an Airflow connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fruit_pipeline.lake_reader import BOTOCORE_CONFIG
from fruit_pipeline.run_record import cluster_facts

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings


# Of a cluster that may still write to the lake.
_ACTIVE: Final = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING")


def active_clusters(settings: Settings) -> list[dict[str, Any]]:
    """The account's clusters that have not ended, as ListClusters tells them (ours and others')."""
    pages = _client(settings).get_paginator("list_clusters").paginate(ClusterStates=list(_ACTIVE))
    return [cluster for page in pages for cluster in page["Clusters"]]


def read_cluster_facts(settings: Settings, cluster_id: str) -> dict[str, Any]:
    """The cluster's times and its steps', as `run_record.cluster_facts` tells them."""
    client = _client(settings)
    cluster = client.describe_cluster(ClusterId=cluster_id)["Cluster"]
    steps = [step for page in client.get_paginator("list_steps").paginate(ClusterId=cluster_id) for step in page["Steps"]]
    return cluster_facts(cluster, steps)


def _client(settings: Settings) -> Any:
    from airflow.providers.amazon.aws.hooks.emr import EmrHook

    return EmrHook(aws_conn_id=settings.aws_conn_id, region_name=settings.region, emr_conn_id=None, config=BOTOCORE_CONFIG).get_conn()
