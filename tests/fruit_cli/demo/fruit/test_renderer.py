from __future__ import annotations

import functools
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from fruit_cli.demo.fruit.renderer import CATEGORIES, draw_fruit, draw_jpeg
from fruit_cli.demo.fruit.surfaces import revolved, rotation
from fruit_contract.lake import check_category

BALL = revolved([(np.sin(polar), np.cos(polar)) for polar in np.linspace(0, np.pi, 40)])
TUBE = revolved([(0, 1), (0.2, 1), (0.3, 0.5), (0.3, -0.5), (0.2, -1), (0, -1)])
# The poles, where a step around is no way at all, have no normals.
BELOW_THE_POLES = slice(2, -2)


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


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_whole_fruit_is_in_the_picture(category: str) -> None:
    for frame in range(12):
        edges = np.asarray(draw_fruit(category, frame, 12))
        assert min(edges[0].min(), edges[-1].min(), edges[:, 0].min(), edges[:, -1].min()) >= 250


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
    apart = min(
        np.abs(pixels(one, first) - pixels(other, second)).mean()
        for first, second in itertools.product((0, 3, 6), repeat=2)
    )
    assert apart > 8


def test_has_a_dozen_categories_with_the_names_that_break_pipelines() -> None:
    assert len(CATEGORIES) >= 12
    assert all(check_category(category) for category in CATEGORIES)
    assert any(" " in category and category[-1].isdigit() for category in CATEGORIES)
    assert any(not category.isascii() for category in CATEGORIES)


def test_does_not_draw_what_it_does_not_know() -> None:
    with pytest.raises(KeyError):
        draw_fruit("Durian", 0, 1)


def test_a_round_line_makes_a_ball() -> None:
    np.testing.assert_allclose(np.linalg.norm(BALL.points, axis=0), 1.0, atol=0.01)


def test_coordinates_are_those_of_the_surface_point() -> None:
    x, y, z = BALL.points
    np.testing.assert_allclose(np.arccos(np.clip(y, -1, 1)) / np.pi, BALL.u, atol=0.01)
    np.testing.assert_allclose((np.arctan2(z, x) / (2 * np.pi) % 1)[5:-5], BALL.v[5:-5], atol=1e-3)


def test_normals_are_unit_vectors_that_point_outwards() -> None:
    normals = BALL.normals()[:, BELOW_THE_POLES]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0), 1.0, atol=1e-3)
    assert (normals * BALL.points[:, BELOW_THE_POLES]).sum(axis=0).min() > 0.95


def test_points_of_a_bent_tube_lie_around_its_arc() -> None:
    x, y, z = TUBE.bent(1.0).points
    around_arc = np.hypot(np.hypot(x + 1.0, y) - 1.0, z)
    np.testing.assert_allclose(around_arc, np.hypot(TUBE.points[0], TUBE.points[2]), atol=1e-5)
    assert (TUBE.bent(1.0).normals()[2] * z).min() > -1e-4


def test_bumps_are_raised_along_the_normals() -> None:
    raised = BALL.painted(BALL.colour, gloss=0.5, height=0.1)
    np.testing.assert_allclose(np.linalg.norm(raised.points[:, BELOW_THE_POLES], axis=0), 1.1, atol=0.01)
    assert (raised.gloss == 0.5).all()


def test_points_are_close_enough_to_leave_no_gap() -> None:
    steps = [np.linalg.norm(np.diff(BALL.points, axis=axis), axis=0).max() for axis in (1, 2)]
    assert max(steps) < 2 * 1.12 / 200  # a sample of the largest fruit in its picture


def test_dots_are_strewn_evenly_and_stay_apart() -> None:
    dots = BALL.dots(10, 0.4)
    assert (dots.min(), dots.max()) == (0, pytest.approx(1, abs=0.1))
    upper, lower = dots[: len(dots) // 2].mean(), dots[len(dots) // 2 :].mean()
    assert upper == pytest.approx(lower, rel=0.2)


def test_rotations_turn_the_right_way_round() -> None:
    np.testing.assert_allclose(rotation(2, 90) @ [1, 0, 0], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(rotation(1, 90) @ [0, 0, 1], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(rotation(0, 30) @ rotation(0, -30), np.eye(3), atol=1e-6)
