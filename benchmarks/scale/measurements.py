"""What the scale benchmark measured, stage by stage, and what an image costs by it. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class ScaleSizes:
    """How much is measured; what is 0 is left out.

    `images`: new ones of one date, in `categories`. `known`: images of one date that are known already, as many categories. `dates` of
    `categories` are refitted, with `per_partition` images in each, while S3 is `milliseconds` away.
    """

    images: int
    categories: int
    known: int
    dates: int
    per_partition: int
    milliseconds: int


class Written(NamedTuple):
    """Files that were written, whether new or replaced, and their bytes."""

    n_files: int
    n_bytes: int


@dataclass(frozen=True)
class Stage:
    """One step or task in a process of its own.

    `cpu_seconds` are those of all its processes, without S3's. `memory` has the peak of the largest process of each kind in MB, `written`
    what it wrote by table, `stages` its own stopwatch.
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
    def n_requests(self) -> int:
        return sum(self.requests.values())

    @property
    def all_written(self) -> Written:
        return total_written([self])


class Cost(NamedTuple):
    """What a thousand images cost in some stages, S3's own work apart: seconds of a core, requests by kind, bytes written by table."""

    cpu_seconds: float
    requests: Mapping[str, float]
    n_bytes: Mapping[str, float]


@dataclass(frozen=True)
class ScaleBenchmark:
    """`delivered_bytes` are those of the new images of the first part."""

    sizes: ScaleSizes
    delivered_bytes: int
    stages: Sequence[Stage]


def sizes_with(sizes: ScaleSizes, text: str) -> ScaleSizes:
    """Other sizes by `images=20000,known=0`. Raises ValueError for a name or number that is none."""
    changed = {}
    for pair in filter(None, (word.strip() for word in text.split(","))):
        name, _, number = pair.partition("=")
        if name not in vars(sizes) or not number.isdecimal():
            raise ValueError(f"'{pair}' is no size: write one of {', '.join(vars(sizes))}, '=' and a number.")
        changed[name] = int(number)
    return replace(sizes, **changed)


def written_since(before: Mapping[str, tuple[int, int]], now: Mapping[str, tuple[int, int]]) -> dict[str, Written]:
    """What was written by table between two looks at a lake; a look has each key's time of change and size."""
    files: dict[str, list[int]] = {}
    for key, (changed_at, size) in now.items():
        if before.get(key) != (changed_at, size):
            files.setdefault(key.partition("/")[0], []).append(size)
    return {table: Written(len(sizes), sum(sizes)) for table, sizes in sorted(files.items())}


def total_written(stages: Sequence[Stage]) -> Written:
    every = [written for stage in stages for written in stage.written.values()]
    return Written(sum(written.n_files for written in every), sum(written.n_bytes for written in every))


def cost_of(stages: Sequence[Stage], n_images: int) -> Cost:
    """Of a thousand images, by stages that each were of the same `n_images`."""
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
