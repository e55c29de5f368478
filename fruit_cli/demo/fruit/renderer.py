"""Draws fruit: solids lit by a lamp, a fill light and the room, turned step by step on white, as Fruits-360's photos are.

Rays are traced to the solid's surface (sphere tracing, all pixels at once), balls are laid over it by depth, and what is seen is shaded
once: Lambert's law, a highlight, light from above. The same (category, frame) always gives the same picture.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from fruit_cli.demo.fruit.catalogue import FRUITS
from fruit_cli.demo.fruit.solids import rotation
from fruit_cli.demo.fruit.texture import TEXTURE_SHAPE, baked_texture

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fruit_cli.demo.fruit.catalogue import Fruit
    from fruit_cli.demo.fruit.solids import Ball, Solid

    Floats = NDArray[np.float32]

CATEGORIES: Final = tuple(FRUITS)
SIDE: Final = 100
JPEG_QUALITY: Final = 90
_SAMPLES: Final = 2  # along each side of a pixel
_GRID: Final = SIDE * _SAMPLES
_TRACE_STEPS: Final = 42
_CLOSE: Final = np.float32(0.006)
_BLOCK: Final = 4  # samples along each side of a block
_BLOCK_SLACK: Final = np.float32(0.06)
_KEY_LIGHT: Final = np.array([-0.45, 0.62, 0.64], dtype=np.float32)
_FILL_LIGHT: Final = np.array([0.80, -0.05, 0.60], dtype=np.float32)
_VIEW: Final = np.array([0, 0, 1], dtype=np.float32)


@dataclass
class Seen:
    """What each sample sees: depth (-inf: nothing), normal, colour (linear light) and gloss. Flat arrays over the sample grid."""

    depth: Floats
    normal: Floats
    colour: Floats
    gloss: Floats


def draw_fruit(category: str, frame: int, frames: int) -> Image.Image:
    """The fruit after `frame` of `frames` steps of a full turn, RGB, 100x100. Raises KeyError for a category that isn't drawn."""
    fruit = FRUITS[category]
    turned = rotation(0, fruit.camera_degrees) @ rotation(1, 360 * frame / frames) @ rotation(2, fruit.lean_degrees)
    x, y = _sample_positions(fruit.extent)
    seen = Seen(
        depth=np.full(x.size, -np.inf, dtype=np.float32),
        normal=np.zeros((3, x.size), dtype=np.float32),
        colour=np.zeros((3, x.size), dtype=np.float32),
        gloss=np.zeros(x.size, dtype=np.float32),
    )
    if fruit.solid is not None:
        _see_solid(seen, fruit, fruit.solid, turned, x, y)
    for ball in fruit.balls:
        _see_ball(seen, ball, turned, fruit.extent)
    return _developed(_lit(seen, fruit))


def draw_jpeg(category: str, frame: int, frames: int) -> bytes:
    """`draw_fruit` as the bytes of a JPEG file."""
    stream = io.BytesIO()
    draw_fruit(category, frame, frames).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


@lru_cache(maxsize=64)
def _sample_positions(extent: float) -> tuple[Floats, Floats]:
    """Every sample's x (to the right) and y (upwards); the picture's edge is at `extent`."""
    ticks = ((np.arange(_GRID) + 0.5) / _GRID * 2 - 1) * extent
    x, y = np.meshgrid(ticks, -ticks)
    return x.ravel().astype(np.float32), y.ravel().astype(np.float32)


@lru_cache(maxsize=64)
def _texture(category: str) -> Floats:
    fruit = FRUITS[category]
    if fruit.solid is None or fruit.paint is None:
        raise ValueError(f"'{category}' has no painted solid.")
    return baked_texture(fruit.solid, fruit.paint, fruit.bumpiness)


def _see_solid(seen: Seen, fruit: Fruit, solid: Solid, turned: Floats, x: Floats, y: Floats) -> None:
    # Everything happens in the solid's own space: the camera goes round it.
    back = turned.T
    ahead = -back[:, 2:3]
    reach = np.float32(solid.reach)

    def starts(some_x: Floats, some_y: Floats) -> Floats:
        return np.asarray(back @ np.stack([some_x, some_y, np.broadcast_to(reach, some_x.shape)]))

    way = _rough_ways(solid, starts, ahead, x, y)
    near = np.flatnonzero(np.isfinite(way))
    points = starts(x[near], y[near])
    travelled = _traced(solid, points, ahead, way[near], 2 * reach)
    hit = np.flatnonzero(np.isfinite(travelled))
    points = points[:, hit] + ahead * travelled[hit]
    inside = near[hit]
    u, v = solid.coordinates(points)
    rows, columns = TEXTURE_SHAPE
    texel = np.minimum((u * rows).astype(np.int32), rows - 1) * columns + np.minimum((v * columns).astype(np.int32), columns - 1)
    texture = _texture(fruit.category)[texel].T
    normal = _unit(_normal(solid, points) - texture[4:7])
    seen.depth[inside] = reach - travelled[hit]
    seen.normal[:, inside] = turned @ normal
    seen.colour[:, inside] = texture[0:3]
    seen.gloss[inside] = texture[3]


