"""The scale benchmark's result as tables and the words below them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.features.table import Grid
from benchmarks.harness.memory import JAVA, OWN, WORKER
from benchmarks.harness.requests import kinds_of
from benchmarks.scale.measurements import cost_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.scale.measurements import ScaleBenchmark, Stage


def scale_grids(result: ScaleBenchmark) -> list[Grid]:
    """Every stage by time and memory, by requests, and by what it wrote; and what a thousand new images cost."""
    grids = [_stages(result.stages), _requests(result.stages), _written(result.stages), _stopwatches(result.stages)]
    return [*grids, *([_costs(result)] if result.sizes.images else [])]


def scale_notes(result: ScaleBenchmark) -> list[str]:
    sizes = result.sizes
    engine = (
        "The engine is a digest of the pixels, not a network; everything else is the product's own. MobileNetV2 takes some 5 to 10 ms of a "
        "core an image beside it (features-full.md)."
    )
    pictures = (
        f"New images are drawn 24x24 JPEG, {result.delivered_bytes / max(1, sizes.images):,.0f} bytes each, laid into raw/ directly; "
        "known ones are names of such files, and their features are there by name alone."
    )
    stages = (
        "Each stage is a process of its own, as a step and an Airflow task are. Seconds are without the start of Spark or of Airflow, CPU "
        "is without S3's. Memory is the peak of the largest process of its kind since its start; 'own Python' is the driver's, or that of "
        "an Airflow task with Airflow loaded."
    )
    requests = (
        f"A proxy before the local S3 counts the requests; where that is said it holds them back by {sizes.milliseconds} ms, else not at "
        "all. LIST is a page of up to 1,000 keys, POST deletes up to 1,000 objects."
    )
    return [engine, pictures, stages, requests]


def _stages(stages: Sequence[Stage]) -> Grid:
    rows = [
        (
            f"{stage.part}: {stage.what}",
            f"{stage.n_images:,}",
            f"{stage.seconds:.1f}",
            f"{stage.cpu_seconds:.1f}",
            f"{stage.n_images / stage.seconds:,.0f}" if stage.n_images > 1 else "",
            *(f"{stage.memory[kind]:,.0f}" if kind in stage.memory else "" for kind in (OWN, JAVA, WORKER)),
        )
        for stage in stages
    ]
    header = ("stage", "images", "s", "CPU s", "images/s", "own Python MB", "Java MB", "largest worker MB")
    return Grid("Seconds and memory", header, rows)


def _requests(stages: Sequence[Stage]) -> Grid:
    kinds = kinds_of(stage.requests for stage in stages)
    rows = [
        (
            f"{stage.part}: {stage.what}",
            *(f"{stage.requests.get(kind, 0):,}" for kind in kinds),
            f"{stage.n_requests:,}",
            f"{1000 * stage.n_requests / stage.n_images:,.1f}" if stage.n_images > 1 else "",
        )
        for stage in stages
    ]
    return Grid("Requests to S3", ("stage", *kinds, "requests", "a thousand images"), rows)


def _written(stages: Sequence[Stage]) -> Grid:
    writing = [stage for stage in stages if stage.written]
    tables = sorted({table for stage in writing for table in stage.written})
    rows = [
        (
            f"{stage.part}: {stage.what}",
            *(
                f"{stage.written[table].n_files:,}, {stage.written[table].n_bytes / 1e6:,.1f}" if table in stage.written else ""
                for table in tables
            ),
            f"{stage.all_written.n_files:,}, {stage.all_written.n_bytes / 1e6:,.1f}",
        )
        for stage in writing
    ]
    return Grid("Files written and their MB, by table", ("stage", *tables, "together"), rows)


def _stopwatches(stages: Sequence[Stage]) -> Grid:
    rows = [
        (f"{stage.part}: {stage.what}", ", ".join(f"{name.replace('_', ' ')} {seconds:.1f}" for name, seconds in stage.stages.items()))
        for stage in stages
        if stage.stages
    ]
    return Grid("Where a step's seconds go", ("stage", "s"), rows)


def _costs(result: ScaleBenchmark) -> Grid:
    """Of the first part: its stages were all of the same new images."""
    own = [stage for stage in result.stages if stage.part == result.stages[0].part]
    cost = cost_of(own, result.sizes.images)
    rows = [
        ("seconds of a core, without network and S3", f"{cost.cpu_seconds:.2f}"),
        *((f"{kind} requests", f"{cost.requests[kind]:,.1f}") for kind in kinds_of([cost.requests])),
        *((f"KB of {table}/", f"{n_bytes / 1e3:,.1f}") for table, n_bytes in cost.n_bytes.items()),
    ]
    return Grid("What a thousand new images cost: plan, features, refit, check", ("what", "a thousand images"), rows)
