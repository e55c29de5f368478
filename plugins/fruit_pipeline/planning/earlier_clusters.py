"""Ends what a run has that is planned anew because one of its tasks was cleared, wherever it was planned before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fruit_pipeline.claims.claim_book import DatesBook, pca_book
from fruit_pipeline.emr.client import emr_client, terminate_clusters
from fruit_pipeline.emr.clusters import clusters_of_run
from fruit_pipeline.emr.states import ALIVE, state_of
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.places import Place, ask_each, ask_everywhere, known_places

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings


def end_clusters_from_before(
    settings: Settings, dag_id: str, run_id: str, airflow_id: str
) -> dict[Place, dict[str, str]]:
    """Tells the clusters to end that the run has from before it was planned. Returns those that have not ended, by
    place, each with its state.

    It looks in every place that is known, as the settings may have changed. It fails only if it can't look where the
    run is to work now.
    """
    settings.require_place()

    def end(there: Settings) -> dict[str, str]:
        client = emr_client(there)
        clusters = clusters_of_run(client, there.lake_bucket, dag_id, run_id, airflow_id=airflow_id)
        terminate_clusters(client, [cluster["Id"] for cluster in clusters if state_of(cluster) in ALIVE])
        return {str(cluster["Id"]): state_of(cluster) for cluster in clusters}

    found = ask_everywhere(settings, Place.of(settings), end)
    return {place: clusters for place, clusters in found.items() if clusters}


def give_back_elsewhere(settings: Settings, run_id: str) -> None:
    """Gives back what the run holds in other lakes, where it may have been planned before."""

    def give_back(there: Settings) -> None:
        lake = lake_of(there)
        DatesBook(lake).give_back(run_id)
        pca_book(lake).give_back(run_id)

    ask_each(
        settings, [place for place in known_places(settings) if place.lake_bucket != settings.lake_bucket], give_back
    )
