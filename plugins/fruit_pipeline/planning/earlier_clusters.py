"""Ends the clusters of a run that is planned anew because one of its tasks was cleared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fruit_contract.regions import require_eu_region
from fruit_pipeline.emr.client import emr_client, terminate_clusters
from fruit_pipeline.emr.clusters import clusters_of_run
from fruit_pipeline.emr.states import ALIVE, state_of
from fruit_pipeline.errors import DateIsBusyError

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings


def require_no_cluster_from_before(settings: Settings, dag_id: str, run_id: str) -> None:
    """Ends clusters that the run has from before it was planned. Raises DateIsBusyError until they have ended: they may still write."""
    require_eu_region(settings.region)
    client = emr_client(settings)
    clusters = clusters_of_run(client, settings.lake_bucket, dag_id, run_id)
    if clusters:
        terminate_clusters(client, [cluster["Id"] for cluster in clusters if state_of(cluster) in ALIVE])
        shown = ", ".join(f"{cluster['Id']} ({state_of(cluster)})" for cluster in clusters)
        raise DateIsBusyError(
            f"The run has a cluster from before it was planned anew: {shown}. It is ended first, then this is tried again."
        )
