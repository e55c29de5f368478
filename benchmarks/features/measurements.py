"""What one benchmark run measured, and the few figures that follow from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import mean, median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class CeilingRun:
    """The engine alone on every core, for a few seconds."""

    images_per_second: float
    cpu_seconds_per_image: float


@dataclass(frozen=True)
class WayRun:
    """One timed run of a way, with the ceiling right before and right after it. `cpu_seconds` is without the S3 server's."""

    way: str
    n_images: int
    seconds: float
    cpu_seconds: float
    s3_cpu_seconds: float
    ceiling_before: CeilingRun
    ceiling_after: CeilingRun
    worker_megabytes: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def images_per_second(self) -> float:
        return self.n_images / self.seconds

    def cores_busy(self, n_cores: int) -> float:
        """The share of the cores' time that the way and the S3 server used."""
        return (self.cpu_seconds + self.s3_cpu_seconds) / (self.seconds * n_cores)

    @property
    def share_of_ceiling(self) -> float:
        """Of the ceiling around this run: the speed of a shared machine changes from minute to minute."""
        return self.images_per_second / mean([self.ceiling_before.images_per_second, self.ceiling_after.images_per_second])

    def share_with_s3_apart(self, n_cores: int) -> float:
        """The share of the ceiling if the S3 server's CPU were another machine's, as it is on a cluster."""
        return self.share_of_ceiling * self.seconds / (self.seconds - self.s3_cpu_seconds / n_cores)


@dataclass(frozen=True)
class WaySummary:
    """The runs of one way: medians, and the largest worker."""

    way: str
    n_runs: int
    n_images: int
    images_per_second: float
    share_of_ceiling: float
    share_with_s3_apart: float
    times_reference: float
    cpu_seconds_per_image: float
    s3_cpu_seconds_per_image: float
    worker_megabytes: float | None


@dataclass(frozen=True)
class FixedCosts:
    """What a step costs however few its images are, in seconds."""

    session_start: float
    small_day_images: int
    small_day: float
    nothing_new: float
    planned_images: int
    planning: float


@dataclass(frozen=True)
class Agreement:
    """How like each other two ways' features of the same images are."""

    n_images: int
    mean_cosine: float
    smallest_cosine: float
    largest_difference: float


@dataclass(frozen=True)
class FeaturesBenchmark:
    """`reference_way` is the one the others are compared with."""

    n_cores: int
    ceilings: Sequence[CeilingRun]
    runs: Sequence[WayRun]
    reference_way: str
    fixed_costs: FixedCosts
    agreement: Agreement


@dataclass(frozen=True)
class NotebookLoad:
    """How many images the notebook way gets, and in how many partitions."""

    n_images: int
    n_partitions: int

    @property
    def per_partition(self) -> int:
        return round(self.n_images / self.n_partitions)


def notebook_load(per_partition: int, n_images: int, n_cores: int) -> NotebookLoad:
    """Of up to `n_images`, as many as fill partitions of `per_partition`, each core the same number of partitions.

    If there are too few for that, each core gets one partition of what there is.
    """
    n_partitions = n_images // (per_partition * n_cores) * n_cores
    return NotebookLoad(n_partitions * per_partition, n_partitions) if n_partitions else NotebookLoad(n_images, n_cores)


def summarise(runs: Sequence[WayRun], reference_way: str, n_cores: int) -> list[WaySummary]:
    """A summary for each way, in the order in which they ran first. Raises ValueError if the reference did not run."""
    by_way: dict[str, list[WayRun]] = {}
    for run in runs:
        by_way.setdefault(run.way, []).append(run)
    if reference_way not in by_way:
        raise ValueError(f"'{reference_way}' is what the others are compared with, and it was not run.")
    reference = median(run.images_per_second for run in by_way[reference_way])
    return [_summary(way, its_runs, reference, n_cores) for way, its_runs in by_way.items()]


def median_stages(stages: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each stage, in their order."""
    names = dict.fromkeys(name for run in stages for name in run)
    return {name: median(run[name] for run in stages if name in run) for name in names}


def _summary(way: str, runs: Sequence[WayRun], reference: float, n_cores: int) -> WaySummary:
    images_per_second = median(run.images_per_second for run in runs)
    return WaySummary(
        way=way,
        n_runs=len(runs),
        n_images=runs[0].n_images,
        images_per_second=images_per_second,
        share_of_ceiling=median(run.share_of_ceiling for run in runs),
        share_with_s3_apart=median(run.share_with_s3_apart(n_cores) for run in runs),
        times_reference=images_per_second / reference,
        cpu_seconds_per_image=median(run.cpu_seconds / run.n_images for run in runs),
        s3_cpu_seconds_per_image=median(run.s3_cpu_seconds / run.n_images for run in runs),
        worker_megabytes=max((run.worker_megabytes for run in runs if run.worker_megabytes is not None), default=None),
    )
