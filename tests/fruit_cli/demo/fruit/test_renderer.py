from __future__ import annotations

import functools
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from fruit_cli.demo.fruit.renderer import CATEGORIES, draw_fruit, draw_jpeg
from fruit_cli.demo.fruit.solids import BentTube, RevolvedSolid, rotation
from fruit_contract.lake import check_category

BALL = RevolvedSolid(((0, 1.0), (0.4, 0.92), (0.71, 0.71), (0.92, 0.4), (1.0, 0), (0.92, -0.4), (0.71, -0.71), (0.4, -0.92), (0, -1.0)))
TUBE = BentTube(bend_radius=1.0, half_angle=1.0, thickness=(0.2, 0.3, 0.3, 0.2))


@functools.cache
def pixels(category: str, frame: int = 0, frames: int = 8) -> np.ndarray:
    return np.asarray(draw_fruit(category, frame, frames)).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("category", CATEGORIES)
def test_draws_a_hundred_pixel_rgb_picture_on_white_that_the_fruit_fills(category: str) -> None:
    picture = draw_fruit(category, 3, 8)
    assert (picture.mode, picture.size) == ("RGB", (100, 100))
    values = np.asarray(picture)
    assert all((values[corner] == 255).all() for corner in itertools.product((0, -1), (0, -1)))
    covered = (values < 250).any(axis=2).mean()
    assert 0.08 < covered < 0.85
    assert values.std() > 20


@pytest.mark.slow
@pytest.mark.parametrize("category", CATEGORIES)
def test_no_fruit_has_holes(category: str) -> None:
    """A hole would be white samples between the leftmost and rightmost sample of most rows."""
    for frame in range(0, 8, 2):
        fruit = (np.asarray(draw_fruit(category, frame, 8)) < 250).any(axis=2)
        between = np.maximum.accumulate(fruit, axis=1) & np.maximum.accumulate(fruit[:, ::-1], axis=1)[:, ::-1]
        # Concave outlines (a stem beside a hollow, leaves) leave some white between; holes leave more.
        assert (between & ~fruit).sum() < 0.06 * fruit.sum()


def test_draws_the_same_picture_every_time() -> None:
    assert draw_jpeg("Strawberry", 5, 40) == draw_jpeg("Strawberry", 5, 40)


def test_writes_jpeg_files() -> None:
    with Image.open(io.BytesIO(draw_jpeg("Orange", 0, 1))) as image:
        assert (image.format, image.size) == ("JPEG", (100, 100))


@pytest.mark.slow
@pytest.mark.parametrize("category", CATEGORIES)
def test_turns_the_fruit(category: str) -> None:
    assert np.abs(pixels(category, 0) - pixels(category, 2)).mean() > 1
    assert (pixels(category, 8) == pixels(category, 0)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(CATEGORIES, 2)))
def test_categories_look_different(one: str, other: str) -> None:
    """Any two categories differ more from each other, at best, than one does from itself a step of the turn later."""
    apart = min(np.abs(pixels(one, first) - pixels(other, second)).mean() for first, second in itertools.product((0, 3, 6), repeat=2))
    assert apart > 8


def test_has_a_dozen_categories_with_the_names_that_break_pipelines() -> None:
    assert len(CATEGORIES) >= 12
    assert all(check_category(category) for category in CATEGORIES)
    assert any(" " in category and category[-1].isdigit() for category in CATEGORIES)
    assert any(not category.isascii() for category in CATEGORIES)


def test_does_not_draw_what_it_does_not_know() -> None:
    with pytest.raises(KeyError):
        draw_fruit("Durian", 0, 1)


@pytest.mark.parametrize("solid", [BALL, TUBE], ids=["revolved", "tube"])
def test_surface_points_lie_on_the_surface(solid: RevolvedSolid | BentTube) -> None:
    u, v = np.meshgrid(np.linspace(0.1, 0.9, 30), np.linspace(0.01, 0.99, 30))
    points = solid.surface(u.ravel().astype(np.float32), v.ravel().astype(np.float32))
    slack = 0.01 if isinstance(solid, RevolvedSolid) else 0.05  # the tube's faces are not in its surface coordinates
    assert np.abs(solid.distance(points)).max() < slack


@pytest.mark.parametrize("solid", [BALL, TUBE], ids=["revolved", "tube"])
def test_coordinates_are_those_of_the_surface_point(solid: RevolvedSolid | BentTube) -> None:
    u, v = (values.ravel().astype(np.float32) for values in np.meshgrid(np.linspace(0.1, 0.9, 20), np.linspace(0.05, 0.95, 20)))
    found_u, found_v = solid.coordinates(solid.surface(u, v))
    np.testing.assert_allclose(found_u, u, atol=1e-3)
    np.testing.assert_allclose(found_v, v, atol=1e-3)


def test_a_round_meridian_makes_a_ball() -> None:
    directions = np.random.default_rng(1).normal(size=(3, 200)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    np.testing.assert_allclose(BALL.distance(directions * 2), 1.0, atol=0.03)


def test_rotations_turn_the_right_way_round() -> None:
    np.testing.assert_allclose(rotation(2, 90) @ [1, 0, 0], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(rotation(1, 90) @ [0, 0, 1], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(rotation(0, 30) @ rotation(0, -30), np.eye(3), atol=1e-6)
