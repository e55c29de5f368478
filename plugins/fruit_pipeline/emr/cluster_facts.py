"""Tells what a cluster and its steps did, by EMR's own answers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from fruit_pipeline.settings import ON_DEMAND, SPOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class EmrStepFacts(TypedDict):
    """Describes a step: when it ran, in ISO time, and how many minutes it took. What has not happened yet is None."""

    id: str
    name: str
    state: str
    started_at: str | None
    ended_at: str | None
    minutes: float | None


class InstanceFacts(TypedDict):
    """Describes a node. `role` is MASTER, CORE or TASK; `market` is the settings' word for how it was bought."""

    role: str | None
    instance_type: str | None
    market: str
    created_at: str | None
    ready_at: str | None
    ended_at: str | None


class ClusterSummary(TypedDict):
    """Describes a cluster and its steps, as the run's record keeps them."""

    id: str
    release_label: str | None
    created_at: str | None
    ready_at: str | None
    ended_at: str | None
    minutes: float | None
    steps: list[EmrStepFacts]


class ClusterFacts(ClusterSummary):
    """Adds the nodes to a cluster's summary. The receipt keeps only sums of them."""

    instances: list[InstanceFacts]


def cluster_facts(
    cluster: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    instances: Sequence[Mapping[str, Any]] = (),
    fleets: Sequence[Mapping[str, Any]] = (),
) -> ClusterFacts:
    """Returns what EMR's DescribeCluster, ListSteps, ListInstances and ListInstanceFleets answer, as facts.

    `minutes` runs from the request to the end of the last step: the cluster may still be there when it is read. Which
    role an instance has (MASTER, CORE or TASK) is known from its fleet alone.
    """
    timeline = cluster["Status"].get("Timeline", {})
    rows = [_step_facts(step) for step in steps]
    ends = [step["ended_at"] for step in rows if step["ended_at"]]
    created_at = _text(timeline.get("CreationDateTime"))
    roles = {fleet["Id"]: fleet["InstanceFleetType"] for fleet in fleets}
    return {
        "id": cluster["Id"],
        "release_label": cluster.get("ReleaseLabel"),
        "created_at": created_at,
        "ready_at": _text(timeline.get("ReadyDateTime")),
        "ended_at": _text(timeline.get("EndDateTime")),
        "minutes": _minutes(created_at, max(ends)) if created_at and ends else None,
        "steps": sorted(rows, key=lambda step: step["started_at"] or ""),
        "instances": [_instance_facts(instance, roles) for instance in instances if _was_there(instance)],
    }


def _was_there(instance: Mapping[str, Any]) -> bool:
    """Returns whether the node was ever there: a spot node that is still asked for costs nothing."""
    return bool(instance["Status"].get("State") != "AWAITING_FULFILLMENT")


def _instance_facts(instance: Mapping[str, Any], roles: Mapping[str, str]) -> InstanceFacts:
    timeline = instance["Status"].get("Timeline", {})
    return {
        "role": roles.get(instance.get("InstanceFleetId", "")),
        "instance_type": instance.get("InstanceType"),
        "market": SPOT if instance.get("Market") == "SPOT" else ON_DEMAND,
        "created_at": _text(timeline.get("CreationDateTime")),
        "ready_at": _text(timeline.get("ReadyDateTime")),
        "ended_at": _text(timeline.get("EndDateTime")),
    }


def _step_facts(step: Mapping[str, Any]) -> EmrStepFacts:
    timeline = step["Status"].get("Timeline", {})
    started_at, ended_at = _text(timeline.get("StartDateTime")), _text(timeline.get("EndDateTime"))
    return {
        "id": step["Id"],
        "name": step["Name"],
        "state": step["Status"]["State"],
        "started_at": started_at,
        "ended_at": ended_at,
        "minutes": _minutes(started_at, ended_at) if started_at and ended_at else None,
    }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _minutes(start: str, end: str) -> float:
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() / 60, 2)
