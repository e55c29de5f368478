"""Ends the clusters of a run that is planned anew because one of its tasks was cleared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fruit_contract.regions import require_eu_region
from fruit_pipeline.emr.client import emr_client, terminate_clusters
from fruit_pipeline.emr.clusters import clusters_of_run
from fruit_pipeline.emr.states import ALIVE, state_of

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings


def end_clusters_from_before(settings: Settings, dag_id: str, run_id: str) -> dict[str, str]:
    """Tells clusters to end that the run has from before it was planned, and returns those that have not yet, each with its state."""
    require_eu_region(settings.region)
    client = emr_client(settings)
    clusters = clusters_of_run(client, settings.lake_bucket, dag_id, run_id)
    terminate_clusters(client, [cluster["Id"] for cluster in clusters if state_of(cluster) in ALIVE])
    return {str(cluster["Id"]): state_of(cluster) for cluster in clusters}
