"""Ends what a run has that is planned anew because one of its tasks was cleared, in whatever place it was planned before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fruit_contract.regions import require_eu_region
from fruit_pipeline.emr.client import emr_client, terminate_clusters
from fruit_pipeline.emr.clusters import clusters_of_run
from fruit_pipeline.emr.states import ALIVE, state_of
from fruit_pipeline.errors import DateIsBusyError
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.places import Place, ask_each, ask_everywhere, known_places
from fruit_pipeline.planning.claims import give_up_claim

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings


def require_no_cluster_from_before(settings: Settings, dag_id: str, run_id: str) -> None:
    """Ends clusters that the run has from before it was planned. Raises DateIsBusyError until they have ended: they may still write.

    It looks in every place that is known, as the settings may have changed. Only where the run is to work now must it be able to look.
    """
    require_eu_region(settings.region)

    def end(there: Settings) -> list[dict[str, Any]]:
        client = emr_client(there)
        clusters = clusters_of_run(client, there.lake_bucket, dag_id, run_id)
        terminate_clusters(client, [cluster["Id"] for cluster in clusters if state_of(cluster) in ALIVE])
        return clusters

    clusters = [cluster for found in ask_everywhere(settings, Place.of(settings), end).values() for cluster in found]
    if clusters:
        shown = ", ".join(f"{cluster['Id']} ({state_of(cluster)})" for cluster in clusters)
        raise DateIsBusyError(
            f"The run has a cluster from before it was planned anew: {shown}. It is ended first, then this is tried again."
        )


def give_up_claims_elsewhere(settings: Settings, run_id: str) -> None:
    """Gives back the dates that the run has claimed in other lakes, when it was planned there before."""
    elsewhere = [place for place in known_places(settings) if place.lake_bucket != settings.lake_bucket]
    ask_each(settings, elsewhere, lambda there: give_up_claim(lake_of(there), run_id))
