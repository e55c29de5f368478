"""What a profile says: CPU an image by kind of process, and a worker's time by what it does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.harness.grid import Grid, two_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a sample counts for: the first of these that is anywhere in its stack. (py-spy names the last folders of a file's
# path.)
_LAYERS: Final = (
    ("the network", "embed (fruit_features/embedding/engines.py"),
    ("resizing", "resize (PIL/Image.py"),
    ("decoding", "decode_image (fruit_features/embedding/preprocessing.py"),
    ("bytes to numbers", "network_input (fruit_features/embedding/preprocessing.py"),
    ("fetching", "fruit_features/embedding/fetching.py"),
    ("rows, hashes and Arrow", "featurise (fruit_features/embedding/featurise.py"),
)
OTHER: Final = "Spark's own worker code"
# Threads that wait for work, in a way py-spy does not know as idle.
_IDLE_ENDS: Final = (
    "read_int (serializers.py",
    "_worker (concurrent/futures/thread.py",
    "manager (daemon.py",
    "select (selectors.py",
    "wait (threading.py",
)


@dataclass(frozen=True)
class Profile:
    """One warm features step. `cpu_seconds` by kind of process; `layers`: samples by what the workers did."""

    n_images: int
    seconds: float
    cpu_seconds: Mapping[str, float]
    layers: Mapping[str, int]

    def grids(self) -> list[Grid]:
        """CPU an image by process, and the workers' samples."""
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
    """Samples by layer, most first; waiting threads are left out."""
    counts: Counter[str] = Counter()
    for stack, n in stacks.items():
        if stack.rpartition(";")[2].startswith(_IDLE_ENDS):
            continue
        counts[next((name for name, mark in _LAYERS if mark in stack), OTHER)] += n
    return dict(counts.most_common())