def _rough_ways(solid: Solid, starts: Callable[[Floats, Floats], Floats], ahead: Floats, x: Floats, y: Floats) -> Floats:
    """How far each sample's ray may go at once, found with one ray for each block of samples; infinity if nothing is in its way."""
    blocks = _GRID // _BLOCK
    rough_x, rough_y = (axis.reshape(_GRID, _GRID)[_BLOCK // 2 :: _BLOCK, _BLOCK // 2 :: _BLOCK].ravel() for axis in (x, y))
    nothing = np.zeros_like(rough_x)
    ways = _traced(solid, starts(rough_x, rough_y), ahead, nothing, np.float32(2 * solid.reach)).reshape(blocks, blocks)
    # The nearest of a block and its neighbours, and a little less: no part of the solid is overrun.
    padded = np.pad(ways, 1, constant_values=np.inf)
    nearest = np.minimum.reduce([padded[down : down + blocks, across : across + blocks] for down in range(3) for across in range(3)])
    return np.maximum(np.repeat(np.repeat(nearest, _BLOCK, axis=0), _BLOCK, axis=1).ravel() - _BLOCK_SLACK, 0)


def _traced(solid: Solid, points: Floats, ahead: Floats, way: Floats, limit: np.float32) -> Floats:
    """How far each ray goes until it meets the solid, `way` at least; infinity if it doesn't within `limit`.

    Rays that are done are worked on no more.
    """
    travelled = np.full_like(way, np.inf)
    rays = np.arange(way.size)
    for number in range(_TRACE_STEPS):
        gap = solid.distance(points + ahead * way) * np.float32(solid.step)
        way = way + gap
        if number % 2 == 1:
            close = gap < _CLOSE
            travelled[rays[close]] = way[close]
            on = np.flatnonzero(~close & (way < limit))
            rays, points, way = rays[on], points[:, on], way[on]
            if not rays.size:
                break
    return travelled


def _normal(solid: Solid, points: Floats) -> Floats:
    """The surface's direction, from differences of the distance."""
    here = solid.distance(points)
    size = np.float32(0.012)
    return _unit(np.stack([solid.distance(points + size * axis[:, None]) - here for axis in np.eye(3, dtype=np.float32)]))


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / (np.sqrt((vectors * vectors).sum(axis=0)) + np.float32(1e-6)))


def _see_ball(seen: Seen, ball: Ball, turned: Floats, extent: float) -> None:
    """Lays one ball over what is seen so far, where it is nearer."""
    centre = turned @ np.array(ball.centre, dtype=np.float32)
    scale = _GRID / (2 * extent)
    column, row, radius = (centre[0] + extent) * scale, (extent - centre[1]) * scale, ball.radius * scale
    left, right = max(int(column - radius), 0), min(int(column + radius) + 2, _GRID)
    top, bottom = max(int(row - radius), 0), min(int(row + radius) + 2, _GRID)
    if left >= right or top >= bottom:
        return
    across = ((np.arange(left, right, dtype=np.float32) + np.float32(0.5) - column) / radius)[None, :]
    down = ((np.arange(top, bottom, dtype=np.float32) + np.float32(0.5) - row) / radius)[:, None]
    height = np.float32(1) - across * across - down * down
    samples = (np.arange(top, bottom) * _GRID)[:, None] + np.arange(left, right)
    towards = np.sqrt(np.maximum(height, 0))
    nearer = (height > 0) & (centre[2] + ball.radius * towards > seen.depth[samples])
    chosen, towards = samples[nearer], towards[nearer]
    seen.depth[chosen] = centre[2] + ball.radius * towards
    seen.normal[:, chosen] = np.stack(
        [np.broadcast_to(across, nearer.shape)[nearer], -np.broadcast_to(down, nearer.shape)[nearer], towards]
    )
    seen.colour[:, chosen] = np.square(np.array(ball.colour, dtype=np.float32))[:, None]
    seen.gloss[chosen] = ball.gloss


def _lit(seen: Seen, fruit: Fruit) -> Floats:
    """The light that reaches the eye, float32[samples, 3], linear; white where nothing is seen."""
    picture = np.ones((seen.depth.size, 3), dtype=np.float32)
    visible = np.flatnonzero(seen.depth > -np.inf)
    normal, colour, gloss = seen.normal[:, visible], seen.colour[:, visible], seen.gloss[visible]
    soft = np.float32(fruit.softness)
    key = np.clip((_KEY_LIGHT @ normal + soft) / (1 + soft), 0, None)
    fill = np.clip(_FILL_LIGHT @ normal, 0, None)
    room = np.float32(0.26) + np.float32(0.10) * normal[1]
    light = np.float32(0.86) * key + np.float32(0.17) * fill + room
    between = (_KEY_LIGHT + _VIEW) / np.linalg.norm(_KEY_LIGHT + _VIEW)
    glance = np.clip(between.astype(np.float32) @ normal, 0, None)
    # A sharp highlight with a wide soft one below it; at grazing angles everything mirrors a little of the white room.
    highlight = gloss * (np.float32(0.75) * glance ** np.float32(fruit.shine) + np.float32(0.16) * glance ** np.float32(9))
    rim = (np.float32(0.05) + np.float32(0.25) * gloss) * (1 - np.clip(normal[2], 0, 1)) ** 4
    picture[visible] = (colour * light + highlight + rim).T
    return picture


def _developed(picture: Floats) -> Image.Image:
    """Samples averaged to pixels; linear light to sRGB, taken as a square root."""
    pixels = np.clip(picture, 0, 1).reshape(SIDE, _SAMPLES, SIDE, _SAMPLES, 3).mean(axis=(1, 3))
    return Image.fromarray((np.sqrt(pixels) * 255 + 0.5).astype(np.uint8))
