"""How long some images take on a cluster, what it costs, and how many nodes finish in a given time: from 10^4 images to 10^9.

minutes of a run = start of the cluster + fixed work + images x (driver's seconds + vCPU seconds / vCPUs of all core nodes)

Assumptions, each a setting or a constant below: the features step scales with the vCPUs (tasks share nothing, their tail is under a tenth);
the driver lists, compares and deals one key after another; a run holds so many keys on its driver and no more, so that more images are
several runs, one after the other; every new image is projected once, and a refit projects the history besides.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings

# A LIST request gives 1,000 keys and takes up to a tenth of a second; comparing and dealing them takes 3 s a million (`make bench`).
DRIVER_SECONDS_PER_MILLION: Final = 100.0
# Reading, projecting and writing 20,000 images takes 1 s of two cores (benchmarks/results/pca-full.md), and a vCPU is half a core.
PROJECTION_VCPU_SECONDS_PER_MILLION: Final = 200.0
# A million keys take half a gigabyte of the driver.
IMAGES_PER_RUN: Final = 5_000_000

_VCPUS_PER_XLARGE: Final = 4
_VCPUS_OF_LARGE: Final = 2
_XLARGE: Final = re.compile(r"(\d*)xlarge")


class UnknownInstanceTypeError(ValueError):
    """An instance type whose number of vCPUs its name does not tell."""


@dataclass(frozen=True)
class Estimate:
    """Minutes from the request to the end of the last step, and their assumptions. `euros` is None when a price is not known."""

    core_instances: int
    minutes: float
    euros: float | None
    assumptions: dict[str, Any]

    def euros_per_thousand(self, images: int) -> float | None:
        return None if self.euros is None or not images else 1000 * self.euros / images


def estimate(images: int, settings: Settings, *, core_instances: int | None = None, needs_cluster: bool = True) -> Estimate:
    """What `images` new images take on `core_instances` core nodes (default: the settings'). No work needs no cluster: zero of all.

    Raises UnknownInstanceTypeError if the instance type's name does not tell its vCPUs.
    """
    n_core = settings.core_instance_count if core_instances is None else core_instances
    minutes = _minutes(images, settings, n_core) if needs_cluster else 0.0
    primary_price = settings.prices.get(settings.primary_instance_type)
    core_price = settings.prices.get(settings.core_instance_type)
    euros = None
    if primary_price is not None and core_price is not None:
        euros = round(minutes / 60 * (primary_price + core_price * n_core), 2)
    return Estimate(
        core_instances=n_core if needs_cluster else 0,
        minutes=round(minutes, 1),
        euros=euros,
        assumptions={
            "primary_instance_type": settings.primary_instance_type,
            "core_instance_type": settings.core_instance_type,
            "images_per_second_per_vcpu": settings.images_per_second_per_vcpu,
            "cluster_start_minutes": settings.cluster_start_minutes,
            "fixed_work_minutes": settings.fixed_work_minutes,
            "driver_seconds_per_million": DRIVER_SECONDS_PER_MILLION,
            "projection_vcpu_seconds_per_million": PROJECTION_VCPU_SECONDS_PER_MILLION,
            "images_per_run": IMAGES_PER_RUN,
            "eur_per_hour": {settings.primary_instance_type: primary_price, settings.core_instance_type: core_price},
        },
    )


def core_instances_for(images: int, settings: Settings, minutes: float, *, most: int) -> int:
    """The fewest core nodes, at least the settings' and at most `most`, that do `images` within `minutes`; `most` if none can."""
    fewest = settings.core_instance_count
    within = (n for n in range(fewest, max(fewest, most)) if _minutes(images, settings, n) <= minutes)
    return next(within, max(fewest, most))


def vcpus(instance_type: str) -> int:
    """The vCPUs of an EC2 instance type, from its size: large 2, xlarge 4, <n>xlarge 4n.

    Raises UnknownInstanceTypeError for sizes that do not follow the rule (metal, small).
    """
    size = instance_type.rpartition(".")[2]
    if size == "large":
        return _VCPUS_OF_LARGE
    match = _XLARGE.fullmatch(size)
    if not match:
        raise UnknownInstanceTypeError(
            f"How many vCPUs '{instance_type}' has is not known. "
            "Set FRUITS_CORE_INSTANCE_TYPE to a size of large, xlarge or <n>xlarge, for example m5.2xlarge."
        )
    return _VCPUS_PER_XLARGE * int(match.group(1) or 1)


def _minutes(images: int, settings: Settings, n_core: int) -> float:
    runs = max(1, math.ceil(images / IMAGES_PER_RUN))
    vcpu_seconds = images / settings.images_per_second_per_vcpu + images / 1e6 * PROJECTION_VCPU_SECONDS_PER_MILLION
    work_seconds = vcpu_seconds / (vcpus(settings.core_instance_type) * n_core) + images / 1e6 * DRIVER_SECONDS_PER_MILLION
    return runs * (settings.cluster_start_minutes + settings.fixed_work_minutes) + work_seconds / 60
