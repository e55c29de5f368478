"""Holds what the features benchmark measured, and makes its tables and the words below them."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING

from benchmarks.harness.grid import Column, Grid, column_each, grid, two_columns
from benchmarks.harness.summary import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.engines.field import EngineSpeed
    from benchmarks.harness.agreement import Agreement


@dataclass(frozen=True)
class WayRun:
    """Holds one timed run of a way, with the ceiling right before and right after it. `cpu_seconds` does not count the
    S3 server.
    """

    way: str
    n_images: int
    seconds: float
    cpu_seconds: float
    s3_cpu_seconds: float
    ceiling_before: EngineSpeed
    ceiling_after: EngineSpeed
    worker_megabytes: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    n_cores: int = field(kw_only=True)

    @property
    def images_per_second(self) -> float:
        return self.n_images / self.seconds

    @property
    def seconds_per_image(self) -> float:
        return self.seconds / self.n_images

    @property
    def cpu_seconds_per_image(self) -> float:
        return self.cpu_seconds / self.n_images

    @property
    def s3_cpu_seconds_per_image(self) -> float:
        return self.s3_cpu_seconds / self.n_images

    @property
    def cores_busy(self) -> float:
        """Returns the share of the cores' time that the way and the S3 server used."""
        return (self.cpu_seconds + self.s3_cpu_seconds) / (self.seconds * self.n_cores)

    @property
    def share_of_ceiling(self) -> float:
        """Returns the share of the ceiling around this run, because the speed of a shared machine changes from minute
        to minute.
        """
        return self.images_per_second / mean(
            [self.ceiling_before.images_per_second, self.ceiling_after.images_per_second]
        )

    @property
    def share_with_s3_apart(self) -> float:
        """Returns the share of the ceiling if the S3 server's CPU were another machine's, as it is on a cluster."""
        return self.share_of_ceiling * self.seconds / (self.seconds - self.s3_cpu_seconds / self.n_cores)


@dataclass(frozen=True)
class FixedCosts:
    """Holds what a step costs however few its images are, in seconds."""

    session_start: float
    small_day_images: int
    small_day: float
    nothing_new: float
    planned_images: int
    planning: float


@dataclass(frozen=True)
class FeaturesBenchmark:
    """Holds the runs of all ways; `reference_way` is the one that the others are compared with."""

    n_cores: int
    ceilings: Sequence[EngineSpeed]
    runs: Sequence[WayRun]
    reference_way: str
    fixed_costs: FixedCosts
    agreement: Agreement

    def grids(self) -> list[Grid]:
        """Returns the tables: the ways side by side, every run with its stages, and the fixed costs."""
        return [_ways(self), _runs(self), _fixed_costs(self)]

    def notes(self) -> list[str]:
        agreement = self.agreement
        same = (
            f"Features of ours and of the notebook way, {agreement.n_images:,} images: mean cosine "
            f"{agreement.mean_cosine:.6f}, "
            f"smallest {agreement.smallest_cosine:.6f}, largest difference {agreement.largest_difference:.1e}."
        )
        counted = (
            "Ours counts from the listing to the committed ledger. The notebook way builds its network in every "
            "partition, as the notebook does, so the number of images a partition matters: the notebook itself had "
            "945. 'Network kept' spares it that. Of both, TensorFlow's import and the first building of the network in "
            "each worker are not counted, nothing is computed twice, and they read the files from the disk, not "
            "through the S3 server."
        )
        columns = (
            "'of ceiling' compares a run with the ceiling right before and after it: the engine at its best inference "
            "batch; 'S3 apart' is the same without the time that the S3 server took from the cores, which are another "
            "machine's on a cluster; 'worker MB' is the peak of the largest Spark Python worker."
        )
        return [same, counted, columns, "benchmarks/README.md says how it is measured."]


