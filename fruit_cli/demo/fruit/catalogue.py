"""Describes the fruit that can be drawn: for each category its painted surfaces, and how it is held to the camera.

Names are of the kind that Fruits-360 has, with spaces, digits and letters beyond ASCII, because those are what breaks
pipelines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fruit_cli.demo.fruit.surfaces import mix, revolved, rotation, step

if TYPE_CHECKING:
    from collections.abc import Callable

    from fruit_cli.demo.fruit.surfaces import Colour, Floats, Surface


@dataclass(frozen=True)
class Fruit:
    """Says how a category is drawn. `extent` is half the picture's side in the surfaces' units; angles are in degrees;
    `shine` is the highlight's sharpness.

    The fruit turns around the picture's upright, tipped towards the camera by `camera_degrees`; it leans from that axis
    by `lean_degrees`.
    """

    surfaces: Callable[[], list[Surface]]
    extent: float = 1.2
    camera_degrees: float = 20
    lean_degrees: float = 24
    shine: float = 45
    softness: float = 0.25


_APPLE: Final = (
    (0, 0.52),
    (0.1, 0.6),
    (0.3, 0.86),
    (0.9, 0.8),
    (1.03, 0.1),
    (0.82, -0.8),
    (0.3, -0.96),
    (0.12, -0.82),
    (0, -0.78),
)


def _apple_red() -> list[Surface]:
    skin = revolved(_APPLE)
    streaks = skin.noise(4, stretch=(1, 0.16, 1))
    colour = mix((0.62, 0.05, 0.07), (0.80, 0.16, 0.10), streaks + 0.5)
    colour = mix(colour, (0.88, 0.66, 0.25), step(skin.noise(1) + 0.5 * streaks + skin.u, 0.9, 1.7))
    colour = mix(colour, (0.93, 0.78, 0.55), skin.dots(24, 0.2, jitter=0.3))
    return [
        skin.painted(mix(colour, (0.46, 0.33, 0.10), 0.8 * _ends(skin, 0.16)), 0.55, 0.004 * streaks),
        _stem(0.5, 1.16),
    ]


def _granny_smith() -> list[Surface]:
    skin = revolved(_APPLE).placed(scale=(1, 1.05, 1))
    colour = mix((0.42, 0.62, 0.10), (0.62, 0.76, 0.24), skin.noise(1.3) + 0.5)
    colour = mix(colour, (0.86, 0.92, 0.62), skin.dots(26, 0.25, jitter=0.3))
    return [
        skin.painted(mix(colour, (0.36, 0.40, 0.10), 0.8 * _ends(skin, 0.16)), 0.6),
        _stem(0.55, 1.12),
        _leaf(0.5, 1.0, 24),
    ]


def _peach() -> list[Surface]:
    skin = revolved(
        ((0, 0.66), (0.1, 0.72), (0.4, 0.92), (0.96, 0.64), (1, -0.2), (0.6, -0.9), (0.14, -0.96), (0, -1.02)),
        lobes=(1, 0.06, 60),
    )
    fuzz = skin.noise(26)
    colour = mix(
        (0.97, 0.72, 0.36), (0.80, 0.22, 0.18), step(skin.noise(1) + 0.5 * np.cos(2 * np.pi * skin.v + 1), -0.6, 0.9)
    )
    colour = mix(colour, (1, 0.86, 0.7), step(fuzz, 0.1, 1.5) * 0.35)
    return [skin.painted(mix(colour, (0.55, 0.30, 0.12), 0.8 * _ends(skin, 0.14)), 0.04, 0.002 * fuzz)]


def _plum() -> list[Surface]:
    skin = revolved(
        ((0, 0.88), (0.22, 0.94), (0.7, 0.74), (0.88, 0.1), (0.7, -0.74), (0.28, -1), (0, -1)), lobes=(1, 0.06, 90)
    )
    bloom = step(skin.noise(2.2), -0.4, 1.2)
    colour = mix((0.20, 0.05, 0.20), (0.36, 0.09, 0.25), skin.noise(1.6) + 0.5)
    return [skin.painted(mix(colour, (0.50, 0.46, 0.66), 0.55 * bloom), 0.42 - 0.34 * bloom), _stem(0.84, 1.12)]


def _orange() -> list[Surface]:
    skin = revolved(((0, 0.88), (0.46, 0.92), (0.94, 0.58), (1.02, 0), (0.92, -0.62), (0.5, -0.94), (0, -0.94)))
    colour = mix((0.96, 0.52, 0.05), (0.99, 0.62, 0.12), skin.noise(1.5) + 0.5)
    return [_with_pores(skin, mix(colour, (0.36, 0.42, 0.14), step(skin.u, 0.05, 0.03)), (0.84, 0.38, 0.02))]


def _lemon() -> list[Surface]:
    skin = revolved(
        (
            (0, 1.1),
            (0.14, 1.06),
            (0.26, 0.88),
            (0.74, 0.5),
            (0.84, 0),
            (0.74, -0.52),
            (0.24, -0.92),
            (0.15, -1.12),
            (0, -1.18),
        )
    )
    colour = mix((0.96, 0.82, 0.12), (0.99, 0.90, 0.32), skin.noise(1.5) + 0.5)
    return [_with_pores(skin, mix(colour, (0.70, 0.74, 0.16), 0.7 * _ends(skin, 0.16)), (0.86, 0.68, 0.06))]


def _kiwi() -> list[Surface]:
    skin = revolved(((0, 0.98), (0.3, 1), (0.7, 0.7), (0.84, 0), (0.68, -0.74), (0.28, -1.02), (0, -1)))
    hair = skin.noise(22, stretch=(1, 0.35, 1))
    colour = mix((0.44, 0.31, 0.15), (0.66, 0.51, 0.29), 0.4 * skin.noise(5) + 0.5)
    colour = mix(colour, (0.76, 0.63, 0.40), 0.65 * step(hair, 0.2, 1.5))
    return [skin.painted(mix(colour, (0.22, 0.15, 0.07), _ends(skin, 0.1)), 0.03, 0.008 * hair)]


def _pear() -> list[Surface]:
    skin = revolved(
        (
            (0, 1.06),
            (0.18, 1.1),
            (0.4, 0.9),
            (0.44, 0.4),
            (0.86, 0),
            (0.96, -0.5),
            (0.74, -0.98),
            (0.2, -1.04),
            (0, -0.96),
        )
    )
    colour = mix((0.66, 0.70, 0.20), (0.84, 0.80, 0.34), skin.noise(1.2) + 0.5)
    colour = mix(colour, (0.82, 0.40, 0.16), 0.75 * step(np.cos(2 * np.pi * skin.v) + 0.5 * skin.noise(1.6), 0.35, 1.5))
    colour = mix(colour, (0.52, 0.40, 0.14), skin.dots(34, 0.3, jitter=0.4))
    return [skin.painted(mix(colour, (0.48, 0.34, 0.12), 0.8 * _ends(skin, 0.12)), 0.3), _stem(1.0, 1.4)]


def _strawberry() -> list[Surface]:
    skin = revolved(
        ((0, 0.7), (0.2, 0.8), (0.7, 0.82), (0.9, 0.4), (0.72, -0.1), (0.48, -0.6), (0.22, -1.02), (0, -1.1))
    )
    seeds = skin.dots(13, 0.45)
    colour = mix((0.78, 0.05, 0.06), (0.90, 0.14, 0.10), skin.noise(1.6) + 0.5)
    colour = mix(colour, (0.52, 0.02, 0.04), step(seeds, 0, 0.6) * 0.5)
    colour = mix(colour, (0.95, 0.80, 0.36), step(seeds, 0.55, 0.75))
    return [
        skin.painted(colour, 0.6, 0.03 * step(seeds, 0.5, 0.9) - 0.05 * step(seeds, 0, 0.6)),
        *_sepals(8, 0.72, 0.8),
        _stem(0.8, 1.2),
    ]


def _watermelon() -> list[Surface]:
    skin = revolved(((0, 0.98), (0.4, 1.02), (0.88, 0.66), (1, 0), (0.88, -0.66), (0.4, -1.02), (0, -0.98)))
    veins = skin.noise(6)
    band = np.cos(2 * np.pi * 11 * (skin.v + 0.02 * skin.noise(2.5))) + 0.3 * veins
    colour = mix((0.62, 0.74, 0.40), (0.72, 0.82, 0.50), skin.noise(2, salt=1) + 0.5)
    colour = mix(colour, (0.34, 0.54, 0.22), 0.6 * step(veins, 0.2, 1))
    return [skin.painted(mix(colour, (0.07, 0.24, 0.09), step(band, -0.15, 0.35)), 0.34), _stem(0.94, 1.12)]


def _carambula() -> list[Surface]:
    skin = revolved(
        ((0, 1.02), (0.3, 1.02), (0.76, 0.6), (0.92, 0), (0.76, -0.6), (0.22, -1.12), (0, -1.16)), lobes=(5, 0.5, 1.6)
    )
    ridge = 0.5 + 0.5 * np.cos(5 * 2 * np.pi * skin.v)
    colour = mix((0.72, 0.70, 0.12), (0.96, 0.84, 0.22), step(ridge, 0, 0.6) + 0.2 * skin.noise(2))
    colour = mix(colour, (0.55, 0.62, 0.14), 0.8 * step(ridge, 0.9, 1))
    return [skin.painted(mix(colour, (0.50, 0.34, 0.10), _ends(skin, 0.1)), 0.75)]


def _banana() -> list[Surface]:
    line = (
        (0, 1.16),
        (0.07, 1.14),
        (0.09, 0.62),
        (0.3, 0.38),
        (0.34, 0),
        (0.3, -0.5),
        (0.12, -0.9),
        (0.07, -1.14),
        (0, -1.16),
    )
    skin = revolved(line, lobes=(5, 0.12, 1))
    colour = mix((0.93, 0.76, 0.14), (0.99, 0.87, 0.30), skin.noise(1.4) + 0.5)
    colour = mix(colour, (0.58, 0.66, 0.18), 0.65 * step(skin.u, 0.24, 0.04))
    colour = mix(colour, (0.42, 0.24, 0.08), 0.75 * step(skin.noise(5), 1.1, 1.6))
    return [skin.painted(mix(colour, (0.20, 0.13, 0.07), _ends(skin, 0.08)), 0.28).bent(1.05)]


def _acai() -> list[Surface]:
    return [_berries((0.85, 0.95, 0.85), 8, (0.16, 0.07, 0.20), (0.30, 0.12, 0.28), 0.5), _stem(0.9, 1.2)]


def _raspberry() -> list[Surface]:
    return [_berries((0.78, 0.95, 0.78), 10, (0.66, 0.05, 0.16), (0.82, 0.12, 0.26), 0.35), *_sepals(5, 0.5, 0.95)]


def _berries(shape: tuple[float, float, float], rows: int, dark: Colour, light: Colour, gloss: float) -> Surface:
    ball = revolved([(np.sin(polar), np.cos(polar)) for polar in np.linspace(0, np.pi, 20)]).placed(scale=shape)
    berry = ball.dots(rows, 0.55, jitter=0.1)
    dome = berry * (2 - berry)
    return ball.painted(
        mix(mix(dark, light, 0.4 * ball.noise(4) + 0.5), (0.1, 0.02, 0.06), 0.8 - 1.6 * dome), gloss, 0.13 * dome
    )


def _with_pores(skin: Surface, colour: Floats, dark: Colour) -> Surface:
    pores = skin.dots(42, 0.5, jitter=0.4)
    return skin.painted(mix(colour, dark, 0.6 * pores), 0.37, -0.014 * pores)


def _ends(skin: Surface, length: float) -> Floats:
    """Returns a field that is 1 at both poles and 0 from `length` on, or from half of that at the lower pole."""
    return step(skin.u, length, length / 5) + step(skin.u, 1 - length / 2, 1 - length / 8)


def _stem(foot: float, top: float) -> Surface:
    length = top - foot
    stem = revolved(((0, length), (0.06, length), (0.04, length / 2), (0.05, 0), (0, 0)))
    return stem.painted(mix((0.36, 0.24, 0.12), (0.30, 0.26, 0.12), stem.u), 0.1).bent(-1.6).placed(move=(0, foot, 0))


def _leaf(length: float, height: float, degrees: float) -> Surface:
    """Returns a leaf that begins at the axis and points away from it, turned around the axis by `degrees`."""
    leaf = revolved(((0, length), (0.1, 0.6 * length), (0.07, 0.2 * length), (0.02, 0), (0, 0)))
    green = leaf.painted(mix((0.38, 0.60, 0.20), (0.20, 0.45, 0.13), leaf.u), 0.1).bent(2 * length)
    return green.placed(rotation(2, -80), rotation(1, degrees), scale=(1, 1, 0.3), move=(0, height, 0))


def _sepals(count: int, length: float, height: float) -> list[Surface]:
    return [_leaf(length * (0.85 + 0.12 * (number * 7 % 3)), height, 360 * number / count) for number in range(count)]


FRUITS: Final = {
    "Apple Red 1": Fruit(_apple_red, extent=1.22),
    "Açaí": Fruit(_acai, extent=1.26, shine=30),
    "Banana": Fruit(_banana, camera_degrees=12, lean_degrees=10, shine=22),
    "Carambula": Fruit(_carambula, lean_degrees=38, shine=60, softness=0.5),
    "Granny Smith": Fruit(_granny_smith, extent=1.34, shine=70),
    "Kiwi": Fruit(_kiwi, extent=1.12, lean_degrees=50, softness=0.35),
    "Lemon": Fruit(_lemon, extent=1.24, lean_degrees=58),
    "Orange": Fruit(_orange, extent=1.12, lean_degrees=30),
    "Pear": Fruit(_pear, extent=1.46, lean_degrees=14),
    "Plum": Fruit(_plum, extent=1.18, lean_degrees=36),
    "Pêche": Fruit(_peach, extent=1.14, lean_degrees=30, softness=0.5),
    "Raspberry": Fruit(_raspberry, extent=1.28, shine=25, softness=0.5),
    "Strawberry": Fruit(_strawberry, extent=1.33),
    "Watermelon": Fruit(_watermelon, extent=1.12, lean_degrees=62),
}
