"""The fruit that can be drawn: for each category its solid, its skin, stem and leaves, and how it is held to the camera.

Names are of the kind Fruits-360 has, with spaces, digits and letters beyond ASCII, for those are what breaks pipelines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fruit_cli.demo.fruit import skins as fruit_skins
from fruit_cli.demo.fruit.solids import Ball, BentTube, RevolvedSolid, strand

if TYPE_CHECKING:
    from collections.abc import Callable

    from fruit_cli.demo.fruit.solids import Solid
    from fruit_cli.demo.fruit.texture import Canvas, Skin


@dataclass(frozen=True)
class Fruit:
    """One category. `extent` is half the picture's side in the solid's units; angles in degrees; `shine` the highlight's sharpness.

    The fruit turns around the picture's upright, tipped towards the camera by `camera_degrees`; it leans from that axis by `lean_degrees`.
    """

    category: str
    solid: Solid | None = None
    paint: Callable[[Canvas], Skin] | None = None
    balls: tuple[Ball, ...] = ()
    extent: float = 1.12
    camera_degrees: float = 20
    lean_degrees: float = 24
    shine: float = 45
    softness: float = 0.25
    bumpiness: float = 0.0


def _sepals(count: int, length: float, height: float) -> tuple[Ball, ...]:
    balls: list[Ball] = []
    for number in range(count):
        angle = 2 * np.pi * number / count
        across, along = float(np.cos(angle)), float(np.sin(angle))
        reach = length * (0.85 + 0.25 * ((number * 7) % 3) / 2)
        balls += strand(
            [(0, height, 0), (across * reach * 0.5, height + 0.09, along * reach * 0.5), (across * reach, height - 0.02, along * reach)],
            [0.06, 0.10, 0.02],
            (0.24, 0.50, 0.14),
            (0.44, 0.66, 0.24),
        )
    return tuple(balls)


def _heap(
    count: int, berry: float, shape: tuple[float, float, float], colours: list[tuple[float, float, float]], gloss: float
) -> tuple[Ball, ...]:
    """Berries on a Fibonacci spiral over an ellipsoid."""
    balls = []
    for number in range(count):
        height = 1 - 2 * (number + 0.5) / count
        ring, angle = np.sqrt(1 - height * height), number * np.pi * (3 - np.sqrt(5))
        centre = (float(ring * np.cos(angle) * shape[0]), float(height * shape[1]), float(ring * np.sin(angle) * shape[2]))
        balls.append(Ball(centre, berry * (0.94 + 0.06 * ((number * 5) % 3)), colours[(number * 7) % len(colours)], gloss))
    return tuple(balls)


def _stem(
    foot: float, top: float, width: float = 0.05, sway: float = 0.14, colour: tuple[float, float, float] = (0.36, 0.24, 0.12)
) -> tuple[Ball, ...]:
    return tuple(strand([(0, foot, 0), (sway * 0.2, (foot + top) / 2, 0), (sway, top, 0.04)], [width, width * 0.8, width * 1.25], colour))


def _leaf(root: float) -> tuple[Ball, ...]:
    return tuple(
        strand(
            [(0.05, root, 0), (0.30, root + 0.16, 0.12), (0.56, root + 0.10, 0.22)],
            [0.03, 0.12, 0.02],
            (0.20, 0.42, 0.12),
            (0.38, 0.60, 0.20),
        )
    )


_APPLE: Final = RevolvedSolid(
    (
        (0, 0.52),
        (0.10, 0.60),
        (0.26, 0.82),
        (0.58, 0.90),
        (0.92, 0.62),
        (1.0, 0.20),
        (0.94, -0.30),
        (0.74, -0.76),
        (0.42, -0.94),
        (0.16, -0.84),
        (0, -0.78),
    )
)
_GRANNY: Final = RevolvedSolid(
    (
        (0, 0.60),
        (0.10, 0.66),
        (0.24, 0.84),
        (0.56, 0.92),
        (0.90, 0.66),
        (1.0, 0.12),
        (0.92, -0.42),
        (0.68, -0.86),
        (0.36, -0.98),
        (0.14, -0.88),
        (0, -0.84),
    )
)
_PEACH: Final = RevolvedSolid(
    (
        (0, 0.66),
        (0.10, 0.72),
        (0.30, 0.88),
        (0.66, 0.84),
        (0.96, 0.46),
        (1.0, -0.06),
        (0.84, -0.58),
        (0.46, -0.90),
        (0.16, -0.97),
        (0, -1.02),
    ),
    lobe_count=1,
    lobe_depth=0.06,
    lobe_sharpness=60,
)
_PLUM: Final = RevolvedSolid(
    ((0, 0.88), (0.22, 0.92), (0.62, 0.76), (0.82, 0.30), (0.84, -0.20), (0.64, -0.74), (0.28, -0.98), (0, -1.0)),
    lobe_count=1,
    lobe_depth=0.04,
    lobe_sharpness=90,
)
_ORANGE: Final = RevolvedSolid(
    ((0, 0.88), (0.12, 0.90), (0.46, 0.89), (0.86, 0.58), (1.0, 0.06), (0.90, -0.50), (0.54, -0.88), (0.18, -0.95), (0, -0.94))
)
_LEMON: Final = RevolvedSolid(
    (
        (0, 1.10),
        (0.12, 1.06),
        (0.24, 0.90),
        (0.54, 0.66),
        (0.76, 0.26),
        (0.76, -0.26),
        (0.54, -0.68),
        (0.24, -0.92),
        (0.15, -1.10),
        (0, -1.18),
    )
)
_KIWI: Final = RevolvedSolid(((0, 0.98), (0.20, 0.98), (0.56, 0.82), (0.76, 0.36), (0.78, -0.18), (0.62, -0.74), (0.26, -1.0), (0, -1.0)))
_PEAR: Final = RevolvedSolid(
    (
        (0, 1.06),
        (0.14, 1.10),
        (0.34, 0.96),
        (0.42, 0.62),
        (0.50, 0.32),
        (0.78, -0.06),
        (0.90, -0.46),
        (0.74, -0.88),
        (0.36, -1.04),
        (0.12, -0.98),
        (0, -0.94),
    )
)
_STRAWBERRY: Final = RevolvedSolid(
    ((0, 0.70), (0.20, 0.80), (0.66, 0.80), (0.86, 0.46), (0.74, -0.06), (0.50, -0.58), (0.24, -0.98), (0, -1.10))
)
_WATERMELON: Final = RevolvedSolid(
    ((0, 0.98), (0.30, 1.0), (0.72, 0.78), (0.94, 0.30), (0.94, -0.30), (0.72, -0.78), (0.30, -1.0), (0, -0.98))
)
_CARAMBULA: Final = RevolvedSolid(
    ((0, 1.02), (0.24, 1.04), (0.62, 0.80), (0.86, 0.28), (0.86, -0.28), (0.60, -0.82), (0.22, -1.12), (0, -1.16)),
    lobe_count=5,
    lobe_depth=0.50,
    lobe_sharpness=1.6,
)
_BANANA: Final = BentTube(
    bend_radius=1.05, half_angle=1.10, thickness=(0.06, 0.07, 0.10, 0.27, 0.32, 0.33, 0.32, 0.27, 0.14, 0.07), sides=5, side_depth=0.045
)

_RED_BERRIES: Final = [(0.74, 0.08, 0.20), (0.82, 0.12, 0.26), (0.66, 0.05, 0.16)]
_DARK_BERRIES: Final = [(0.16, 0.07, 0.20), (0.24, 0.10, 0.27), (0.12, 0.05, 0.15), (0.30, 0.12, 0.28)]

FRUITS: Final[dict[str, Fruit]] = {
    fruit.category: fruit
    for fruit in (
        Fruit("Apple Red 1", _APPLE, fruit_skins.apple_red, _stem(0.50, 1.16), extent=1.22, bumpiness=0.012),
        Fruit(
            "Açaí", None, None, _heap(46, 0.25, (0.62, 0.72, 0.62), _DARK_BERRIES, 0.5) + _stem(0.6, 1.20, 0.05, 0.1), extent=1.16, shine=30
        ),
        Fruit("Banana", _BANANA, fruit_skins.banana, extent=1.20, camera_degrees=12, lean_degrees=10, shine=22, bumpiness=0.01),
        Fruit("Carambula", _CARAMBULA, fruit_skins.carambula, extent=1.20, lean_degrees=38, shine=60, softness=0.5, bumpiness=0.01),
        Fruit(
            "Granny Smith",
            _GRANNY,
            fruit_skins.granny_smith,
            _stem(0.58, 1.12, 0.045, -0.10) + _leaf(0.92),
            extent=1.20,
            shine=70,
            bumpiness=0.008,
        ),
        Fruit("Kiwi", _KIWI, fruit_skins.kiwi, lean_degrees=50, softness=0.35, bumpiness=0.030),
        Fruit("Lemon", _LEMON, fruit_skins.lemon, extent=1.24, lean_degrees=58, bumpiness=0.020),
        Fruit("Orange", _ORANGE, fruit_skins.orange, lean_degrees=30, bumpiness=0.020),
        Fruit("Pear", _PEAR, fruit_skins.pear, _stem(1.0, 1.44, 0.05, 0.20), extent=1.34, lean_degrees=14, bumpiness=0.008),
        Fruit("Plum", _PLUM, fruit_skins.plum, _stem(0.84, 1.12, 0.035, 0.06), extent=1.14, lean_degrees=36, bumpiness=0.006),
        Fruit("Pêche", _PEACH, fruit_skins.peach, softness=0.5, extent=1.14, lean_degrees=30, bumpiness=0.014),
        Fruit(
            "Raspberry",
            None,
            None,
            _heap(74, 0.20, (0.62, 0.80, 0.62), _RED_BERRIES, 0.35) + _sepals(5, 0.5, 0.93),
            extent=1.20,
            shine=25,
            softness=0.5,
        ),
        Fruit(
            "Strawberry",
            _STRAWBERRY,
            fruit_skins.strawberry,
            _sepals(8, 0.72, 0.80) + _stem(0.8, 1.20, 0.04, 0.1, (0.40, 0.58, 0.22)),
            extent=1.26,
            bumpiness=0.040,
        ),
        Fruit(
            "Watermelon",
            _WATERMELON,
            fruit_skins.watermelon,
            _stem(0.94, 1.12, 0.05, 0.08, (0.42, 0.46, 0.18)),
            lean_degrees=62,
            extent=1.12,
            bumpiness=0.006,
        ),
    )
}