@dataclass(frozen=True)
class NotebookLoad:
    """Says how many images the notebook way gets, and in how many partitions."""

    n_images: int
    n_partitions: int

    @property
    def per_partition(self) -> int:
        return round(self.n_images / self.n_partitions)


def notebook_load(per_partition: int, n_images: int, n_cores: int) -> NotebookLoad:
    """Returns the largest load of at most `n_images` in full partitions of `per_partition`, as many partitions on each
    core.

    If there are too few images for that, each core gets one partition, and together they hold all images.
    """
    n_partitions = n_images // (per_partition * n_cores) * n_cores
    return NotebookLoad(n_partitions * per_partition, n_partitions) if n_partitions else NotebookLoad(n_images, n_cores)


def _ways(result: FeaturesBenchmark) -> Grid:
    ways = summarise(result.runs, by=lambda run: run.way)
    if result.reference_way not in ways:
        raise ValueError(f"'{result.reference_way}' is what the others are compared with, and it was not run.")
    reference = ways[result.reference_way].median("images_per_second")
    columns = [
        Column[Summary[WayRun]]("way", "{}", lambda way: way.first.way),
        Column("runs", "{}", lambda way: way.n_runs),
        Column("images", "{:,}", lambda way: way.first.n_images),
        Column("images/s", "{:.1f}", lambda way: way.median("images_per_second")),
        Column("of ceiling", "{:.0f} %", lambda way: 100 * way.median("share_of_ceiling")),
        Column("S3 apart", "{:.0f} %", lambda way: 100 * way.median("share_with_s3_apart")),
        Column(f"x {result.reference_way}", "{:.1f}", lambda way: way.median("images_per_second") / reference),
        Column("CPU ms/image", "{:.1f}", lambda way: 1000 * way.median("cpu_seconds_per_image")),
        Column("S3 CPU ms/image", "{:.2f}", lambda way: 1000 * way.median("s3_cpu_seconds_per_image")),
        Column("worker MB", "{:.0f}", lambda way: way.most("worker_megabytes")),
    ]
    ways_grid = grid("Ways (medians)", columns, ways.values())
    ceiling = Summary(result.ceilings)
    speed, cpu = f"{ceiling.median('images_per_second'):.1f}", f"{1000 * ceiling.median('cpu_seconds_per_image'):.1f}"
    first = (f"ceiling ({result.n_cores} engines)", str(ceiling.n_runs), "", speed, "100 %", "100 %", "", cpu, "", "")
    return Grid(ways_grid.title, ways_grid.header, [first, *ways_grid.rows])


def _runs(result: FeaturesBenchmark) -> Grid:
    stages = dict.fromkeys(stage for run in result.runs for stage in run.stages if stage != "total")
    columns = [
        Column[WayRun]("run", "{}", lambda run: run.way),
        Column("seconds", "{:.1f}", lambda run: run.seconds),
        Column("images/s", "{:.1f}", lambda run: run.images_per_second),
        Column("cores busy", "{:.0f} %", lambda run: 100 * run.cores_busy),
        Column(
            "ceilings",
            "{:.0f}, {:.0f}",
            lambda run: (run.ceiling_before.images_per_second, run.ceiling_after.images_per_second),
        ),
        *column_each(
            stages, "{:.2f}", lambda run, stage: run.stages.get(stage), lambda stage: stage.removeprefix("write_")
        ),
    ]
    return grid(
        "Runs in their order: the ceiling before and after, and the step's stages in seconds", columns, result.runs
    )


def _fixed_costs(result: FeaturesBenchmark) -> Grid:
    costs = result.fixed_costs
    rows = [
        ("from the start of the process to a Spark session", costs.session_start),
        (f"a day of {costs.small_day_images} images, warm", costs.small_day),
        ("a day in which nothing is new, warm", costs.nothing_new),
        (f"planning {costs.planned_images:,} new images on the driver, without their listing", costs.planning),
    ]
    return two_columns("Fixed costs of a features step", ("what", "s"), "{:.1f}", rows)
