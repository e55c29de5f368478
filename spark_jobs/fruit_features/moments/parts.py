"""Adds up moments of some of a date's images, as tasks leave them for the commit to merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from fruit_contract import tables
from fruit_contract.commit import images_digest
from fruit_features.lake.vectors import to_matrix
from fruit_features.moments.algebra import Moments, RunningMoments, pack_upper_triangle, unpack_upper_triangle

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

# So few vectors (5 KB each) take less than their moments (6.6 MB), and are written themselves.
_FEW: Final = 640
_VECTORS: Final = 0
_MOMENTS: Final = 1
_HEADER: Final = np.dtype("<i8")


class ImageMoments:
    """Adds up the moments of images' features, and the digest of the images (`fruit_contract.commit.images_digest`)."""

    def __init__(self) -> None:
        self.running = RunningMoments(tables.N_FEATURES)
        self.digest = 0

    def add(self, features: pa.RecordBatch) -> None:
        """Adds rows of `features/`. Raises NotFiniteError, which names the image, if a number is NaN or infinite."""
        keys = features.column(tables.IMAGE_KEY)
        self.running.add(to_matrix(features.column(tables.VECTOR), tables.N_FEATURES), keys.to_pylist)
        self.digest ^= images_digest(
            zip(keys.to_pylist(), features.column(tables.CONTENT_SHA256).to_pylist(), strict=True)
        )


class PartPlace(NamedTuple):
    """Says where a part lies, and of how many and which images it is."""

    ingest_date: str
    key: str
    n_samples: int
    images_digest: int


def part_to_bytes(running: RunningMoments) -> bytes:
    """Returns what a task leaves for the commit: the vectors themselves, or their moments if there are many."""
    vectors = running.all_waiting()
    if vectors is not None and len(vectors) <= _FEW:
        return _header(_VECTORS, len(vectors)) + np.ascontiguousarray(vectors, "<f4").tobytes()
    moments = running.total()
    return (
        _header(_MOMENTS, moments.n_samples) + moments.mean.tobytes() + pack_upper_triangle(moments.scatter).tobytes()
    )


def part_bytes(n_samples: int) -> int:
    """Returns how many bytes a part of so many images may have."""
    n_numbers = tables.N_FEATURES * (tables.N_FEATURES + 3) // 2
    return 2 * _HEADER.itemsize + (4 * n_samples * tables.N_FEATURES if n_samples <= _FEW else 8 * n_numbers)


def add_part(running: RunningMoments, content: bytes | memoryview) -> None:
    """Adds a part, as `part_to_bytes` returned it, to the moments of its date."""
    kind, n_samples = np.frombuffer(content, _HEADER, count=2)
    numbers = memoryview(content)[2 * _HEADER.itemsize :]
    if kind == _VECTORS:
        running.add(np.frombuffer(numbers, "<f4").reshape(n_samples, tables.N_FEATURES))
    else:
        values: NDArray[np.float64] = np.frombuffer(numbers)
        scatter = unpack_upper_triangle(values[tables.N_FEATURES :], tables.N_FEATURES)
        running.merge(Moments(int(n_samples), values[: tables.N_FEATURES], scatter))


def _header(kind: int, n_samples: int) -> bytes:
    return np.array([kind, n_samples], _HEADER).tobytes()
