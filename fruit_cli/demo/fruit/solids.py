"""The solids that fruit is made of: surfaces of revolution, bent tubes, and balls for stems, leaves and berries.

A solid knows its signed distance (near the surface, roughly) and its surface coordinates (u along the axis, v around it, both 0 to 1).
Lengths are in units of about a fruit's radius; the axis is y, the stem is at +y.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_TABLE: Final = 2048
_TURN: Final = np.float32(2 * np.pi)


class Solid(Protocol):
    """`points` are float32[3, n]; distances and coordinates float32[n]. `step` is how much of the distance a ray may safely go."""

    @property
    def reach(self) -> float: ...
    @property
    def step(self) -> float: ...
    def distance(self, points: Floats) -> Floats: ...
    def coordinates(self, points: Floats) -> tuple[Floats, Floats]: ...
    def surface(self, u: Floats, v: Floats) -> Floats: ...


@dataclass(frozen=True)
class RevolvedSolid:
    """A meridian turned around the axis, pressed in or out around it: lobes of a star fruit, the groove of a peach.

    `meridian` runs from the stem's pole to the other one, as (distance from the axis, height) points; corners are rounded.
    `lobes` gives the relative change of radius for angles around the axis (radians), strongest at the equator.
    """

    meridian: tuple[tuple[float, float], ...]
    lobe_count: int = 0
    lobe_depth: float = 0.0
    lobe_sharpness: float = 1.0

    @cached_property
    def _radius_by_cosine(self) -> Floats:
        curve = _rounded(np.array(self.meridian))
        polar = np.arctan2(np.maximum(curve[:, 0], 0), curve[:, 1])
        order = np.argsort(polar)
        cosines = np.linspace(-1, 1, _TABLE)
        return np.interp(np.arccos(cosines), polar[order], np.hypot(*curve.T)[order]).astype(np.float32)

    @cached_property
    def _press_by_angle(self) -> Floats | None:
        if not self.lobe_count:
            return None
        angles = np.linspace(0, 2 * np.pi, _TABLE)
        crest = (0.5 + 0.5 * np.cos(self.lobe_count * angles)) ** self.lobe_sharpness
        return np.asarray(-self.lobe_depth * (1 - crest if self.lobe_count > 1 else crest), dtype=np.float32)

    @property
    def reach(self) -> float:
        return float(self._radius_by_cosine.max()) * (1 + 0.02)

    @property
    def step(self) -> float:
        return 0.55 if self.lobe_count > 1 else 0.8

    def distance(self, points: Floats) -> Floats:
        x, y, z = points
        length = np.sqrt(x * x + y * y + z * z) + np.float32(1e-6)
        cosine = y / length
        radius = _looked_up(self._radius_by_cosine, (cosine + 1) * np.float32(0.5))
        if self._press_by_angle is not None:
            press = _looked_up(self._press_by_angle, np.arctan2(z, x) / _TURN + np.float32(0.5))
            radius = radius * (1 + press * (1 - cosine * cosine))
        result: Floats = length - radius
        return result

    def coordinates(self, points: Floats) -> tuple[Floats, Floats]:
        x, y, z = points
        length = np.sqrt(x * x + y * y + z * z) + np.float32(1e-6)
        return np.arccos(np.clip(y / length, -1, 1)) / np.float32(np.pi), np.arctan2(z, x) / _TURN + np.float32(0.5)

    def surface(self, u: Floats, v: Floats) -> Floats:
        """The points at these coordinates, float32[3, ...]."""
        polar, angle = u * np.float32(np.pi), (v - np.float32(0.5)) * _TURN
        direction = np.stack([np.sin(polar) * np.cos(angle), np.cos(polar), np.sin(polar) * np.sin(angle)])
        radius = _looked_up(self._radius_by_cosine, (direction[1] + 1) * np.float32(0.5))
        if self._press_by_angle is not None:
            radius = radius * (1 + _looked_up(self._press_by_angle, v) * np.sin(polar) ** 2)
        return np.asarray(direction * radius, dtype=np.float32)


@dataclass(frozen=True)
class BentTube:
    """A tube along an arc in the x-y plane, thick and thin as `thickness` says from its stem end to the other, with flat sides.

    `bend_radius` is that of the arc, `half_angle` (radians) how far it goes to both sides; `sides` faces, as deep as `side_depth`.
    """

    bend_radius: float
    half_angle: float
    thickness: tuple[float, ...]
    sides: int = 5
    side_depth: float = 0.06

    @cached_property
    def _thickness_table(self) -> Floats:
        at = np.linspace(0, 1, len(self.thickness))
        curve = _rounded(np.stack([at, np.array(self.thickness)], axis=1))
        return np.interp(np.linspace(0, 1, _TABLE), curve[:, 0], curve[:, 1]).astype(np.float32)

    @property
    def reach(self) -> float:
        return float(self.bend_radius * np.sin(min(self.half_angle, np.pi / 2)) + self._thickness_table.max())

    @property
    def step(self) -> float:
        return 0.8

    def distance(self, points: Floats) -> Floats:
        along, radial, z = self._around_arc(points)
        thickness = _looked_up(self._thickness_table, self._u(along))
        facet = 1 - np.float32(self.side_depth) * np.cos(np.float32(self.sides) * np.arctan2(z, radial))
        # Beyond the arc's ends it is the end that is nearest, not the circle.
        end_x = points[0] + np.float32(self._shift - self.bend_radius * np.cos(self.half_angle))
        end_y = np.abs(points[1]) - np.float32(self.bend_radius * np.sin(self.half_angle))
        to_end = end_x * end_x + end_y * end_y
        in_plane = np.where(np.abs(along) > np.float32(self.half_angle), to_end, radial * radial)
        result: Floats = np.sqrt(in_plane + z * z) - thickness * facet
        return result

    def coordinates(self, points: Floats) -> tuple[Floats, Floats]:
        along, radial, z = self._around_arc(points)
        return self._u(along), np.arctan2(z, radial) / _TURN + np.float32(0.5)

    def surface(self, u: Floats, v: Floats) -> Floats:
        """The points at these coordinates, float32[3, ...]."""
        along = (np.float32(0.5) - u) * np.float32(2 * self.half_angle)
        angle = (v - np.float32(0.5)) * _TURN
        thickness = _looked_up(self._thickness_table, u)
        radius = self.bend_radius + thickness * np.cos(angle)
        places = [radius * np.cos(along) - self._shift, radius * np.sin(along), thickness * np.sin(angle)]
        return np.asarray(np.stack(places), dtype=np.float32)

    @property
    def _shift(self) -> float:
        # The arc's middle of gravity goes to the origin.
        return float(self.bend_radius * np.sin(self.half_angle) / self.half_angle)

    def _around_arc(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        x, y, z = points
        from_centre = x + np.float32(self._shift)
        return np.arctan2(y, from_centre), np.sqrt(from_centre * from_centre + y * y) - np.float32(self.bend_radius), z

    def _u(self, along: Floats) -> Floats:
        return np.clip(np.float32(0.5) - along / np.float32(2 * self.half_angle), 0, 1)


@dataclass(frozen=True)
class Ball:
    """A small ball; rows of them make stems and leaves, heaps of them berries. Colours are sRGB, 0 to 1."""

    centre: tuple[float, float, float]
    radius: float
    colour: tuple[float, float, float]
    gloss: float = 0.1


def strand(
    points: Sequence[tuple[float, float, float]],
    radii: Sequence[float],
    colour: tuple[float, float, float],
    tip_colour: tuple[float, float, float] | None = None,
    count: int = 14,
) -> list[Ball]:
    """A row of balls along a line through `points`, as thick as `radii` say: a stem, a sepal."""
    at = np.linspace(0, 1, count)
    knots = np.linspace(0, 1, len(points))
    centres = np.stack([np.interp(at, knots, axis) for axis in np.array(points).T], axis=1)
    widths = np.interp(at, np.linspace(0, 1, len(radii)), radii)
    colours = np.array(colour) + at[:, None] * (np.array(tip_colour or colour) - np.array(colour))
    return [
        Ball((float(x), float(y), float(z)), float(width), (float(red), float(green), float(blue)))
        for (x, y, z), width, (red, green, blue) in zip(centres, widths, colours, strict=True)
    ]


def rotation(axis: int, degrees: float) -> Floats:
    """The matrix that turns around x (0), y (1) or z (2)."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix.astype(np.float32)


def _rounded(points: NDArray[np.float64], rounds: int = 5) -> NDArray[np.float64]:
    """Chaikin's corner cutting: an open line becomes smooth, its ends stay."""
    for _ in range(rounds):
        before, after = points[:-1], points[1:]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], axis=1).reshape(-1, points.shape[1])
        points = np.concatenate([points[:1], cut, points[-1:]])
    return points


def _looked_up(table: Floats, where: Floats) -> Floats:
    """The table at positions 0 to 1, linearly between its entries."""
    position = np.clip(where, 0, 1) * np.float32(len(table) - 1)
    below = np.minimum(position.astype(np.int32), len(table) - 2)
    low = table[below]
    result: Floats = low + (table[below + 1] - low) * (position - below)
    return result
