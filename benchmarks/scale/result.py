"""Holds what the scale benchmark measured, stage by stage, works out what an image costs, and makes the tables and the
words below them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.harness.grid import Column, Grid, column_each, grid
from benchmarks.harness.memory import JAVA, OWN, WORKER
from benchmarks.harness.requests import kinds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class ScaleSizes:
    """Says how much is measured; a part of size 0 is left out.

    `images` is the number of new images of one date, in `categories`, and `known` the number of images of one date that
    are known already, in as many categories. `dates` of `categories` are refitted, with `per_partition` images in each,
    while S3 is `milliseconds` away.
    """

    images: int
    categories: int
    known: int
    dates: int
    per_partition: int
    milliseconds: int


@dataclass(frozen=True)
class Written:
    """Counts files that were written, whether new or replaced, and their bytes."""

    n_files: int
    n_bytes: int

    @property
    def megabytes(self) -> float:
        return self.n_bytes / 1e6


@dataclass(frozen=True)
class Stage:
    """Holds one step or task, measured in a process of its own.

    `cpu_seconds` count all its processes, without S3. `memory` has the peak of the largest process of each kind in MB,
    `written` counts what it wrote by table, and `stages` are the seconds of its own stopwatch.
    """

    part: str
    what: str
    n_images: int
    seconds: float
    cpu_seconds: float
    memory: Mapping[str, float]
    requests: Mapping[str, int]
    written: Mapping[str, Written] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.part}: {self.what}"

    @property
    def n_requests(self) -> int:
        return sum(self.requests.values())

    @property
    def all_written(self) -> Written:
        return total_written([self])


class Cost(NamedTuple):
    """Holds what a thousand images cost in some stages, without S3's own work: seconds of a core, requests by kind,
    bytes written by table.
    """

    cpu_seconds: float
    requests: Mapping[str, float]
    n_bytes: Mapping[str, float]


@dataclass(frozen=True)
class ScaleBenchmark:
    """Holds the stages of all parts. `delivered_bytes` are those of the new images of the first part."""

    sizes: ScaleSizes
    delivered_bytes: int
    stages: Sequence[Stage]

    def grids(self) -> list[Grid]:
        """Returns the tables: every stage by time and memory, by requests and by what it wrote, and what a thousand new
        images cost.
        """
        grids = [_stages(self.stages), _requests(self.stages), _written(self.stages), _stopwatches(self.stages)]
        return [*grids, *([_costs(self)] if self.sizes.images else [])]

    def notes(self) -> list[str]:
        sizes = self.sizes
        engine = (
            "The engine is a digest of the pixels, not a network; everything else is the product's own. MobileNetV2 "
            "takes some 10 to 11 ms of a core an image beside it (features-full.md)."
        )
        pictures = (
            f"New images are drawn 24x24 JPEG, {self.delivered_bytes / max(1, sizes.images):,.0f} bytes each, laid "
            "into raw/ directly; known ones are names of such files, and their features are there by name alone."
        )
        stages = (
            "Each stage is a process of its own, as a step and an Airflow task are. Seconds are without the start of "
            "Spark or of Airflow, CPU is without S3's. Memory is the peak of the largest process of its kind since its "
            "start; 'own Python' is the driver's, or that of an Airflow task with Airflow loaded."
        )
        requests = (
            "A proxy before the local S3 counts the requests; where that is said it holds them back by "
            f"{sizes.milliseconds} ms, else not at all. LIST is a page of up to 1,000 keys, POST deletes up to 1,000 "
            "objects."
        )
        return [engine, pictures, stages, requests]


def sizes_with(sizes: ScaleSizes, text: str) -> ScaleSizes:
    """Returns the sizes with those changed that a text like `images=20000,known=0` names. Raises ValueError if it has
    an unknown name, or something that is no number.
    """
    changed = {}
    for pair in filter(None, (word.strip() for word in text.split(","))):
        name, _, number = pair.partition("=")
        if name not in vars(sizes) or not number.isdecimal():
            raise ValueError(f"'{pair}' is no size: write one of {', '.join(vars(sizes))}, '=' and a number.")
        changed[name] = int(number)
    return replace(sizes, **changed)


def written_since(before: Mapping[str, tuple[int, int]], now: Mapping[str, tuple[int, int]]) -> dict[str, Written]:
    """Returns what was written by table between two looks at a lake. A look has each key's time of change and size."""
    files: dict[str, list[int]] = {}
    for key, (changed_at, size) in now.items():
        if before.get(key) != (changed_at, size):
            files.setdefault(key.partition("/")[0], []).append(size)
    return {table: Written(len(sizes), sum(sizes)) for table, sizes in sorted(files.items())}


