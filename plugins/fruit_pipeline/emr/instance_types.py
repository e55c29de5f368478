"""What an EC2 instance type is, told by its name: `m5.2xlarge` has 8 vCPUs, 32 GiB and an x86-64 processor.

Known are the families c, m and r from the fifth generation on, in sizes from large. Others have amounts of memory that
follow no rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fruit_pipeline.errors import UnfitInstanceTypeError, UnknownInstanceTypeError
from fruit_pipeline.settings import VARIABLES

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings

_GIB_A_VCPU: Final = {"c": 2, "m": 4, "r": 8}
_FIRST_GENERATION: Final = 5
_VCPUS_OF_LARGE: Final = 2
_VCPUS_AN_XLARGE: Final = 4
_NAME: Final = re.compile(r"(?P<family>[cmr])(?P<generation>\d+)(?P<letters>[a-z]*)(?:-flex)?\.(?:large|(?P<times>[1-9]\d*)?xlarge)")
_LETTER_OF_GRAVITON: Final = "g"


@dataclass(frozen=True)
class InstanceType:
    """`memory_mib` is what AWS sells. `setting` is the variable that holds the name, for messages."""

    name: str
    vcpus: int
    memory_mib: int
    is_graviton: bool
    setting: str = field(compare=False)


def instance_type(name: str, setting: str = VARIABLES["core_instance_type"]) -> InstanceType:
    """Returns what the name says. Raises UnknownInstanceTypeError if it says too little; the message names `setting`."""
    found = _NAME.fullmatch(name)
    if not found or int(found["generation"]) < _FIRST_GENERATION:
        raise UnknownInstanceTypeError(
            f"How many vCPUs and how much memory '{name}' has is not known. Set {setting} to a type of the families c, m or r, "
            f"of generation {_FIRST_GENERATION} or later, in a size of large, xlarge or <n>xlarge, for example m5.2xlarge."
        )
    n_vcpus = _VCPUS_AN_XLARGE * int(found["times"] or 1) if name.endswith("xlarge") else _VCPUS_OF_LARGE
    memory_mib = n_vcpus * _GIB_A_VCPU[found["family"]] * 1024
    return InstanceType(name, n_vcpus, memory_mib, _LETTER_OF_GRAVITON in found["letters"], setting)


def vcpus(name: str) -> int:
    """Returns the vCPUs of a core or task node. Raises UnknownInstanceTypeError if the name does not tell them."""
    return instance_type(name).vcpus


def core_type(settings: Settings) -> InstanceType:
    """Returns the type of the core and task nodes. Raises UnknownInstanceTypeError if its name does not tell what it is."""
    return instance_type(settings.core_instance_type, VARIABLES["core_instance_type"])


def primary_type(settings: Settings) -> InstanceType:
    """Returns the type of the primary node. Raises UnknownInstanceTypeError if its name does not tell what it is."""
    return instance_type(settings.primary_instance_type, VARIABLES["primary_instance_type"])


def require_x86(kind: InstanceType) -> None:
    """Raises UnfitInstanceTypeError for a Graviton type: its nodes could not install a release's packages."""
    if kind.is_graviton:
        raise UnfitInstanceTypeError(
            f"'{kind.name}' has a Graviton processor (arm64). A release's packages are locked, and brought along as wheels, "
            f"for x86-64 only. Set {kind.setting} to an x86-64 type of the same size, for example "
            f"{kind.name[0]}6i.{kind.name.partition('.')[2]}."
        )
