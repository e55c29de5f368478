"""Two runs of one date would replace the same partitions at once: the later one waits. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fruit_pipeline.cluster_request import cluster_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class DateIsBusyError(RuntimeError):
    """Another run's cluster is working on the ingest date. It passes: the task is tried again."""


def refuse_a_busy_date(active_clusters: Iterable[Mapping[str, Any]], ingest_date: str) -> None:
    """Raises DateIsBusyError if a cluster of EMR's ListClusters answer that has not ended was asked for by a run of this date."""
    for cluster in active_clusters:
        if cluster["Name"].startswith(cluster_name(ingest_date, "")):
            raise DateIsBusyError(
                f"Another run is processing {ingest_date} on cluster {cluster['Id']} ({cluster['Name']}): this one is tried again."
            )
