"""Lists the instances of a cluster as EMR does: as many as were asked for, although this one machine plays them all."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from local_cloud.emr.resources import timeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local_cloud.cluster.life import ClusterLife

LOCAL_HOST_NAME: Final = "localhost"
ON_DEMAND: Final = "ON_DEMAND"
SPOT: Final = "SPOT"
MASTER: Final = "MASTER"
_DIGITS: Final = 17


@dataclass(frozen=True)
class InstanceSet:
    """Describes the instances of one group, or of one fleet and market. Exactly one of the two ids is set."""

    role: str
    market: str
    instance_type: str | None
    count: int
    instance_group_id: str | None = None
    instance_fleet_id: str | None = None

    def instance_id(self, number: int) -> str:
        """Returns the id of an instance of this set, which is the same whenever it is asked for."""
        place = f"{self.instance_group_id or self.instance_fleet_id}/{self.market}/{number}"
        return f"i-{hashlib.sha256(place.encode()).hexdigest()[:_DIGITS]}"


@dataclass(frozen=True)
class LocalInstance:
    """Describes one instance, with the attributes that moto's serialiser looks for."""

    ec2_instance_id: str
    life: ClusterLife
    part_of: InstanceSet
    public_dns_name: str = LOCAL_HOST_NAME
    public_ip_address: str = "127.0.0.1"
    private_dns_name: str = LOCAL_HOST_NAME
    private_ip_address: str = "127.0.0.1"

    @property
    def id(self) -> str:
        return f"c{self.ec2_instance_id}"

    @property
    def role(self) -> str:
        return self.part_of.role

    @property
    def market(self) -> str:
        return self.part_of.market

    @property
    def instance_type(self) -> str | None:
        return self.part_of.instance_type

    @property
    def instance_group_id(self) -> str | None:
        return self.part_of.instance_group_id

    @property
    def instance_fleet_id(self) -> str | None:
        return self.part_of.instance_fleet_id

    @property
    def state(self) -> str:
        return str(self.status["State"])

    @property
    def status(self) -> dict[str, Any]:
        return instance_status(self.life)


def instances(sets: Sequence[InstanceSet], life: ClusterLife, primary_id: str) -> list[LocalInstance]:
    """Returns all instances. The first of the primary group or fleet runs everything and has the id `primary_id`."""
    found = [LocalInstance(part.instance_id(number), life, part) for part in sets for number in range(part.count)]
    primary = next((number for number, instance in enumerate(found) if instance.role == MASTER), None)
    if primary is not None:
        found[primary] = LocalInstance(primary_id, life, found[primary].part_of)
    return found


def instance_status(life: ClusterLife) -> dict[str, Any]:
    """Returns the status of an instance or a fleet, which follows that of its cluster."""
    return {
        "State": "TERMINATED" if life.is_over else "RUNNING" if life.ready_at else "PROVISIONING",
        "Timeline": timeline(life.created_at, ReadyDateTime=life.ready_at, EndDateTime=life.ended_at),
    }


def group_sets(groups: Sequence[Any]) -> list[InstanceSet]:
    """Returns the instances of moto's instance groups."""
    return [
        InstanceSet(
            group.role,
            group.market or ON_DEMAND,
            group.instance_type,
            int(group.num_instances),
            instance_group_id=group.id,
        )
        for group in groups
    ]


def fleet_sets(fleets: Sequence[Mapping[str, Any]]) -> list[InstanceSet]:
    """Returns the instances of fleets, which are passed as ListInstanceFleets tells them."""
    return [
        InstanceSet(
            fleet["InstanceFleetType"],
            market,
            _first_type(fleet["InstanceTypeSpecifications"]).get("InstanceType"),
            instances_needed(fleet[capacity], fleet["InstanceTypeSpecifications"]),
            instance_fleet_id=fleet["Id"],
        )
        for fleet in fleets
        for market, capacity in ((ON_DEMAND, "ProvisionedOnDemandCapacity"), (SPOT, "ProvisionedSpotCapacity"))
    ]


def instances_needed(capacity: int, types: Sequence[Mapping[str, Any]]) -> int:
    """Returns how many instances make up the capacity. Instances are of the first type."""
    return math.ceil(capacity / instance_weight(types))


def instance_weight(types: Sequence[Mapping[str, Any]]) -> int:
    return int(_first_type(types).get("WeightedCapacity") or 1)


def _first_type(types: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return types[0] if types else {}
