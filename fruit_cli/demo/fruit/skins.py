"""The skins of the fruit that can be drawn: each paints a canvas with colours, gloss and bumps. Colours are sRGB, 0 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fruit_cli.demo.fruit.texture import Canvas, Skin, mix, step

if TYPE_CHECKING:
    from fruit_cli.demo.fruit.texture import Colour, Floats


def apple_red(canvas: Canvas) -> Skin:
    streaks = canvas.noise(5, 3, stretch=(1, 0.16, 1))
    red = mix((0.62, 0.05, 0.07), (0.80, 0.16, 0.10), streaks + 0.5)
    blush = canvas.noise(1.1, 2, salt=1) + 0.55 * streaks + 0.9 * (canvas.u - 0.5)
    colour = mix(red, (0.88, 0.66, 0.25), step(blush, 0.22, 0.75) * 0.85)
    colour = mix(colour, (0.93, 0.78, 0.55), canvas.spots(420, 0.022, jitter=1) * 0.55)
    return Skin(_dimmed(colour, canvas, stem=0.13, end=0.10, to=(0.46, 0.33, 0.10)), np.float32(0.55) * _everywhere(canvas), streaks)


def granny_smith(canvas: Canvas) -> Skin:
    colour = mix((0.42, 0.62, 0.10), (0.62, 0.76, 0.24), canvas.noise(1.3, 3) + 0.5)
    colour = mix(colour, (0.86, 0.92, 0.62), canvas.spots(520, 0.024, jitter=1) * 0.8)
    return Skin(
        _dimmed(colour, canvas, stem=0.15, end=0.10, to=(0.36, 0.40, 0.10)), np.float32(0.6) * _everywhere(canvas), canvas.noise(4, 2)
    )


def peach(canvas: Canvas) -> Skin:
    blush = 1.4 * canvas.noise(1.1, 3) + 0.5 * np.cos(2 * np.pi * (canvas.v - 0.30))
    colour = mix((0.97, 0.72, 0.36), (0.80, 0.22, 0.18), step(blush, -0.6, 0.9))
    fuzz = canvas.noise(30, 2, salt=3)
    colour = mix(colour, (1.0, 0.86, 0.70), step(fuzz, 0.1, 0.8) * 0.35)
    colour = mix(colour, (0.60, 0.16, 0.12), _groove(canvas, 0.035) * 0.5)
    return Skin(_dimmed(colour, canvas, stem=0.12, end=0.02, to=(0.55, 0.30, 0.12)), np.float32(0.04) * _everywhere(canvas), fuzz)


def plum(canvas: Canvas) -> Skin:
    colour = mix((0.20, 0.05, 0.20), (0.36, 0.09, 0.25), canvas.noise(1.6, 3) + 0.5)
    bloom = step(canvas.noise(2.0, 4, salt=2), -0.25, 0.6)
    colour = mix(colour, (0.50, 0.46, 0.66), bloom * 0.55)
    colour = mix(colour, (0.14, 0.03, 0.14), _groove(canvas, 0.02) * 0.7)
    return Skin(colour, np.float32(0.42) * (1 - 0.8 * bloom), canvas.noise(6, 2))


def orange(canvas: Canvas) -> Skin:
    pores = canvas.spots(1500, 0.055, jitter=1)
    colour = mix((0.96, 0.52, 0.05), (0.99, 0.62, 0.12), canvas.noise(1.5, 3) + 0.5)
    colour = mix(colour, (0.84, 0.38, 0.02), step(pores, 0.3, 1.0) * 0.6)
    colour = mix(colour, (0.36, 0.42, 0.14), step(canvas.u, 0.050, 0.028))
    return Skin(colour, np.float32(0.36) * _everywhere(canvas), -step(pores, 0.2, 0.9))


def lemon(canvas: Canvas) -> Skin:
    pores = canvas.spots(1100, 0.06, jitter=1)
    colour = mix((0.96, 0.82, 0.12), (0.99, 0.90, 0.32), canvas.noise(1.5, 3) + 0.5)
    colour = mix(colour, (0.70, 0.74, 0.16), step(canvas.u, 0.16, 0.02) * 0.7 + step(canvas.u, 0.93, 0.99) * 0.6)
    colour = mix(colour, (0.86, 0.68, 0.06), step(pores, 0.3, 1.0) * 0.5)
    return Skin(colour, np.float32(0.38) * _everywhere(canvas), -step(pores, 0.2, 0.9) + 0.4 * canvas.noise(5, 2))


def kiwi(canvas: Canvas) -> Skin:
    hair = canvas.noise(26, 2, stretch=(1, 0.35, 1))
    colour = mix((0.44, 0.31, 0.15), (0.66, 0.51, 0.29), canvas.noise(3, 3) * 0.7 + 0.5)
    colour = mix(colour, (0.76, 0.63, 0.40), step(hair, 0.15, 0.7) * 0.65)
    colour = mix(colour, (0.22, 0.15, 0.07), step(canvas.u, 0.09, 0.03) + step(canvas.u, 0.94, 0.98))
    return Skin(colour, np.float32(0.03) * _everywhere(canvas), hair)


def pear(canvas: Canvas) -> Skin:
    colour = mix((0.66, 0.70, 0.20), (0.84, 0.80, 0.34), canvas.noise(1.2, 3) + 0.5)
    blush = step(np.cos(2 * np.pi * (canvas.v - 0.2)) + 0.8 * canvas.noise(1.6, 2, salt=1), 0.35, 1.5)
    colour = mix(colour, (0.82, 0.40, 0.16), blush * 0.75)
    colour = mix(colour, (0.52, 0.40, 0.14), canvas.spots(700, 0.026, jitter=1.5) * 0.75)
    colour = mix(colour, (0.48, 0.34, 0.12), step(canvas.u + 0.05 * canvas.noise(6, 2, salt=2), 0.13, 0.03) * 0.8)
    return Skin(colour, np.float32(0.30) * _everywhere(canvas), canvas.noise(7, 2))


def strawberry(canvas: Canvas) -> Skin:
    pits = canvas.spots(210, 0.105, along=(0.04, 1.0), jitter=0.3)
    seeds = canvas.spots(210, 0.040, along=(0.04, 1.0), jitter=0.3)
    colour = mix((0.78, 0.05, 0.06), (0.90, 0.14, 0.10), canvas.noise(1.6, 2) + 0.5)
    colour = mix(colour, (0.96, 0.74, 0.56), step(canvas.u, 0.26, 0.04) * 0.55)
    colour = mix(colour, (0.52, 0.02, 0.04), step(pits, 0.35, 1.0) * 0.5)
    colour = mix(colour, (0.95, 0.80, 0.36), step(seeds, 0.15, 0.55))
    return Skin(colour, np.float32(0.6) * _everywhere(canvas), -step(pits, 0.0, 0.8) + 1.1 * step(seeds, 0.1, 0.6))


def watermelon(canvas: Canvas) -> Skin:
    wander = canvas.noise(3.0, 3) * 0.035 + canvas.noise(9, 2, salt=4) * 0.012
    band = np.cos(2 * np.pi * 11 * (canvas.v + wander))
    veins = canvas.noise(7, 3, salt=2)
    colour = mix((0.62, 0.74, 0.40), (0.72, 0.82, 0.50), canvas.noise(2, 2, salt=1) + 0.5)
    colour = mix(colour, (0.34, 0.54, 0.22), step(veins, 0.10, 0.40) * 0.6)
    colour = mix(colour, (0.07, 0.24, 0.09), step(band + 0.5 * veins, -0.15, 0.35))
    colour = mix(colour, (0.86, 0.80, 0.46), step(canvas.noise(0.9, 1, salt=5) + 0.6 * np.sin(2 * np.pi * canvas.v), 0.85, 1.15) * 0.8)
    return Skin(colour, np.float32(0.34) * _everywhere(canvas), veins * 0.3)


def carambula(canvas: Canvas) -> Skin:
    ridge = 0.5 + 0.5 * np.cos(5 * 2 * np.pi * (canvas.v - 0.5))
    colour = mix((0.72, 0.70, 0.12), (0.96, 0.84, 0.22), step(ridge, 0.0, 0.6) + 0.3 * canvas.noise(2, 2))
    colour = mix(colour, (0.55, 0.62, 0.14), step(ridge, 0.90, 1.0) * 0.8)
    colour = mix(colour, (0.50, 0.34, 0.10), step(canvas.u, 0.10, 0.03) + step(canvas.u, 0.95, 0.99))
    return Skin(colour, np.float32(0.75) * _everywhere(canvas), canvas.noise(5, 2))


def banana(canvas: Canvas) -> Skin:
    colour = mix((0.93, 0.76, 0.14), (0.99, 0.87, 0.30), canvas.noise(1.4, 3) + 0.5)
    colour = mix(colour, (0.58, 0.66, 0.18), step(canvas.u, 0.24, 0.04) * 0.65)
    sugar = step(canvas.noise(7, 2, stretch=(1, 1, 1), salt=3), 0.38, 0.62)
    colour = mix(colour, (0.42, 0.24, 0.08), sugar * 0.75)
    colour = mix(colour, (0.20, 0.13, 0.07), step(canvas.u, 0.965, 0.99) + step(canvas.u, 0.022, 0.005))
    return Skin(colour, np.float32(0.28) * _everywhere(canvas), canvas.noise(4, 2))


def _dimmed(colour: Floats, canvas: Canvas, *, stem: float, end: float, to: Colour) -> Floats:
    """Darker in the hollow of the stem and at the other end, where little light comes in."""
    shade = step(canvas.u, stem, stem * 0.25) * 0.85 + step(canvas.u, 1 - end, 1 - end * 0.4) * 0.6
    return mix(colour, to, shade + 0.08 * canvas.noise(9, 2, salt=8) * (shade > 0))


def _groove(canvas: Canvas, width: float) -> Floats:
    """1 along the meridian where a peach is parted; the solid's own groove is there too."""
    return np.asarray(np.exp(-(((canvas.v - 0.5) / np.float32(width)) ** 2)), dtype=np.float32)


def _everywhere(canvas: Canvas) -> Floats:
    return np.ones_like(canvas.u)
