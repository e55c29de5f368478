"""Says which nodes a cluster has: fleets of instances that can stand in for each other, and how far it may scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fruit_pipeline.settings import SPOT

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings

# The families of a row have the same architecture, vCPUs and memory, in the sizes that all of them have: where one is
# sold out, another may not be.
_SIBLING_FAMILIES: Final = (
    (
        ("m5", "m5a", "m5d", "m6i", "m6a"),
        ("xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge"),
    ),
    (("c5", "c5a", "c6i", "c6a"), ("xlarge", "2xlarge", "4xlarge", "12xlarge", "24xlarge")),
    (("r5", "r5a", "r6i", "r6a"), ("xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge")),
    (("m6g", "m7g"), ("xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge")),
    (("c6g", "c7g"), ("xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge")),
    (("r6g", "r7g"), ("xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge")),
)

# EMR refuses a whole cluster for one type that its region lacks. In regions of the EU that are not named here, all are
# there.
_FAMILIES_NOT_IN: Final = {
    "eu-north-1": frozenset({"m5a", "m6a", "c6a", "r5a", "r6a"}),
    "eu-south-1": frozenset({"c6a", "r6a", "m7g"}),
    "eu-south-2": frozenset({"m5a", "m6i", "m6a", "c5a", "c6i", "c6a", "r5a", "r6i", "r6a"}),
    "eu-west-3": frozenset({"c6a", "r6a"}),
}


def instances(settings: Settings, task_instances: int) -> dict[str, Any]:
    """Returns the cluster's nodes. There is no key pair and no security group of our own: with the groups that EMR
    manages, nothing is reachable from outside.
    """
    fleets = [
        _fleet("MASTER", settings.primary_instance_type, settings.region, on_demand=1),
        _fleet("CORE", settings.core_instance_type, settings.region, on_demand=settings.core_instance_count),
    ]
    if has_spot_nodes(settings, task_instances):
        fleets.append(_spot_fleet(settings, task_instances))
    elif task_instances:
        fleets.append(_fleet("TASK", settings.core_instance_type, settings.region, on_demand=task_instances))
    instances: dict[str, Any] = {
        "InstanceFleets": fleets,
        # The DAG's teardown ends the cluster. Between two steps it has no step, and must live on.
        "KeepJobFlowAliveWhenNoSteps": True,
        "TerminationProtected": False,
    }
    if settings.subnet_id:
        # EMR takes the subnet whose zone has the instances.
        instances["Ec2SubnetIds"] = settings.subnet_id.split(",")
    return instances


def _fleet(role: str, instance_type: str, region: str, *, on_demand: int) -> dict[str, Any]:
    return {
        "Name": {"MASTER": "Primary", "CORE": "Core", "TASK": "Task"}[role],
        "InstanceFleetType": role,
        "TargetOnDemandCapacity": on_demand,
        # A unit is a node, because all types of a fleet are of one size.
        "InstanceTypeConfigs": [
            {"InstanceType": name, "WeightedCapacity": 1}
            for name in [instance_type, *sibling_types(instance_type, region)]
        ],
        "LaunchSpecifications": {"OnDemandSpecification": {"AllocationStrategy": "lowest-price"}},
    }


def _spot_fleet(settings: Settings, task_instances: int) -> dict[str, Any]:
    """Returns a fleet of spot nodes. Those that can't be had in time when the cluster starts are taken on demand."""
    fleet = _fleet("TASK", settings.core_instance_type, settings.region, on_demand=0) | {
        "TargetSpotCapacity": task_instances
    }
    fleet["LaunchSpecifications"]["SpotSpecification"] = {
        "TimeoutDurationMinutes": settings.spot_timeout_minutes,
        "TimeoutAction": "SWITCH_TO_ON_DEMAND",
        "AllocationStrategy": "price-capacity-optimized",
    }
    return fleet


def compute_limits(settings: Settings, task_instances: int) -> dict[str, Any]:
    """Returns limits by which the number of core nodes stays the same and task nodes come and go.

    Managed scaling adds nodes on demand up to MaximumOnDemandCapacityUnits, and spot nodes only beyond that: with a
    higher limit than the core nodes it would never ask for a spot node again. It does not take part in the switch to on
    demand when a cluster starts.
    """
    core = settings.core_instance_count
    return {
        "UnitType": "InstanceFleetUnits",
        "MinimumCapacityUnits": core,
        "MaximumCapacityUnits": core + task_instances,
        "MaximumOnDemandCapacityUnits": core if has_spot_nodes(settings, task_instances) else core + task_instances,
        "MaximumCoreCapacityUnits": core,
    }


def has_spot_nodes(settings: Settings, task_instances: int) -> bool:
    return task_instances > 0 and settings.task_market == SPOT


def sibling_types(instance_type: str, region: str) -> list[str]:
    """Returns the types of other families with the same vCPUs and memory that the region has. Any of them will do in
    place of this one.
    """
    family, _, size = instance_type.partition(".")
    not_there = _FAMILIES_NOT_IN.get(region, frozenset())
    for families, sizes in _SIBLING_FAMILIES:
        if family in families and size in sizes:
            return [f"{other}.{size}" for other in families if other != family and other not in not_there]
    return []
