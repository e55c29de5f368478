"""What the peers benchmark measured, and the figures that follow from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.features.measurements import Agreement, CeilingRun

OURS: Final = "ours"
DAFT: Final = "Daft"
RAY: Final = "Ray Data"
WAYS: Final = (OURS, DAFT, RAY)

# From the start of the process to the last file in the lake, and the same in a process that has done that before.
COLD: Final = "cold"
WARM: Final = "warm"
KINDS: Final = (WARM, COLD)

# The same pixels in the same network, one image at a time: what differs is at most the rounding of a sum.
AGREE_WITHIN: Final = 1e-4


@dataclass(frozen=True)
class PeerRun:
    """One timed run of a way, with the ceiling right before and right after it. `cpu_seconds` is without the S3 server's.

    Runs of the same round were measured one after the other.
    """

    way: str
    kind: str
    round: int
    n_images: int
    seconds: float
    cpu_seconds: float
    s3_cpu_seconds: float
    peak_megabytes: float | None
    ceiling_before: CeilingRun
    ceiling_after: CeilingRun

    @property
    def images_per_second(self) -> float:
        return self.n_images / self.seconds

    @property
    def cpu_seconds_per_image(self) -> float:
        return self.cpu_seconds / self.n_images

    @property
    def share_of_ceiling(self) -> float:
        """Of the ceiling around this run: the speed of a shared machine changes from minute to minute."""
        return self.images_per_second / mean([self.ceiling_before.images_per_second, self.ceiling_after.images_per_second])


@dataclass(frozen=True)
class PeerSummary:
    """The runs of one way and kind: medians, and the largest peak of memory.

    `ours_is_faster_by` is how many times the images/s of this way ours did in the same round, `cpu_ratio` how many times ours' CPU an image
    this way took: each the median of the rounds.
    """

    way: str
    kind: str
    n_runs: int
    n_images: int
    seconds: float
    images_per_second: float
    share_of_ceiling: float
    ours_is_faster_by: float
    lowest: float
    highest: float
    cpu_seconds_per_image: float
    cpu_ratio: float
    s3_cpu_seconds_per_image: float
    peak_megabytes: float | None


@dataclass(frozen=True)
class PeersBenchmark:
    """`agreements` compare each peer's features with ours, over all its runs. `remarks` say what was left out."""

    n_cores: int
    ceilings: Sequence[CeilingRun]
    runs: Sequence[PeerRun]
    agreements: Mapping[str, Agreement]
    remarks: Sequence[str] = ()

    @property
    def engine_seconds_per_image(self) -> float:
        """What the engine alone takes of a core for an image: speeds of another machine are to be compared by it."""
        return median(ceiling.cpu_seconds_per_image for ceiling in self.ceilings)


def turned(ways: Sequence[str], round_number: int) -> list[str]:
    """The ways in the order of a round: each round begins with another one, so that none always follows the same one."""
    first = round_number % len(ways)
    return [*ways[first:], *ways[:first]]


def worse(some: Agreement | None, other: Agreement) -> Agreement:
    """Of two comparisons of the same way, the one whose features differ more."""
    return other if some is None or other.largest_difference > some.largest_difference else some


def summarise_peers(runs: Sequence[PeerRun], kind: str) -> list[PeerSummary]:
    """A summary for each way, ours first. Raises ValueError if a round lacks a run of ours."""
    ours = {run.round: run for run in runs if (run.way, run.kind) == (OURS, kind)}
    by_way: dict[str, list[PeerRun]] = {}
    for run in runs:
        if run.kind != kind:
            continue
        if run.round not in ours:
            raise ValueError(f"Round {run.round} has no {kind} run of ours: there is nothing to compare with.")
        by_way.setdefault(run.way, []).append(run)
    return [_summary(by_way[way], ours) for way in WAYS if way in by_way]


def _summary(runs: Sequence[PeerRun], ours: Mapping[int, PeerRun]) -> PeerSummary:
    ratios = [ours[run.round].images_per_second / run.images_per_second for run in runs]
    return PeerSummary(
        way=runs[0].way,
        kind=runs[0].kind,
        n_runs=len(runs),
        n_images=runs[0].n_images,
        seconds=median(run.seconds for run in runs),
        images_per_second=median(run.images_per_second for run in runs),
        share_of_ceiling=median(run.share_of_ceiling for run in runs),
        ours_is_faster_by=median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        cpu_seconds_per_image=median(run.cpu_seconds_per_image for run in runs),
        cpu_ratio=median(run.cpu_seconds_per_image / ours[run.round].cpu_seconds_per_image for run in runs),
        s3_cpu_seconds_per_image=median(run.s3_cpu_seconds / run.n_images for run in runs),
        peak_megabytes=max((run.peak_megabytes for run in runs if run.peak_megabytes is not None), default=None),
    )
