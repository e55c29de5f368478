"""What Airflow's context of a run says: what was asked for, and which other runs may still write."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.regions import require_eu_region
from fruit_pipeline.attaching import ALIVE, state_of
from fruit_pipeline.batch_events import ingest_dates_of_events
from fruit_pipeline.cluster_reader import active_clusters, clusters_of_run
from fruit_pipeline.concurrent_runs import DateIsBusyError, has_cluster
from fruit_pipeline.emr_requests import emr_client, terminate_clusters
from fruit_pipeline.ingest_dates import categories_of_run, dates_of_run
from fruit_pipeline.planning import RunRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)
_UNDER_WAY: Final = ["queued", "running"]


def request_of_run(context: Mapping[str, Any], settings: Settings) -> RunRequest:
    """The run's params, its schedule's day or the events that started it. Raises LakeNameError for params that make no sense."""
    dag_run, params = context["dag_run"], context["params"]
    events = context.get("triggering_asset_events") or {}
    told = ingest_dates_of_events((event.extra for of_asset in events.values() for event in of_asset), settings.lake_bucket)
    for reason in told.ignored:
        LOG.warning("An event was ignored: %s", reason)
    dates = dates_of_run(
        params,
        str(getattr(dag_run.run_type, "value", dag_run.run_type)),
        dag_run.logical_date,
        dag_run.run_after,
        lookback_days=settings.lookback_days,
        event_dates=told.ingest_dates,
    )
    return RunRequest(
        dag_run.run_id,
        dates,
        categories_of_run(params["categories"]),
        params["pca_policy"],
        params["retry_rejected"],
        over_budget_allowed=params["over_budget"],
    )


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


def is_active_run(task_instance: Any, settings: Settings) -> Callable[[str], bool]:
    """Tells of another run of this DAG whether it may still write: it has not ended, or a cluster of its own has not."""
    clusters: list[dict[str, Any]] | None = None

    def is_active(run_id: str) -> bool:
        nonlocal clusters
        if _is_under_way(task_instance, run_id):
            return True
        if clusters is None:
            clusters = active_clusters(settings)
        return has_cluster(run_id, clusters)

    return is_active


def _is_under_way(task_instance: Any, run_id: str) -> bool:
    """False also for a run that Airflow does not know (any more)."""
    return bool(task_instance.get_dr_count(dag_id=task_instance.dag_id, run_ids=[run_id], states=_UNDER_WAY))
