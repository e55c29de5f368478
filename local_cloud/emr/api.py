"""Answers EMR's actions over HTTP: takes moto's answers, and corrects and completes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moto.core.responses import ActionResult, EmptyResult
from moto.emr.exceptions import InvalidRequestException, ValidationException
from moto.emr.responses import ElasticMapReduceResponse
from moto.emr.utils import random_instance_group_id

from local_cloud.emr.backend import LocalCluster, LocalEmrBackend, local_emr_backends
from local_cloud.emr.instances import instance_status, instance_weight, instances_needed
from local_cloud.emr.paging import page_of
from local_cloud.emr.resources import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REGION_HEADER: Final = "X-Fruits-Verified-Region"
DEFAULT_SCALE_DOWN: Final = "TERMINATE_AT_TASK_COMPLETION"
_FLEET_CAPACITIES: Final = {
    "TargetOnDemandCapacity": "ProvisionedOnDemandCapacity",
    "TargetSpotCapacity": "ProvisionedSpotCapacity",
}
_OTHER_COLLECTION: Final = (
    "Instance fleets and instance groups are mutually exclusive. The EMR cluster specified in the request uses "
    "instance {has}. "
    "The {action} operation does not support clusters that use instance {has}. Use the {use} operation instead."
)
_FLEET_SPECIFICATIONS: Final = ("LaunchSpecifications", "ResizeSpecifications", "Context")


class LocalEmrResponse(ElasticMapReduceResponse):  # type: ignore[misc]  # moto ships no types
    """Answers one request, whose signature has been checked and whose region is in REGION_HEADER.

    Every public method is an action of EMR's API.
    """

    def get_region_from_url(self, request: Any, full_url: str) -> str:  # noqa: ARG002  # moto's signature
        region: str = request.headers[REGION_HEADER]
        return region

    @property
    def backend(self) -> LocalEmrBackend:
        backend: LocalEmrBackend = local_emr_backends[self.current_account][self.region]
        return backend

    def run_job_flow(self) -> ActionResult:
        fleets = plain(self._get_param("Instances.InstanceFleets", []))
        _check_instances(
            fleets,
            plain(self._get_param("Instances.InstanceGroups", [])),
            self._get_param("Instances.MasterInstanceType"),
        )
        idle_timeout = self._policy("AutoTerminationPolicy")
        self.backend.check_auto_termination_policy(idle_timeout)
        answer = super().run_job_flow()
        cluster = self.backend.clusters[answer.result["JobFlowId"]]
        cluster.instance_fleets = [instance_fleet(fleet) for fleet in fleets]
        cluster.requested_subnet_ids = plain(self._get_param("Instances.Ec2SubnetIds", []))
        # Of several subnets, EMR takes the one in which it finds room for the fleets.
        cluster.ec2_subnet_id = cluster.ec2_subnet_id or next(iter(cluster.requested_subnet_ids), None)
        cluster.managed_scaling_policy = self._policy("ManagedScalingPolicy")
        cluster.scale_down_behavior = self._get_param("ScaleDownBehavior", DEFAULT_SCALE_DOWN)
        if idle_timeout:
            self.backend.put_auto_termination_policy(cluster.id, idle_timeout)
        cluster.start()
        return answer

    def cancel_steps(self) -> ActionResult:
        answers = self.backend.cancel_steps(
            self._get_param("ClusterId"),
            self._get_param("StepIds", []),
            force=self._get_param("StepCancellationOption") == "TERMINATE_PROCESS",
        )
        return ActionResult({"CancelStepsInfoList": answers})

    def list_clusters(self) -> ActionResult:
        clusters = self.backend.newest_clusters(self._get_param("CreatedAfter"), self._get_param("CreatedBefore"))
        return self._page("Clusters", clusters, state=self._get_param("ClusterStates"))

    def list_steps(self) -> ActionResult:
        """Lists the steps, newest first."""
        newest_first = list(reversed(self._cluster().steps))
        return self._page("Steps", newest_first, state=self._get_param("StepStates"), id=self._get_param("StepIds"))

    def list_instances(self) -> ActionResult:
        return self._page(
            "Instances",
            self._cluster().instances,
            instance_group_id=_one(self._get_param("InstanceGroupId")),
            instance_fleet_id=_one(self._get_param("InstanceFleetId")),
            role=self._get_param("InstanceGroupTypes") or _one(self._get_param("InstanceFleetType")),
            state=self._get_param("InstanceStates"),
        )

    def list_instance_groups(self) -> ActionResult:
        if self._cluster().instance_fleets:
            raise InvalidRequestException(
                _OTHER_COLLECTION.format(has="fleets", action="ListInstanceGroups", use="ListInstanceFleets")
            )
        return super().list_instance_groups()

    def list_instance_fleets(self) -> ActionResult:
        cluster = self._cluster()
        if not cluster.instance_fleets:
            raise InvalidRequestException(
                _OTHER_COLLECTION.format(has="groups", action="ListInstanceFleets", use="ListInstanceGroups")
            )
        status = instance_status(cluster.life)
        return ActionResult({"InstanceFleets": [fleet | {"Status": status} for fleet in cluster.instance_fleets]})

    def get_auto_termination_policy(self) -> ActionResult:
        return ActionResult({"AutoTerminationPolicy": self._cluster().auto_termination_policy})

    def put_auto_termination_policy(self) -> ActionResult:
        self.backend.put_auto_termination_policy(self._cluster().id, self._policy("AutoTerminationPolicy") or {})
        return EmptyResult()

    def remove_auto_termination_policy(self) -> ActionResult:
        self.backend.remove_auto_termination_policy(self._cluster().id)
        return EmptyResult()

    def get_managed_scaling_policy(self) -> ActionResult:
        return ActionResult({"ManagedScalingPolicy": self._cluster().managed_scaling_policy})

    def put_managed_scaling_policy(self) -> ActionResult:
        self._cluster().managed_scaling_policy = self._policy("ManagedScalingPolicy")
        return EmptyResult()

    def remove_managed_scaling_policy(self) -> ActionResult:
        self._cluster().managed_scaling_policy = None
        return EmptyResult()

    def _cluster(self) -> LocalCluster:
        return self.backend.clusters[self._get_param("ClusterId")]

    def _page(self, result_key: str, everything: Sequence[Any], **filters: Sequence[str] | None) -> ActionResult:
        """Returns a page of what passes every filter.

        A filter that is given lets pass what has one of the listed values in the attribute of the filter's name.
        """
        wanted = {name: set(values) for name, values in filters.items() if values}
        try:
            page, marker = page_of(
                everything,
                self._get_param("Marker"),
                lambda thing: all(getattr(thing, name) in values for name, values in wanted.items()),
            )
        except ValueError as error:
            raise InvalidRequestException("Marker is not valid.") from error
        return ActionResult({result_key: page, "Marker": marker})

    def _policy(self, name: str) -> dict[str, Any] | None:
        policy: dict[str, Any] | None = plain(self._get_param(name))
        return policy


def instance_fleet(request: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an InstanceFleetConfig as ListInstanceFleets tells it, with all it asked for provisioned."""
    fleet: dict[str, Any] = {
        "Id": random_instance_group_id().replace("i-", "if-"),
        "Name": request.get("Name"),
        "InstanceFleetType": request["InstanceFleetType"],
        "InstanceTypeSpecifications": request.get("InstanceTypeConfigs", []),
    }
    types = fleet["InstanceTypeSpecifications"]
    for target, provisioned in _FLEET_CAPACITIES.items():
        fleet[target] = request.get(target, 0)
        # Whole instances: what is provisioned may be more than what was asked for.
        fleet[provisioned] = instances_needed(fleet[target], types) * instance_weight(types)
    return fleet | {name: request[name] for name in _FLEET_SPECIFICATIONS if name in request}


def _one(value: str | None) -> list[str] | None:
    return [value] if value else None


def _check_instances(
    fleets: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]], master_type: str | None
) -> None:
    if sum(map(bool, (fleets, groups, master_type))) != 1:
        raise ValidationException(
            "Instances needs exactly one of InstanceGroups, InstanceFleets and MasterInstanceType."
        )
    roles = [fleet["InstanceFleetType"] for fleet in fleets] + [group["InstanceRole"] for group in groups]
    for role in ("MASTER", "CORE"):
        if roles.count(role) > 1 or (roles and role == "MASTER" and role not in roles):
            raise ValidationException(
                f"A cluster has one {role} instance group or fleet: the request has {roles.count(role)}."
            )
