"""Extends moto's EMR backend with clusters that live: a driver for each of them gives them states and runs their steps.

moto parses requests, keeps what was asked for and shapes the answers. What happens over time happens in
`local_cloud.cluster.driver`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, NoReturn

from moto.core.base_backend import BackendDict
from moto.emr.exceptions import InvalidCluster, InvalidRequestException, ValidationException
from moto.emr.models import Cluster, ElasticMapReduceBackend
from moto.emr.utils import random_instance_group_id

from local_cloud.cluster.driver import ClusterDriver, utc_now
from local_cloud.cluster.life import ClusterLife
from local_cloud.cluster.node import ClusterNode, ClusterRequest
from local_cloud.emr.instances import LOCAL_HOST_NAME, LocalInstance, fleet_sets, group_sets, instances
from local_cloud.emr.resources import LocalStep, bootstrap_action, local_step, plain, timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from local_cloud.cluster.spark_environment import Node
    from local_cloud.faults import FaultBook

MINIMUM_IDLE_SECONDS: Final = 60
MAXIMUM_IDLE_SECONDS: Final = 604_800
DEFAULT_IDLE_SECONDS: Final = 3600
MAXIMUM_STEP_CONCURRENCY: Final = 256
MAXIMUM_ACTIVE_STEPS: Final = 256
_GROUP_EXTRAS: Final = ("configurations", "custom_ami_id")


@dataclass(frozen=True)
class EmrSettings:
    """Holds what the server gives to every backend.

    `second_lasts` says how many seconds a second of an idle timeout lasts, which tests make shorter.
    """

    node: Node
    faults: FaultBook
    second_lasts: float = 1.0


class _Clusters(dict[str, "LocalCluster"]):
    """Holds the clusters by id. Raises InvalidCluster for an unknown id, as EMR does; moto would answer HTTP 500."""

    def __missing__(self, cluster_id: str) -> NoReturn:
        raise InvalidCluster(cluster_id)


class LocalCluster(Cluster):  # type: ignore[misc]  # moto ships no types
    """Describes a cluster whose state, status and steps are those of its life.

    It does nothing before `start`, which is called when the whole request has been read.
    """

    def __init__(self, backend: LocalEmrBackend, steps: Sequence[Mapping[str, Any]], **attributes: Any) -> None:
        requested = attributes["instance_attrs"]
        self.life = ClusterLife(
            created_at=utc_now(),
            keep_alive=bool(requested.get("keep_job_flow_alive_when_no_steps")),
            termination_protected=bool(requested.get("termination_protected")),
            step_concurrency_level=int(attributes.get("step_concurrency_level") or 1),
        )
        super().__init__(backend, steps=[], **attributes)
        self.instance_id = random_instance_group_id()
        self.instance_fleets: list[dict[str, Any]] = []
        self.managed_scaling_policy: dict[str, Any] | None = None
        self.auto_termination_policy: dict[str, Any] | None = None
        self.scale_down_behavior: str | None = None
        self.requested_subnet_ids: list[str] = []
        request = ClusterRequest(
            cluster_id=self.id,
            instance_id=self.instance_id,
            log_uri=self.log_uri,
            configurations=[plain(configuration) for configuration in self.configurations],
        )
        actions = [bootstrap_action(action) for action in attributes.get("bootstrap_actions") or []]
        faults = backend.settings.faults.of_cluster(str(self.name))
        self.driver = ClusterDriver(self.life, ClusterNode(backend.settings.node, request, faults), actions, faults)
        self.local_steps: list[LocalStep] = []
        self.add_steps(steps)

    def start(self) -> None:
        self.driver.start()

    # moto's constructor calls these and sets `state`. Here the driver does both, and the state is that of the life.
    def start_cluster(self) -> None: ...

    def run_bootstrap_actions(self) -> None: ...

    @property
    def state(self) -> str:
        return self.life.state

    @state.setter
    def state(self, _: object) -> None: ...

    @property
    def steps(self) -> list[LocalStep]:
        return getattr(self, "local_steps", [])

    @steps.setter
    def steps(self, _: object) -> None: ...

    @property
    def status(self) -> dict[str, Any]:
        ending = self.life.ending
        return {
            "State": str(self.life.state),
            "StateChangeReason": {"Code": str(ending.code), "Message": ending.message} if ending else {},
            "Timeline": timeline(
                self.life.created_at, ReadyDateTime=self.life.ready_at, EndDateTime=self.life.ended_at
            ),
        }

    @property
    def instance_collection_type(self) -> str:
        return "INSTANCE_FLEET" if self.instance_fleets else "INSTANCE_GROUP"

    @property
    def master_public_dns_name(self) -> str:
        return LOCAL_HOST_NAME

    @property
    def instances(self) -> list[LocalInstance]:
        sets = fleet_sets(self.instance_fleets) if self.instance_fleets else group_sets(self.instance_groups)
        return instances(sets, self.life, self.instance_id)

    @property
    def ec2_instance_attributes(self) -> Any:
        attributes = super().ec2_instance_attributes
        attributes.requested_ec2_subnet_ids = self.requested_subnet_ids
        return attributes

    def add_steps(self, steps: Sequence[Mapping[str, Any]]) -> list[LocalStep]:
        if not hasattr(self, "driver"):
            return []
        added = [local_step(step) for step in steps]
        if len(self.life.unfinished_steps) + len(added) > MAXIMUM_ACTIVE_STEPS:
            raise ValidationException(
                f"Maximum number of steps for job flow exceeded: at most {MAXIMUM_ACTIVE_STEPS} may be active or "
                "pending."
            )
        try:
            self.driver.add_steps([(step.life, step.command) for step in added])
        except ValueError as error:
            raise ValidationException(
                "A job flow that is shutting down, terminating, or finished may not be modified."
            ) from error
        self.local_steps.extend(added)
        return added

    def terminate(self) -> None:
        self.driver.terminate()

    def set_termination_protection(self, value: bool) -> None:
        super().set_termination_protection(value)
        self.driver.set_termination_protected(protected=value)


class LocalEmrBackend(ElasticMapReduceBackend):  # type: ignore[misc]  # moto ships no types
    """Holds the clusters of one region of the local EMR."""

    settings: EmrSettings

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.clusters: _Clusters = _Clusters()

    def run_job_flow(self, **request: Any) -> LocalCluster:
        return LocalCluster(self, **request)

    def add_instance_groups(self, cluster_id: str, instance_groups: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Adds groups, and keeps what moto's groups have no place for, so that it is told again."""
        requests = [dict(group) for group in instance_groups]
        extras = [{name: plain(request.pop(name)) for name in _GROUP_EXTRAS if name in request} for request in requests]
        groups: list[Any] = super().add_instance_groups(cluster_id, requests)
        for group, extra in zip(groups, extras, strict=True):
            vars(group).update(extra)
        return groups

    def add_job_flow_steps(self, job_flow_id: str, steps: list[dict[str, Any]]) -> list[LocalStep]:
        return self._job_flow(job_flow_id).add_steps(steps)

    def terminate_job_flows(self, job_flow_ids: list[str]) -> list[LocalCluster]:
        clusters = [self._job_flow(job_flow_id) for job_flow_id in job_flow_ids]
        terminated: list[LocalCluster] = super().terminate_job_flows([cluster.id for cluster in clusters])
        return terminated

    def describe_step(self, cluster_id: str, step_id: str) -> LocalStep:
        step: LocalStep | None = super().describe_step(cluster_id, step_id)
        if step is None:
            raise InvalidRequestException(f"Step id '{step_id}' is not valid.")
        return step

    def cancel_steps(self, cluster_id: str, step_ids: list[str], *, force: bool) -> list[dict[str, str]]:
        cluster = self.clusters[cluster_id]
        steps = [self.describe_step(cluster_id, step_id) for step_id in step_ids]
        answers = [(step, cluster.driver.cancel_step(step.life, force=force)) for step in steps]
        return [
            {"StepId": step.id, "Status": "SUBMITTED" if answer.submitted else "FAILED", "Reason": answer.reason}
            for step, answer in answers
        ]

    def check_auto_termination_policy(self, policy: Mapping[str, Any] | None) -> None:
        seconds = int((policy or {}).get("IdleTimeout", MINIMUM_IDLE_SECONDS))
        if not MINIMUM_IDLE_SECONDS <= seconds <= MAXIMUM_IDLE_SECONDS:
            raise ValidationException(
                f"The idle timeout must be between {MINIMUM_IDLE_SECONDS} and {MAXIMUM_IDLE_SECONDS} seconds, not "
                f"{seconds}."
            )

    def put_auto_termination_policy(self, cluster_id: str, policy: Mapping[str, Any]) -> None:
        self.check_auto_termination_policy(policy)
        cluster = self.clusters[cluster_id]
        seconds = int(policy.get("IdleTimeout", DEFAULT_IDLE_SECONDS))
        cluster.auto_termination_policy = {"IdleTimeout": seconds}
        cluster.driver.set_idle_timeout(seconds * self.settings.second_lasts)

    def remove_auto_termination_policy(self, cluster_id: str) -> None:
        cluster = self.clusters[cluster_id]
        cluster.auto_termination_policy = None
        cluster.driver.set_idle_timeout(None)

    def modify_cluster(self, cluster_id: str, step_concurrency_level: int) -> LocalCluster:
        if not 1 <= int(step_concurrency_level) <= MAXIMUM_STEP_CONCURRENCY:
            raise InvalidRequestException(
                f"The step concurrency level must be between 1 and {MAXIMUM_STEP_CONCURRENCY}."
            )
        cluster: LocalCluster = super().modify_cluster(cluster_id, step_concurrency_level)
        cluster.driver.set_step_concurrency_level(int(step_concurrency_level))
        return cluster

    def run_instances(self, cluster_id: str, instances: dict[str, Any], instance_group: Any) -> None:
        """Does nothing: moto would start machines here, and the one machine that is needed is this one."""

    def newest_clusters(self, created_after: datetime | None, created_before: datetime | None) -> list[LocalCluster]:
        """Returns the clusters created within these times, newest first.

        The times have no time zone and stand for UTC, as moto reads them from a request.
        """
        after, before = (moment.replace(tzinfo=UTC) if moment else None for moment in (created_after, created_before))
        return [
            cluster
            for cluster in reversed(list(self.clusters.values()))
            if (after is None or cluster.life.created_at >= after)
            and (before is None or cluster.life.created_at <= before)
        ]

    def end_all(self, timeout_seconds: float) -> None:
        """Ends every cluster and waits until their processes are gone."""
        for cluster in self.clusters.values():
            cluster.driver.terminate()
        for cluster in self.clusters.values():
            cluster.driver.join(timeout_seconds)

    def _job_flow(self, job_flow_id: str) -> LocalCluster:
        """Returns a cluster. Raises ValidationException if there is none, in the words that EMR's older calls use."""
        if job_flow_id not in self.clusters:
            raise ValidationException("Specified job flow ID does not exist.")
        return self.clusters[job_flow_id]


local_emr_backends: Final = BackendDict(LocalEmrBackend, "emr")


def cluster_names(cluster_ids: Iterable[str]) -> list[str]:
    """Returns the names of the clusters that exist among these, in any region."""
    return [str(cluster.name) for cluster in _clusters(cluster_ids)]


def cluster_tags(cluster_ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Returns the tags of the clusters that exist among these, in any region, by the clusters' ids."""
    return {cluster.id: {tag["Key"]: tag["Value"] for tag in cluster.tags} for cluster in _clusters(cluster_ids)}


def _clusters(cluster_ids: Iterable[str]) -> list[LocalCluster]:
    wanted = set(cluster_ids)
    backends = [backend for account in list(local_emr_backends.values()) for backend in list(account.values())]
    return [cluster for backend in backends for cluster in list(backend.clusters.values()) if cluster.id in wanted]
