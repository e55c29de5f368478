"""What the skin of a fruit looks like, painted once over its surface coordinates: colour, gloss and bumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fruit_cli.demo.fruit.solids import Solid

    Floats = NDArray[np.float32]

TEXTURE_SHAPE: Final = (224, 448)
"""Steps of u (along the axis) and v (around it)."""

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Canvas:
    """The surface to paint: coordinates float32[rows, columns], points float32[3, rows, columns], and a seed for what is random."""

    u: Floats
    v: Floats
    points: Floats
    seed: int

    def noise(self, frequency: float, octaves: int = 1, stretch: tuple[float, float, float] = (1, 1, 1), salt: int = 0) -> Floats:
        """Smooth random values, -1 to 1, that repeat nowhere near; `frequency` in bumps a unit of length."""
        total = np.zeros(self.u.shape, dtype=np.float32)
        size, weight = 0.0, 1.0
        scaled = self.points * np.array(stretch, dtype=np.float32)[:, None, None]
        for octave in range(octaves):
            total += np.float32(weight) * _lattice_noise(scaled * np.float32(frequency * 2**octave), self.seed * 131 + salt * 17 + octave)
            size += weight
            weight *= 0.5
        return total / np.float32(size)

    def spots(self, count: int, radius: float, *, along: tuple[float, float] = (0.0, 1.0), jitter: float = 0.0, salt: int = 0) -> Floats:
        """Evenly strewn spots (a Fibonacci spiral over u between `along`), 1 in the middle and 0 from `radius` on."""
        numbers = np.arange(count) + 0.5
        low, high = np.cos(np.pi * along[0]), np.cos(np.pi * along[1])
        spot_u = np.arccos(low + (high - low) * numbers / count) / np.pi
        spot_v = (numbers * (np.sqrt(5) - 1) / 2) % 1
        random = np.random.default_rng(self.seed * 31 + salt)
        spot_u += random.uniform(-jitter, jitter, count) * 0.05
        spot_v += random.uniform(-jitter, jitter, count) * 0.05
        rows, columns = TEXTURE_SHAPE
        row = np.clip((spot_u * rows).astype(int), 0, rows - 1)
        column = (spot_v * columns).astype(int) % columns
        centres = self.points[:, row, column]
        nearest = np.full(self.u.shape, np.inf, dtype=np.float32)
        for centre in centres.T:
            away = self.points - centre[:, None, None]
            np.minimum(nearest, (away * away).sum(axis=0), out=nearest)
        return np.asarray(np.clip(1 - np.sqrt(nearest) / np.float32(radius), 0, 1))


@dataclass(frozen=True)
class Skin:
    """A painted surface: sRGB colour float32[3, rows, columns]; gloss and height float32[rows, columns], 0 to 1 or so."""

    colour: Floats
    gloss: Floats
    height: Floats


def baked_texture(solid: Solid, paint: Callable[[Canvas], Skin], bumpiness: float) -> Floats:
    """The skin as the renderer looks it up: float32[rows * columns, 7] of linear colour (3), gloss, and how bumps turn the normal (3)."""
    canvas = canvas_of(solid, seed=7)
    skin = paint(canvas)
    turns = _bump_vectors(canvas.points, skin.height) * np.float32(bumpiness)
    layers = [np.square(np.clip(skin.colour, 0, 1)), np.broadcast_to(skin.gloss, canvas.u.shape)[None], turns]
    return np.ascontiguousarray(np.concatenate(layers).reshape(7, -1).T, dtype=np.float32)


def canvas_of(solid: Solid, seed: int) -> Canvas:
    rows, columns = TEXTURE_SHAPE
    u, v = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    u, v = u.astype(np.float32), v.astype(np.float32)
    return Canvas(u=u, v=v, points=solid.surface(u, v), seed=seed)


def mix(low: Colour | Floats, high: Colour | Floats, share: Floats) -> Floats:
    """`low` where share is 0, `high` where it is 1."""
    share = np.clip(share, 0, 1)
    return np.asarray(_field(low) * (1 - share) + _field(high) * share)


def step(values: Floats, low: float, high: float) -> Floats:
    """0 below `low`, 1 above `high`, smooth between; also with low > high."""
    share = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _field(colour: Colour | Floats) -> Floats:
    values = np.asarray(colour, dtype=np.float32)
    return values[:, None, None] if values.ndim == 1 else values


def _bump_vectors(points: Floats, height: Floats) -> Floats:
    """The gradient of `height` along the surface, float32[3, rows, columns]."""
    along = np.gradient(points, axis=1)
    around = (np.roll(points, -1, axis=2) - np.roll(points, 1, axis=2)) / 2
    height_along = np.gradient(height, axis=0)
    height_around = (np.roll(height, -1, axis=1) - np.roll(height, 1, axis=1)) / 2
    # At a pole a step around is no way at all: the floor keeps the slope finite there.
    floor = np.float32(1e-5)
    gradient = along * (height_along / ((along * along).sum(axis=0) + floor))
    gradient += around * (height_around / ((around * around).sum(axis=0) + floor))
    return np.asarray(gradient, dtype=np.float32)


def _lattice_noise(points: Floats, seed: int) -> Floats:
    """Value noise: random numbers at the corners of a grid of unit cubes, smoothly between them. -1 to 1."""
    values = np.random.default_rng(seed).uniform(-1, 1, (32, 32, 32)).astype(np.float32)
    cell = np.floor(points)
    share = points - cell
    share = share * share * (3 - 2 * share)
    low = cell.astype(np.int64) % 32
    high = (low + 1) % 32
    total = np.zeros(points.shape[1:], dtype=np.float32)
    for corner in range(8):
        bits = [(corner >> axis) & 1 for axis in range(3)]
        index = tuple((high if bit else low)[axis] for axis, bit in enumerate(bits))
        weight = np.prod([share[axis] if bit else 1 - share[axis] for axis, bit in enumerate(bits)], axis=0)
        total += values[index] * weight
    return total
