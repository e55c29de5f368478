"""Measures the features step: every way runs on the same images, with the ceiling measured around each run."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.engines.field import Ceiling
from benchmarks.features.notebook_way import OUTPUT as NOTEBOOK_OUTPUT
from benchmarks.features.result import FeaturesBenchmark, FixedCosts, NotebookLoad, WayRun, notebook_load
from benchmarks.harness.agreement import compare, read_features
from benchmarks.harness.bench_lake import save_tensors
from benchmarks.harness.images import PHONE_PHOTOS, PICTURES, SMALL_PICTURES, lay_batch, spread
from fruit_cli.errors import CommandError
from fruit_contract import lake, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.harness.bench_lake import BenchLake
    from benchmarks.harness.images import ImageKind
    from benchmarks.harness.way_process import WayProcess
    from fruit_cli.lake.delivery_plan import PlannedImage

OURS_COLD: Final = "ours, cold"
OURS_WARM: Final = "ours, warm"
# This is a faster notebook way than the notebook's: it keeps the network.
NOTEBOOK_KEPT: Final = "notebook way, network kept"

_COLD_DATE: Final = "2026-01-01"
_WARM_DATES: Final = ("2026-01-02", "2026-01-03", "2026-01-04")
_SMALL_DATE: Final = "2026-01-05"
_SMALL_DAY_IMAGES: Final = 60
_NOTEBOOK_WARM_UP_DATE: Final = "2026-01-06"
_NOTEBOOK_DATES: Final = ("2026-01-07", "2026-01-08")
_PLANNED_IMAGES: Final = 100_000
# How many images a partition of the notebook way holds, for it builds its network anew in each. The notebook itself
# had 22,688 images in 24 partitions: that is the first density, with which the other ways are compared. The second one
# is 5,000 images in 24 partitions.
NOTEBOOK_DENSITIES: Final = (945, 208)
_NOTEBOOK_WARM_UP_IMAGES: Final = 96  # on each core: a whole batch and a part, as Keras traces each shape once


@dataclass(frozen=True)
class Scale:
    """Says what is measured, and how much of it. The ways see the same images, but the slow notebook way may see a part
    of them.

    `n_notebook_images` is the most that the notebook way gets: it gets full partitions, as many on each core.
    `notebook_rows_at_once` is the number of images in one Arrow batch of the notebook way; Spark's default of 1,024
    would be gigabytes of phone photos.
    """

    kind: ImageKind
    n_images: int
    n_notebook_images: int
    ceiling_window_seconds: float
    notebook_rows_at_once: int = 1024


# The scales by part of the benchmark and by size.
SCALES: Final = {
    "features": {
        "small": Scale(SMALL_PICTURES, n_images=400, n_notebook_images=200, ceiling_window_seconds=1.5),
        "full": Scale(SMALL_PICTURES, n_images=5000, n_notebook_images=5000, ceiling_window_seconds=8.0),
    },
    "features-348": {
        "small": Scale(PICTURES, n_images=400, n_notebook_images=200, ceiling_window_seconds=1.5),
        "full": Scale(PICTURES, n_images=2500, n_notebook_images=1890, ceiling_window_seconds=8.0),
    },
    "features-phone": {
        "small": Scale(
            PHONE_PHOTOS, n_images=48, n_notebook_images=24, ceiling_window_seconds=1.5, notebook_rows_at_once=16
        ),
        "full": Scale(
            PHONE_PHOTOS, n_images=480, n_notebook_images=240, ceiling_window_seconds=8.0, notebook_rows_at_once=16
        ),
    },
}


def notebook_loads(n_images: int, n_cores: int) -> list[NotebookLoad]:
    """Returns what the notebook way gets for each density, of at most `n_images`. With too few images, two densities
    may come to the same load.
    """
    return list(dict.fromkeys(notebook_load(density, n_images, n_cores) for density in NOTEBOOK_DENSITIES))


def notebook_name(load: NotebookLoad) -> str:
    return f"notebook way, {load.per_partition} a partition"


def measure_features(
    bench: BenchLake, images: Sequence[PlannedImage], scale: Scale, say: Callable[[str], None]
) -> FeaturesBenchmark:
    """Runs every way and returns what was measured. Raises CommandError if a way breaks or does not do every image."""
    for ingest_date in (_COLD_DATE, *_WARM_DATES):
        lay_batch(images, bench.folder, ingest_date)
    lay_batch(spread(images, _SMALL_DAY_IMAGES), bench.folder, _SMALL_DATE)
    n_cores = bench.n_cores
    loads = notebook_loads(min(scale.n_notebook_images, len(images)), n_cores)
    for load, ingest_date in zip(loads, _NOTEBOOK_DATES, strict=False):
        lay_batch(spread(images, load.n_images), bench.folder, ingest_date)
    lay_batch(spread(images, _NOTEBOOK_WARM_UP_IMAGES * n_cores), bench.folder, _NOTEBOOK_WARM_UP_DATE)

    with contextlib.ExitStack() as stack:
        ceiling = Ceiling(stack, bench, images, scale.ceiling_window_seconds)
        say(f"ceiling: {ceiling.again().images_per_second:.0f} images/s")
        runner = _Runner(bench, ceiling, say)
        fixed_costs = _measure_ours(runner, len(images))
        _measure_notebook(runner, loads, scale.notebook_rows_at_once)

    ours = read_features(bench.folder / lake.date_prefix(lake.FEATURES, _COLD_DATE), tables.IMAGE_KEY)
    notebook = read_features(bench.folder / lake.date_prefix(NOTEBOOK_OUTPUT, _NOTEBOOK_DATES[0]), "path")
    return FeaturesBenchmark(
        n_cores, ceiling.measured, runner.runs, notebook_name(loads[0]), fixed_costs, compare(ours, notebook)
    )


class _Runner:
    """Times one run after another, each between two measurements of the ceiling."""

    def __init__(self, bench: BenchLake, ceiling: Ceiling, say: Callable[[str], None]) -> None:
        self.bench = bench
        self.runs: list[WayRun] = []
        self._ceiling = ceiling
        self._say = say

    def run(self, way: str, n_images: int, process: WayProcess, **arguments: Any) -> None:
        cpu_before, s3_cpu_before = process.cpu_seconds(), self.bench.s3_cpu_seconds()
        answer = process.ask("run", bucket=self.bench.bucket, **arguments)
        cpu_seconds, s3_cpu_seconds = process.cpu_seconds() - cpu_before, self.bench.s3_cpu_seconds() - s3_cpu_before
        if answer["n_images"] != n_images:
            raise CommandError(
                f"{way} featurised {answer['n_images']:,} of {n_images:,} images: nothing may be skipped in a "
                "comparison."
            )
        run = WayRun(
            way=way,
            n_images=n_images,
            seconds=answer["seconds"],
            cpu_seconds=cpu_seconds,
            s3_cpu_seconds=s3_cpu_seconds,
            ceiling_before=self._ceiling.measured[-1],
            ceiling_after=self._ceiling.again(),
            worker_megabytes=answer["worker_megabytes"],
            stages=answer.get("stages", {}),
            n_cores=self.bench.n_cores,
        )
        self.runs.append(run)
        self._say(f"{way}: {run.images_per_second:.0f} images/s; ceiling: {run.ceiling_after.images_per_second:.0f}")


def _measure_ours(runner: _Runner, n_images: int) -> FixedCosts:
    of_release = {"release_id": runner.bench.release_id}
    with runner.bench.start("features.ours") as ours:
        session_start = ours.ask("start")["seconds"]
        runner.run(OURS_COLD, n_images, ours, ingest_date=_COLD_DATE, **of_release)
        for ingest_date in _WARM_DATES:
            runner.run(OURS_WARM, n_images, ours, ingest_date=ingest_date, **of_release)
        small_day = ours.ask("run", bucket=runner.bench.bucket, ingest_date=_SMALL_DATE, **of_release)
        nothing_new = ours.ask("run", bucket=runner.bench.bucket, ingest_date=_COLD_DATE, **of_release)
        planning = ours.ask("plan", n_images=_PLANNED_IMAGES)
    return FixedCosts(
        session_start,
        small_day["n_images"],
        small_day["seconds"],
        nothing_new["seconds"],
        _PLANNED_IMAGES,
        planning["seconds"],
    )


def _measure_notebook(runner: _Runner, loads: Sequence[NotebookLoad], rows_at_once: int) -> None:
    tensors = runner.bench.node.home / "tensors.npz"
    save_tensors(tensors)
    with runner.bench.start("features.notebook_way") as notebook:
        notebook.ask("start", tensors=str(tensors), rows_at_once=rows_at_once)
        # This run is not timed: it takes TensorFlow's import, the first building and tracing of the network in every
        # worker, and Java's warm-up.
        warm_up = {"ingest_date": _NOTEBOOK_WARM_UP_DATE, "n_partitions": runner.bench.n_cores, "keep_network": True}
        notebook.ask("run", bucket=runner.bench.bucket, **warm_up)
        runs = [(notebook_name(load), load, date, False) for load, date in zip(loads, _NOTEBOOK_DATES, strict=False)]
        # With the network kept, the number of images a partition makes no difference: it is measured once, on the last
        # date.
        _, load, ingest_date, _ = runs[-1]
        runs.append((NOTEBOOK_KEPT, load, ingest_date, True))
        for way, load, ingest_date, keep_network in runs:
            timed = {"ingest_date": ingest_date, "n_partitions": load.n_partitions, "keep_network": keep_network}
            runner.run(way, load.n_images, notebook, **timed)
