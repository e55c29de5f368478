"""Estimates how long some images take on a cluster, what it costs, and how many nodes finish in time: from 10^4 images
to 10^9.

    minutes of a run = start of the cluster + fixed work
                       + images x (driver's seconds + vCPU seconds / vCPUs of all core and task nodes)
    euros            = minutes x nodes x their hourly price + images x requests to S3 x their price

Assumptions, each a setting or a constant below: the features step scales with the vCPUs (tasks share nothing, their
tail is under a tenth); the driver lists, compares and deals one key after another; a run takes as many images as its
driver's node has memory for, so that more are several runs, one after the other; every new image is projected once, and
a refit that is foreseen projects the history besides.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from fruit_pipeline.emr.nodes.instance_types import primary_type
from fruit_pipeline.emr.nodes.spark_sizes import most_images_a_run, task_slots
from fruit_pipeline.settings import SPOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fruit_pipeline.planning.pca_state import Refit
    from fruit_pipeline.settings import Settings

# A LIST request gives 1,000 keys and takes up to a tenth of a second; comparing and dealing them takes 3 s a million
# (`make bench`).
DRIVER_SECONDS_PER_MILLION: Final = 100.0
# These were measured on two cores, which are four vCPUs. Reading, projecting and writing 20,000 images takes 1.26 s
# there (benchmarks/results/pca-full.md); a refit takes 37 s per million images and 2.5 s per 1,000 partitions
# (history-full.md).
PROJECTION_VCPU_SECONDS_PER_MILLION: Final = 252.0
REFIT_VCPU_SECONDS_PER_MILLION: Final = 148.0
REFIT_VCPU_SECONDS_PER_THOUSAND_FILES: Final = 10.0
# A whole run with a refit makes so many requests (`python -m benchmarks --only scale`), and S3 takes about so much for
# them in the EU. PUT and LIST cost the same.
S3_GETS_PER_MILLION: Final = 1_006_000
S3_PUTS_AND_LISTS_PER_MILLION: Final = 5_000
EUR_PER_MILLION_GETS: Final = 0.40
EUR_PER_MILLION_PUTS_AND_LISTS: Final = 5.00
_S3_EUR_PER_MILLION: Final = (
    S3_GETS_PER_MILLION / 1e6 * EUR_PER_MILLION_GETS
    + S3_PUTS_AND_LISTS_PER_MILLION / 1e6 * EUR_PER_MILLION_PUTS_AND_LISTS
)


@dataclass(frozen=True)
class Nodes:
    """Says how many nodes work on the images. The primary node comes on top."""

    core: int
    task: int = 0

    @property
    def working(self) -> int:
        return self.core + self.task


@dataclass(frozen=True)
class MeasuredSpeed:
    """Says how fast a run's features step was. It tells of later runs with the same engine and the same instance type
    (as set).
    """

    images_per_second_per_vcpu: float
    engine: str
    core_instance_type: str
    run_id: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | None) -> MeasuredSpeed | None:
        """Returns the speed that `as_dict` made the record of, or None if there is no such record."""
        try:
            speed = cls(**record) if record else None
            makes_sense = speed is not None and 0 < speed.images_per_second_per_vcpu < math.inf
        except TypeError:
            return None
        return speed if makes_sense else None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def tells_of(self, settings: Settings) -> bool:
        return (self.engine, self.core_instance_type) == (settings.engine, settings.core_instance_type)


@dataclass(frozen=True)
class Estimate:
    """Says how many minutes a run takes from the request to the end of its last step, what it costs, and on which
    assumptions.

    `euros` is the price of the instances, None if one is not known; `s3_euros` is that of the requests. `task_market`
    is how the task nodes are bought: "spot" or "on-demand".
    """

    core_instances: int
    task_instances: int
    task_market: str
    minutes: float
    euros: float | None
    s3_euros: float
    assumptions: dict[str, Any]

    @property
    def all_euros(self) -> float | None:
        return None if self.euros is None else self.euros + self.s3_euros

    def euros_per_thousand(self, images: int) -> float | None:
        return None if self.all_euros is None or not images else 1000 * self.all_euros / images


def estimate(
    images: int,
    settings: Settings,
    *,
    nodes: Nodes | None = None,
    speed: MeasuredSpeed | None = None,
    needs_cluster: bool = True,
    refit: Refit | None = None,
) -> Estimate:
    """Returns what `images` new images take on `nodes` (default: what `nodes_for` says). Without work there is no
    cluster, and all is zero.

    `refit` is the new PCA that is foreseen, under which the history is projected. `speed` counts if it tells of these
    settings; otherwise the settings' own speed does. Raises InstanceTypeError if an instance type's name does not tell
    its vCPUs, or if a driver has no room.
    """
    per_vcpu, origin = _speed(settings, speed)
    if not needs_cluster:
        nodes = Nodes(0)
    elif nodes is None:
        nodes = nodes_for(images, settings, speed, refit)
    minutes = _minutes(images, settings, nodes, per_vcpu, refit) if needs_cluster else 0.0
    primary_price = settings.prices.get(settings.primary_instance_type)
    core_price = settings.prices.get(settings.core_instance_type)
    euros = None
    if primary_price is not None and core_price is not None:
        task_price = core_price * (settings.spot_price_share if settings.task_market == SPOT else 1)
        euros = round(minutes / 60 * (primary_price + core_price * nodes.core + task_price * nodes.task), 2)
    return Estimate(
        core_instances=nodes.core,
        task_instances=nodes.task,
        task_market=settings.task_market,
        minutes=round(minutes, 1),
        euros=euros,
        s3_euros=round(images / 1e6 * _S3_EUR_PER_MILLION, 2) if needs_cluster else 0.0,
        assumptions={
            "primary_instance_type": settings.primary_instance_type,
            "core_instance_type": settings.core_instance_type,
            "images_per_second_per_vcpu": per_vcpu,
            "speed": origin,
            "cluster_start_minutes": settings.cluster_start_minutes,
            "fixed_work_minutes": settings.fixed_work_minutes,
            "driver_seconds_per_million": DRIVER_SECONDS_PER_MILLION,
            "projection_vcpu_seconds_per_million": PROJECTION_VCPU_SECONDS_PER_MILLION,
            "refit_vcpu_seconds_per_million": REFIT_VCPU_SECONDS_PER_MILLION,
            "refit_vcpu_seconds_per_thousand_files": REFIT_VCPU_SECONDS_PER_THOUSAND_FILES,
            "s3_eur_per_million": round(_S3_EUR_PER_MILLION, 2),
            "images_per_run": most_images_a_run(primary_type(settings)),
            "eur_per_hour": {settings.primary_instance_type: primary_price, settings.core_instance_type: core_price},
            "spot_price_share": settings.spot_price_share,
        },
    )


def nodes_for(images: int, settings: Settings, speed: MeasuredSpeed | None = None, refit: Refit | None = None) -> Nodes:
    """Returns the core nodes that are set, and the fewest task nodes that do `images` within the target minutes; all
    task nodes if no number does.
    """
    core, most = settings.core_instance_count, settings.task_instance_max
    per_vcpu = _speed(settings, speed)[0]
    within = (
        n for n in range(most) if _minutes(images, settings, Nodes(core, n), per_vcpu, refit) <= settings.target_minutes
    )
    return Nodes(core, next(within, most))


def _speed(settings: Settings, measured: MeasuredSpeed | None) -> tuple[float, str]:
    """Returns how many images a vCPU does in a second, and where that number comes from."""
    if measured and measured.tells_of(settings):
        return measured.images_per_second_per_vcpu, f"measured by run {measured.run_id}"
    return settings.images_per_second_per_vcpu, "assumed"


def _minutes(
    images: int, settings: Settings, nodes: Nodes, images_per_second_per_vcpu: float, refit: Refit | None = None
) -> float:
    runs = max(1, math.ceil(images / most_images_a_run(primary_type(settings))))
    vcpu_seconds = images / images_per_second_per_vcpu + images / 1e6 * PROJECTION_VCPU_SECONDS_PER_MILLION
    if refit:
        vcpu_seconds += refit.n_images / 1e6 * REFIT_VCPU_SECONDS_PER_MILLION
        vcpu_seconds += refit.n_files / 1e3 * REFIT_VCPU_SECONDS_PER_THOUSAND_FILES
    work_seconds = vcpu_seconds / task_slots(settings, nodes.working) + images / 1e6 * DRIVER_SECONDS_PER_MILLION
    return runs * (settings.cluster_start_minutes + settings.fixed_work_minutes) + work_seconds / 60
