"""Makes the surfaces of fruit: a line is turned around the upright axis, painted, then bent, leaned and moved to its
place.

Lengths are in units of about a fruit's radius; the axis is y, the stem is at +y. Fields over a surface are
float32[rows, columns].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Colour = tuple[float, float, float] | Floats

# Close enough for every sample of the picture to meet a point.
_SPACING: Final = 0.0100
_WAVES: Final = 8


@dataclass(frozen=True)
class Surface:
    """Describes a surface and how it looks, row by row from the stem's pole to the other one.

    `u` is the share of the way between the poles, `v` that of the way around. `points` and `colour` (sRGB, 0 to 1) are
    float32[3, rows, columns].
    """

    u: Floats
    v: Floats
    points: Floats
    colour: Floats
    gloss: Floats

    def painted(self, colour: Floats, gloss: float | Floats, height: float | Floats = 0.0) -> Self:
        """Returns the surface with this colour and gloss, and with bumps of this height."""
        raised = self.points + self.normals() * np.float32(height)
        return replace(
            self, points=raised, colour=np.clip(colour, 0, 1), gloss=np.broadcast_to(np.float32(gloss), self.u.shape)
        )

    def placed(self, *turns: Floats, scale: Colour = (1, 1, 1), move: Colour = (0, 0, 0)) -> Self:
        """Returns the surface scaled along the axes, turned by each matrix and moved."""
        points = self.points * _over(scale)
        for turn in turns:
            points = np.tensordot(turn, points, axes=1)
        return replace(self, points=points + _over(move))

    def bent(self, radius: float) -> Self:
        """Returns the surface with its axis bent to an arc of this radius, away from +x."""
        x, y, z = self.points
        return replace(
            self, points=np.stack([(x + radius) * np.cos(y / radius) - radius, (x + radius) * np.sin(y / radius), z])
        )

    def normals(self) -> Floats:
        """Returns the unit vectors that point outwards, float32[3, rows, columns]."""
        down = np.gradient(self.points, axis=1)
        around = np.roll(self.points, -1, axis=2) - np.roll(self.points, 1, axis=2)
        outwards = np.cross(around, down, axis=0)
        return np.asarray(outwards / (np.linalg.norm(outwards, axis=0) + 1e-9), dtype=np.float32)

    def noise(self, frequency: float, salt: int = 0, stretch: Colour = (1, 1, 1)) -> Floats:
        """Returns smooth random values of about -1 to 1, made of waves in all directions. `frequency` is in bumps per
        unit of length.
        """
        random = np.random.default_rng([salt, round(frequency * 8)])
        waves = random.normal(0, 2 * frequency, (_WAVES, 3)) * np.array(stretch)
        total = np.zeros(self.u.shape, dtype=np.float32)
        for wave, phase in zip(
            waves.astype(np.float32), random.uniform(0, 2 * np.pi, _WAVES).astype(np.float32), strict=True
        ):
            total += np.sin(np.einsum("i,irc->rc", wave, self.points) + phase)
        return np.asarray(total / np.float32(np.sqrt(_WAVES)))

    def dots(self, rows: int, size: float, jitter: float = 0.0) -> Floats:
        """Returns dots in rows around the axis, as many as fit: 1 in their middles, 0 from `size` (in rows) on.
        `jitter` shifts them, in rows.
        """
        shift = [np.float32(jitter) * self.noise(rows / 5, salt) for salt in (1, 2)]
        along = self.u * rows + shift[0]
        row = np.clip(np.floor(along), 0, rows - 1)
        around = self.v * np.maximum(np.round(2 * rows * np.sin(np.pi * (row + 0.5) / rows)), 3) + row / 2 + shift[1]
        return np.clip(1 - np.hypot(along % 1 - 0.5, around % 1 - 0.5) / np.float32(size), 0, 1)


def revolved(meridian: Sequence[tuple[float, float]], lobes: tuple[int, float, float] = (0, 0, 1)) -> Surface:
    """Returns the surface of a line that is turned around the axis. The line is given by (distance from the axis,
    height) points from the stem's pole to the other one, and its corners are rounded.

    `lobes` (their number, depth and sharpness) press the equator in between its crests, or, of a single one, at its
    crest.
    """
    curve = _rounded(np.array(meridian, dtype=float))
    way = np.concatenate([[0], np.hypot(*np.diff(curve, axis=0).T).cumsum()])
    n_rows, n_columns = int(way[-1] / _SPACING) + 8, int(2 * np.pi * curve[:, 0].max() / _SPACING) + 8
    u, v = np.meshgrid(np.linspace(0, 1, n_rows), np.arange(n_columns) / n_columns, indexing="ij")
    distance, height = (np.interp(u, way / way[-1], values) for values in curve.T)
    count, depth, sharpness = lobes
    crest = (0.5 + 0.5 * np.cos(count * 2 * np.pi * v)) ** sharpness
    distance *= 1 - depth * (1 - crest if count > 1 else crest) * np.sin(np.pi * u) ** 2
    points = np.stack([distance * np.cos(2 * np.pi * v), height, distance * np.sin(2 * np.pi * v)])
    u, v, points = (values.astype(np.float32) for values in (u, v, points))
    return Surface(u, v, points, np.ones_like(points), np.zeros_like(u))


def rotation(axis: int, degrees: float) -> Floats:
    """Returns the matrix, float32[3, 3], that turns around x (0), y (1) or z (2)."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix.astype(np.float32)


def mix(low: Colour, high: Colour, share: Floats) -> Floats:
    """Returns `low` where `share` is 0, `high` where it is 1, and a mixture in between."""
    share = np.clip(share, 0, 1)
    return np.asarray(_over(low) * (1 - share) + _over(high) * share, dtype=np.float32)


def step(values: Floats, low: float, high: float) -> Floats:
    """Returns 0 below `low`, 1 above `high` and a smooth step in between. With low > high it steps down instead."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), dtype=np.float32)


def _over(values: Colour) -> Floats:
    """Returns three numbers in a shape that fits a whole surface, and a field as it is."""
    array = np.asarray(values, dtype=np.float32)
    return array[:, None, None] if array.ndim == 1 else array


def _rounded(points: NDArray[np.float64], rounds: int = 5) -> NDArray[np.float64]:
    """Returns an open line made smooth by Chaikin's corner cutting, which keeps its ends."""
    for _ in range(rounds):
        before, after = points[:-1], points[1:]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut, points[-1:]])
    return points
