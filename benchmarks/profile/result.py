"""Holds what a profile found: the CPU for an image by kind of process, and a worker's time by what it does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.harness.grid import Grid, two_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

# A sample counts for the first of these layers that is anywhere in its stack. (py-spy names the last folders of a
# file's path.)
LAYERS: Final = (
    ("the network", "embed (fruit_features/embedding/engines.py"),
    ("resizing", "resize (fruit_features/embedding/resizing.py"),
    ("decoding", "decode_encoded (fruit_features/embedding/preprocessing.py"),
    ("bytes to numbers", "network_input (fruit_features/embedding/preprocessing.py"),
    ("fetching", "fruit_features/embedding/fetching.py"),
    ("rows, hashes and Arrow", "featurise (fruit_features/embedding/featurise.py"),
)
OTHER: Final = "Spark's own worker code"
# Stacks of threads that wait for work end like this; py-spy does not see that they are idle.
_IDLE_ENDS: Final = (
    "read_int (serializers.py",
    "_worker (concurrent/futures/thread.py",
    "manager (daemon.py",
    "select (selectors.py",
    "wait (threading.py",
)


@dataclass(frozen=True)
class Profile:
    """Holds the profile of one warm features step. `cpu_seconds` are by kind of process; `layers` counts samples by
    what the workers did.
    """

    n_images: int
    seconds: float
    cpu_seconds: Mapping[str, float]
    layers: Mapping[str, int]

    def grids(self) -> list[Grid]:
        """Returns the tables: the CPU for an image by process, and the workers' samples."""
        cpu = [(kind, 1000 * seconds / self.n_images) for kind, seconds in self.cpu_seconds.items()]
        samples = [(name, 100 * n / sum(self.layers.values())) for name, n in self.layers.items()]
        return [
            two_columns("CPU of a warm features step", ("process", "ms/image"), "{:.2f}", cpu),
            two_columns(
                "What the Python workers do while they compute", ("what", "of their samples"), "{:.1f} %", samples
            ),
        ]

    def notes(self) -> list[str]:
        return [
            (
                f"{self.n_images:,} images in {self.seconds:.1f} s without the profiler; the samples are of another "
                "run, under py-spy."
            ),
            "A step's later stages (writing, moments) are in the CPU times and not in the samples.",
        ]


def layers_of(stacks: Mapping[str, int]) -> dict[str, int]:
    """Returns the number of samples by layer, most first, without threads that wait."""
    counts: Counter[str] = Counter()
    for stack, n in stacks.items():
        if stack.rpartition(";")[2].startswith(_IDLE_ENDS):
            continue
        counts[next((name for name, mark in LAYERS if mark in stack), OTHER)] += n
    return dict(counts.most_common())