def total_written(stages: Sequence[Stage]) -> Written:
    every = [written for stage in stages for written in stage.written.values()]
    return Written(sum(written.n_files for written in every), sum(written.n_bytes for written in every))


def cost_of(stages: Sequence[Stage], n_images: int) -> Cost:
    """Returns what a thousand images cost, from stages that each worked on the same `n_images`."""
    share = 1000 / n_images
    requests: Counter[str] = Counter()
    n_bytes: Counter[str] = Counter()
    for stage in stages:
        requests.update(stage.requests)
        n_bytes.update({table: written.n_bytes for table, written in stage.written.items()})
    return Cost(
        cpu_seconds=share * sum(stage.cpu_seconds for stage in stages),
        requests={kind: share * count for kind, count in requests.items()},
        n_bytes={table: share * count for table, count in sorted(n_bytes.items())},
    )


def _stages(stages: Sequence[Stage]) -> Grid:
    columns = [
        Column[Stage]("stage", "{}", lambda stage: stage.name),
        Column("images", "{:,}", lambda stage: stage.n_images),
        Column("s", "{:.1f}", lambda stage: stage.seconds),
        Column("CPU s", "{:.1f}", lambda stage: stage.cpu_seconds),
        Column("images/s", "{:,.0f}", lambda stage: stage.n_images / stage.seconds if stage.n_images > 1 else None),
        Column("own Python MB", "{:,.0f}", lambda stage: stage.memory.get(OWN)),
        Column("Java MB", "{:,.0f}", lambda stage: stage.memory.get(JAVA)),
        Column("largest worker MB", "{:,.0f}", lambda stage: stage.memory.get(WORKER)),
    ]
    return grid("Seconds and memory", columns, stages)


def _requests(stages: Sequence[Stage]) -> Grid:
    columns = [
        Column[Stage]("stage", "{}", lambda stage: stage.name),
        *column_each(
            kinds_of(stage.requests for stage in stages), "{:,}", lambda stage, kind: stage.requests.get(kind, 0)
        ),
        Column("requests", "{:,}", lambda stage: stage.n_requests),
        Column(
            "a thousand images",
            "{:,.1f}",
            lambda stage: 1000 * stage.n_requests / stage.n_images if stage.n_images > 1 else None,
        ),
    ]
    return grid("Requests to S3", columns, stages)


def _written(stages: Sequence[Stage]) -> Grid:
    writing = [stage for stage in stages if stage.written]
    form = "{0.n_files:,}, {0.megabytes:,.1f}"
    columns = [
        Column[Stage]("stage", "{}", lambda stage: stage.name),
        *column_each(
            sorted({table for stage in writing for table in stage.written}),
            form,
            lambda stage, table: stage.written.get(table),
        ),
        Column("together", form, lambda stage: stage.all_written),
    ]
    return grid("Files written and their MB, by table", columns, writing)


def _stopwatches(stages: Sequence[Stage]) -> Grid:
    rows = [
        (stage.name, ", ".join(f"{name.replace('_', ' ')} {seconds:.1f}" for name, seconds in stage.stages.items()))
        for stage in stages
        if stage.stages
    ]
    return Grid("Where a step's seconds go", ("stage", "s"), rows)


def _costs(result: ScaleBenchmark) -> Grid:
    """Returns the costs in the first part, whose stages all worked on the same new images."""
    own = [stage for stage in result.stages if stage.part == result.stages[0].part]
    cost = cost_of(own, result.sizes.images)
    rows = [
        ("seconds of a core, without network and S3", f"{cost.cpu_seconds:.2f}"),
        *((f"{kind} requests", f"{cost.requests[kind]:,.1f}") for kind in kinds_of([cost.requests])),
        *((f"KB of {table}/", f"{n_bytes / 1e3:,.1f}") for table, n_bytes in cost.n_bytes.items()),
    ]
    return Grid("What a thousand new images cost: plan, features, refit, check", ("what", "a thousand images"), rows)
