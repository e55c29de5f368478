"""Tells what an EC2 instance type is by its name: `m5.2xlarge` has 8 vCPUs, 32 GiB and an x86-64 processor,
`m7g.2xlarge` as much and a Graviton processor (arm64).

The families c, m and r are known from the fifth generation on, in sizes from large. The amounts of memory of others
follow no rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fruit_contract.release import TENSORFLOW
from fruit_pipeline.errors import UnfitInstanceTypeError, UnknownInstanceTypeError
from fruit_pipeline.settings import VARIABLES

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings

_GIB_A_VCPU: Final = {"c": 2, "m": 4, "r": 8}
_FIRST_GENERATION: Final = 5
_VCPUS_OF_LARGE: Final = 2
_VCPUS_AN_XLARGE: Final = 4
_NAME: Final = re.compile(
    r"(?P<family>[cmr])(?P<generation>\d+)(?P<letters>[a-z]*)(?:-flex)?\.(?:large|(?P<times>[1-9]\d*)?xlarge)"
)
_LETTER_OF_GRAVITON: Final = "g"


@dataclass(frozen=True)
class InstanceType:
    """Describes an instance type. `memory_mib` is what AWS sells. `setting` is the variable that holds the name, for
    messages.
    """

    name: str
    vcpus: int
    memory_mib: int
    is_graviton: bool
    setting: str = field(compare=False)


def instance_type(name: str, setting: str = VARIABLES["core_instance_type"]) -> InstanceType:
    """Returns what the name tells of the type. Raises UnknownInstanceTypeError if that is too little; the message names
    `setting`.
    """
    found = _NAME.fullmatch(name)
    if not found or int(found["generation"]) < _FIRST_GENERATION:
        raise UnknownInstanceTypeError(
            f"How many vCPUs and how much memory '{name}' has is not known. Set {setting} to a type of the families c, "
            f"m or r, of generation {_FIRST_GENERATION} or later, in a size of large, xlarge or <n>xlarge, for example "
            "m5.2xlarge."
        )
    n_vcpus = _VCPUS_AN_XLARGE * int(found["times"] or 1) if name.endswith("xlarge") else _VCPUS_OF_LARGE
    memory_mib = n_vcpus * _GIB_A_VCPU[found["family"]] * 1024
    return InstanceType(name, n_vcpus, memory_mib, _LETTER_OF_GRAVITON in found["letters"], setting)


def vcpus(name: str) -> int:
    """Returns the vCPUs of a core or task node. Raises UnknownInstanceTypeError if the name does not tell them."""
    return instance_type(name).vcpus


def core_type(settings: Settings) -> InstanceType:
    """Returns the type of the core and task nodes. Raises UnknownInstanceTypeError if its name does not tell what it
    is.
    """
    return instance_type(settings.core_instance_type, VARIABLES["core_instance_type"])


def primary_type(settings: Settings) -> InstanceType:
    """Returns the type of the primary node. Raises UnknownInstanceTypeError if its name does not tell what it is."""
    return instance_type(settings.primary_instance_type, VARIABLES["primary_instance_type"])


def require_fit(settings: Settings) -> None:
    """Raises UnfitInstanceTypeError for nodes of two architectures, or of one for which the engine has no package."""
    core, primary = core_type(settings), primary_type(settings)
    if core.is_graviton != primary.is_graviton:
        one, other = (core, primary) if core.is_graviton else (primary, core)
        raise UnfitInstanceTypeError(
            f"'{one.name}' ({one.setting}) has a Graviton processor (arm64) and '{other.name}' ({other.setting}) an "
            f"x86-64 one. A cluster has nodes of one architecture: set both to Graviton types, for example {one.name} "
            f"and {_graviton_like(other.name)}, or neither."
        )
    if core.is_graviton and settings.engine == TENSORFLOW:
        raise UnfitInstanceTypeError(
            f"FRUITS_ENGINE={TENSORFLOW} has packages for x86-64 only, and '{core.name}' has a Graviton processor "
            f"(arm64). Leave FRUITS_ENGINE empty, or set {core.setting} and {primary.setting} to x86-64 types."
        )


def _graviton_like(name: str) -> str:
    """Returns a Graviton type with the vCPUs and the memory of the one with that name."""
    return f"{name[0]}6g.{name.partition('.')[2]}"
