"""Draws fruit: it lights surfaces with a lamp, a fill light and the room, and turns them step by step on white, as
Fruits-360's photos show fruit.

A fruit is a cloud of points, close enough to leave no gap in the picture: of those that face the camera, each sample of
the picture shows the nearest one. The same (category, frame) always gives the same picture.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from PIL import Image

from fruit_cli.demo.fruit.catalogue import FRUITS
from fruit_cli.demo.fruit.surfaces import rotation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fruit_cli.demo.fruit.catalogue import Fruit
    from fruit_cli.demo.fruit.surfaces import Floats

CATEGORIES: Final = tuple(FRUITS)
SIDE: Final = 100
JPEG_QUALITY: Final = 90
_GRID: Final = 2 * SIDE  # two samples along each side of a pixel
_LAMP: Final = np.array([-0.45, 0.62, 0.64], dtype=np.float32)
_FILL_LIGHT: Final = np.array([0.80, -0.05, 0.60], dtype=np.float32)
_HALFWAY: Final = np.array(
    [-0.25, 0.34, 0.91], dtype=np.float32
)  # between the lamp and the camera: it is mirrored there


class Cloud(NamedTuple):
    """Holds the points of a fruit, float32[n, 3] each (gloss: [n, 1]): where they are, which way they face, and their
    colour in linear light.
    """

    points: Floats
    normals: Floats
    colours: Floats
    gloss: Floats


def draw_fruit(category: str, frame: int, frames: int) -> Image.Image:
    """Returns the picture of a fruit after `frame` of `frames` steps of a full turn, RGB, 100x100. Raises KeyError for
    a category that isn't drawn.
    """
    fruit, cloud = FRUITS[category], _cloud(category)
    turned = (
        rotation(0, fruit.camera_degrees)
        @ rotation(1, 360 * (frame % frames) / frames)
        @ rotation(2, fruit.lean_degrees)
    )
    facing = np.flatnonzero(_along(cloud.normals, turned[2]) > 0)
    shown = _nearest(_along(cloud.points[facing], turned), fruit.extent)
    covered = shown >= 0
    chosen = facing[shown[covered]]
    picture = np.ones((_GRID, _GRID, 3), dtype=np.float32)
    picture[covered] = _lit(_along(cloud.normals[chosen], turned), cloud.colours[chosen], cloud.gloss[chosen], fruit)
    pixels = (picture[::2, ::2] + picture[::2, 1::2] + picture[1::2, ::2] + picture[1::2, 1::2]) / 4
    # Linear light to sRGB, taken as a square root.
    return Image.fromarray((np.sqrt(pixels) * 255 + 0.5).astype(np.uint8))


def draw_jpeg(category: str, frame: int, frames: int) -> bytes:
    """Returns the picture that `draw_fruit` draws, as the bytes of a JPEG file."""
    stream = io.BytesIO()
    draw_fruit(category, frame, frames).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


@lru_cache(maxsize=4)
def _cloud(category: str) -> Cloud:
    surfaces = FRUITS[category].surfaces()
    layers = zip(*((s.points, s.normals(), np.square(s.colour), s.gloss[None]) for s in surfaces), strict=True)
    points, normals, colours, gloss = (
        np.concatenate([part.reshape(len(part), -1).T for part in layer]) for layer in layers
    )
    return Cloud(points, normals, colours, gloss)


def _along(vectors: Floats, directions: Floats) -> Floats:
    """Returns how far the vectors, float32[n, 3], go along a direction, as float32[n], or along each of several, as
    float32[n, directions].
    """
    # `@` would be slower: for so few numbers, its threads take longer to meet than one takes to compute.
    return np.asarray(np.einsum("nj,...j->n...", vectors, directions))


def _nearest(points: Floats, extent: float) -> NDArray[np.intp]:
    """Returns the number of the point that each sample shows, [rows, columns]; -1 where there is none."""
    column, row, depth = ((points / (np.array([1, -1, 1], dtype=np.float32) * extent) + 1) * (_GRID / 2)).T
    # Of several assignments to one sample the last one stays, which is that of the nearest point. Small integers are
    # sorted quickly.
    order = np.argsort((np.clip(depth, 0, 255) * 256).astype(np.uint16), kind="stable")
    shown = np.full((_GRID, _GRID), -1)
    shown[row[order].astype(np.intp), column[order].astype(np.intp)] = order
    for axis in (1, 0):
        # Where the surface is steep its points lie apart: a gap between two of them is closed.
        before, after = np.roll(shown, 1, axis), np.roll(shown, -1, axis)
        shown = np.where((shown < 0) & (before >= 0) & (after >= 0), before, shown)
    return shown


def _lit(normals: Floats, colours: Floats, gloss: Floats, fruit: Fruit) -> Floats:
    """Returns the light that reaches the eye, float32[n, 3], linear. It sums Lambert's law, a highlight, and light from
    above.
    """
    lamp = np.clip((_along(normals, _LAMP) + fruit.softness) / (1 + fruit.softness), 0, None)
    light = 0.86 * lamp + 0.17 * np.clip(_along(normals, _FILL_LIGHT), 0, None) + 0.26 + 0.10 * normals[:, 1]
    glance = np.clip(_along(normals, _HALFWAY), 0, None)
    # A sharp highlight with a wide soft one below it; at grazing angles everything mirrors a little of the white room.
    mirrored = gloss[:, 0] * (0.75 * glance**fruit.shine + 0.16 * glance**9)
    mirrored += (0.05 + 0.25 * gloss[:, 0]) * (1 - normals[:, 2]) ** 4
    return np.asarray(np.clip(colours * light[:, None] + mirrored[:, None], 0, 1))
