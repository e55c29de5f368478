"""Finds what EMR has of a run already, its clusters and its steps, so that a task which is tried again goes on with
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fruit_contract.lake import safe_run_id
from fruit_contract.newer_python import StrEnum
from fruit_pipeline.emr.cluster_request import AIRFLOW_TAG, CLUSTER_PREFIX, MAX_NAME, quoted_run_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime


class ClusterState(StrEnum):
    """Names a cluster's states as EMR does."""

    STARTING = "STARTING"
    BOOTSTRAPPING = "BOOTSTRAPPING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    TERMINATED_WITH_ERRORS = "TERMINATED_WITH_ERRORS"


class EmrStepState(StrEnum):
    """Names a step's states as EMR does."""

    PENDING = "PENDING"
    CANCEL_PENDING = "CANCEL_PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    INTERRUPTED = "INTERRUPTED"


ALIVE: Final = (ClusterState.STARTING, ClusterState.BOOTSTRAPPING, ClusterState.RUNNING, ClusterState.WAITING)
# A cluster that ends may still write to the lake.
ACTIVE: Final = (*ALIVE, ClusterState.TERMINATING)
ENDED: Final = (ClusterState.TERMINATED, ClusterState.TERMINATED_WITH_ERRORS)
STEP_ACTIVE: Final = (EmrStepState.PENDING, EmrStepState.CANCEL_PENDING, EmrStepState.RUNNING)
STEP_ENDED_BADLY: Final = (EmrStepState.CANCELLED, EmrStepState.FAILED, EmrStepState.INTERRUPTED)


def state_of(thing: Mapping[str, Any]) -> str:
    """Returns the state of a cluster or a step as EMR describes it. It is mostly one of those above, but EMR may have
    new ones.
    """
    return str(thing["Status"]["State"])


def tags_of(cluster: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in cluster.get("Tags", ())}


def may_be_ours(listed: Mapping[str, Any]) -> bool:
    """Returns whether a cluster is worth describing, by its name in ListClusters, which tells no tags."""
    return str(listed["Name"]).startswith(f"{CLUSTER_PREFIX} ")


def is_ours(cluster: Mapping[str, Any], lake_bucket: str) -> bool:
    """Returns whether the pipeline of this lake asked for the cluster. Another deployment in the same account has
    another lake.
    """
    tags = tags_of(cluster)
    return tags.get("product") == "fruits" and tags.get("lake") == lake_bucket


def is_of_another_airflow(cluster: Mapping[str, Any], airflow_id: str) -> bool:
    """Returns whether a cluster's tag says that an Airflow of another id asked for it. A cluster that an earlier
    release asked for has no such tag.
    """
    return tags_of(cluster).get(AIRFLOW_TAG, airflow_id) != airflow_id


def is_of_run(cluster: Mapping[str, Any], lake_bucket: str, dag_id: str, run_id: str) -> bool:
    """Returns whether a run of this id, in whichever Airflow, asked for the cluster."""
    tags = tags_of(cluster)
    quoted = quoted_run_id(run_id)
    same_run = tags.get("airflow_run_id") == quoted if quoted else tags.get("run_id") == safe_run_id(run_id)[:MAX_NAME]
    return is_ours(cluster, lake_bucket) and tags.get("dag_id") == dag_id and same_run


def cluster_to_use(clusters: Iterable[Mapping[str, Any]]) -> tuple[str | None, list[str]]:
    """Returns the id of the oldest of a run's living clusters (None if there is none), and the ids of the others, which
    nobody needs.
    """
    living = sorted((cluster for cluster in clusters if state_of(cluster) in ALIVE), key=created_at_of)
    ids = [str(cluster["Id"]) for cluster in living]
    return (ids[0], ids[1:]) if ids else (None, [])


def last_step(steps: Iterable[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """Returns the last of a cluster's steps of this name, or None if there is none."""
    return max((step for step in steps if step["Name"] == name), key=created_at_of, default=None)


def step_to_attach(steps: Iterable[Mapping[str, Any]], name: str) -> str | None:
    """Returns the id of the last of a cluster's steps of this name. Returns None if there is none or it ended badly: it
    is not gone on with.
    """
    last = last_step(steps, name)
    return None if last is None or state_of(last) in STEP_ENDED_BADLY else str(last["Id"])


def created_at_of(thing: Mapping[str, Any]) -> datetime:
    """Returns when EMR took the request for a cluster or a step."""
    created_at: datetime = thing["Status"]["Timeline"]["CreationDateTime"]
    return created_at
