"""Waits until clusters have ended."""

from __future__ import annotations

from typing import Any

from fruit_pipeline.emr.states import ENDED, state_of
from fruit_pipeline.triggers.emr_wait import EmrWaitTrigger


class ClustersEndTrigger(EmrWaitTrigger):
    """Looks until all of the clusters have ended. The event has their `states` by id.

    :param waiting: fields of Waiting
    :param cluster_ids: the clusters, which have been told to end
    """

    def __init__(self, waiting: dict[str, Any], cluster_ids: list[str]) -> None:
        super().__init__(waiting, cluster_ids=cluster_ids)
        self.cluster_ids = cluster_ids

    @property
    def about(self) -> dict[str, Any]:
        return {"cluster_ids": self.cluster_ids}

    async def look(self, emr: Any, s3: Any) -> dict[str, Any] | None:  # noqa: ARG002  # the base's signature
        described = [(await emr.describe_cluster(ClusterId=cluster_id))["Cluster"] for cluster_id in self.cluster_ids]
        states = {str(cluster["Id"]): state_of(cluster) for cluster in described}
        self.say(", ".join(f"Cluster {cluster_id} is {state}" for cluster_id, state in states.items()) + ".")
        return {"states": states} if set(states.values()) <= set(ENDED) else None
