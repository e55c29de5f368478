"""Adds up and merges moments of feature vectors: n, mean and centred scatter matrix.

They are enough to fit the PCA exactly.

Merging follows T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing
Sample Variances" (1979): any split and any order give the moments of one pass, up to float64 rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray


class NotFiniteError(ValueError):
    """Raised if a feature is NaN or infinite, because one such number would make the PCA of all images worthless."""


@dataclass(frozen=True)
class Moments:
    """Holds the moments of `n_samples` vectors x.

    `mean` is float64[d]. `scatter` is float64[d, d], the sum of (x - mean)(x - mean)^T.
    """

    n_samples: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @property
    def n_features(self) -> int:
        return len(self.mean)


def empty_moments(n_features: int) -> Moments:
    """Returns the moments of no vectors at all. Merging them with others changes nothing."""
    return Moments(0, np.zeros(n_features), np.zeros((n_features, n_features)))


def moments_of(vectors: NDArray[np.float32] | NDArray[np.float64]) -> Moments:
    """Returns the moments of the rows of `vectors`, float32 or float64[n, d], accumulated in float64. O(n d^2)."""
    values = np.asarray(vectors, dtype=np.float64)
    if len(values) == 0:
        return empty_moments(values.shape[1])
    mean = values.mean(axis=0)
    centred = values - mean
    return Moments(len(values), mean, centred.T @ centred)


class RunningMoments:
    """Adds up vectors that come some at a time. Few vectors wait until there are enough for a pass."""

    # 10 MB of float32, 21 MB of float64. A pass over few vectors costs as much as merging its moments, O(d^2).
    _ROWS_AT_ONCE = 2048

    def __init__(self, n_features: int) -> None:
        self._merged = empty_moments(n_features)
        self._waiting: list[NDArray[np.float32]] = []

    def add(self, vectors: NDArray[np.float32], image_keys: Callable[[], Sequence[str]] | None = None) -> None:
        """Adds vectors, float32[n, d]. They are kept for a while, so nobody may write to them.

        Raises NotFiniteError if a number is NaN or infinite. It names the image if `image_keys` gives the keys of the
        rows.
        """
        finite = np.isfinite(vectors)
        if not finite.all():
            row = int(finite.all(axis=1).argmin())
            image = f"'{image_keys()[row]}'" if image_keys else f"image {row + 1} of {len(vectors)}"
            raise NotFiniteError(
                f"The features of {image} hold NaN or infinity, so they can't be part of a PCA. None of these is "
                "committed."
            )
        self._waiting.append(vectors)
        if sum(map(len, self._waiting)) >= self._ROWS_AT_ONCE:
            self._merge_waiting()

    def merge(self, moments: Moments) -> None:
        """Adds the moments of other vectors."""
        self._merged = merge(self._merged, moments)

    @property
    def n_samples(self) -> int:
        return self._merged.n_samples + sum(map(len, self._waiting))

    def all_waiting(self) -> NDArray[np.float32] | None:
        """Returns all vectors so far, float32[n, d], or None if there are none or some of them are merged."""
        return None if self._merged.n_samples or not self._waiting else np.concatenate(self._waiting)

    def total(self) -> Moments:
        """Returns the moments of all vectors so far."""
        if self._waiting:
            self._merge_waiting()
        return self._merged

    def _merge_waiting(self) -> None:
        self._merged = merge(self._merged, moments_of(np.concatenate(self._waiting)))
        self._waiting.clear()


def merge(left: Moments, right: Moments) -> Moments:
    """Returns the moments of both sets of vectors together. O(d^2)."""
    if left.n_samples == 0:
        return right
    if right.n_samples == 0:
        return left
    n_samples = left.n_samples + right.n_samples
    delta = right.mean - left.mean
    mean = left.mean + delta * (right.n_samples / n_samples)
    scatter = left.scatter + right.scatter
    scatter += np.outer(delta, delta) * (left.n_samples * right.n_samples / n_samples)
    return Moments(n_samples, mean, scatter)


def merge_all(parts: Iterable[Moments], n_features: int) -> Moments:
    """Returns the merged moments of all parts.

    Parts of like sizes are merged in pairs, so that rounding grows with the logarithm of the number of parts. At most
    log2(parts) moments are held at a time.
    """
    stack: list[tuple[int, Moments]] = []
    for part in parts:
        level, merged = 0, part
        while stack and stack[-1][0] == level:
            merged = merge(stack.pop()[1], merged)
            level += 1
        stack.append((level, merged))
    total = empty_moments(n_features)
    for _, merged in reversed(stack):
        total = merge(merged, total)
    return total


def pack_upper_triangle(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the upper triangle of a symmetric float64[d, d], row by row: float64[d (d + 1) / 2]."""
    return matrix[_upper_triangle(len(matrix))]  # a mask reads row by row


def unpack_upper_triangle(packed: NDArray[np.float64], n_features: int) -> NDArray[np.float64]:
    """Returns the symmetric float64[d, d] whose upper triangle `pack_upper_triangle` returned; d is `n_features`.

    Raises ValueError if the length does not fit `n_features`.
    """
    expected = n_features * (n_features + 1) // 2
    if len(packed) != expected:
        raise ValueError(
            f"A scatter of {n_features} features has {expected} numbers, this one has {len(packed)}: its moments file "
            "is damaged."
        )
    matrix = np.empty((n_features, n_features))
    mask = _upper_triangle(n_features)
    matrix[mask] = packed
    matrix.T[mask] = packed
    return matrix


@lru_cache(maxsize=4)
def _upper_triangle(n_features: int) -> NDArray[np.bool_]:
    return np.triu(np.ones((n_features, n_features), dtype=bool))
