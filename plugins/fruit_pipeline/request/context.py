"""Reads from Airflow's context what a run was asked for, and which other runs may still write."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.pca import RefreshPolicy
from fruit_contract.runs import UNDER_WAY
from fruit_pipeline.emr.client import emr_client
from fruit_pipeline.emr.clusters import our_active_clusters
from fruit_pipeline.emr.states import is_of_run
from fruit_pipeline.places import known_places, settings_in
from fruit_pipeline.request.events import ingest_dates_of_events
from fruit_pipeline.request.params import categories_of_run, dates_of_run, run_type_of
from fruit_pipeline.request.run_request import RunRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)


def request_of_run(context: Mapping[str, Any], settings: Settings) -> RunRequest:
    """Returns what params, the schedule's day or the events that started the run ask for. Raises LakeNameError if that
    makes no sense.
    """
    dag_run, params = context["dag_run"], context["params"]
    events = context.get("triggering_asset_events") or {}
    told = ingest_dates_of_events(
        (event.extra for of_asset in events.values() for event in of_asset), settings.lake_bucket
    )
    for reason in told.ignored:
        LOG.warning("An event was ignored: %s", reason)
    dates = dates_of_run(
        params,
        run_type_of(dag_run),
        dag_run.logical_date,
        dag_run.run_after,
        lookback_days=settings.lookback_days,
        event_dates=told.ingest_dates,
        boundary=settings.day_boundary,
    )
    return RunRequest(
        dag_run.run_id,
        dates,
        categories_of_run(params["categories"]),
        RefreshPolicy(params["pca_policy"]) if params["pca_policy"] else None,
        params["retry_rejected"],
        accept_rejects=params["accept_rejects"],
        switch_embedder=params["switch_embedder"],
        over_budget_allowed=params["over_budget"],
    )


def is_active_run(task_instance: Any, settings: Settings, dag_id: str = "") -> Callable[[str], bool]:
    """Returns a function that tells of a run of the DAG whether it may still write, because it or a cluster of its own
    has not ended.

    The DAG is the task's own unless another is named.

    A cluster writes into this lake from whichever region it was started in, so every place with this lake is asked.
    """
    clusters: list[dict[str, Any]] | None = None
    dag_id = dag_id or task_instance.dag_id

    def is_active(run_id: str) -> bool:
        nonlocal clusters
        if _is_under_way(task_instance, dag_id, run_id):
            return True
        if clusters is None:
            places = [
                settings_in(settings, place)
                for place in known_places(settings)
                if place.lake_bucket == settings.lake_bucket
            ]
            clusters = [
                cluster for there in places for cluster in our_active_clusters(emr_client(there), there.lake_bucket)
            ]
        return any(is_of_run(cluster, settings.lake_bucket, dag_id, run_id) for cluster in clusters)

    return is_active


def _is_under_way(task_instance: Any, dag_id: str, run_id: str) -> bool:
    """Returns whether Airflow knows the run and it has not ended."""
    return bool(task_instance.get_dr_count(dag_id=dag_id, run_ids=[run_id], states=[*UNDER_WAY]))
