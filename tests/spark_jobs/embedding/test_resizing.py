"""Compares the machine code with Pillow, whose pixels are part of the embedder's identity."""

from __future__ import annotations

import platform
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from fruit_cli.release.machine_code import machine_code
from fruit_features.embedding import resizing
from fruit_features.embedding.resizing import by_pillow, code_name, load_code, resize
from local_cloud.project import PROJECT

OF_EACH_PROCESSOR = machine_code()
BY_CODE = load_code(OF_EACH_PROCESSOR[f"fruit_features/embedding/{code_name(platform.machine())}"])


def picture(width: int, height: int, seed: int = 0, levels: tuple[int, int] = (0, 256)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(*levels, (height, width, 3)).astype(np.uint8))


@settings(max_examples=150)
@given(st.integers(11, 1200), st.integers(11, 1200), st.integers(0, 1 << 32))
@example(100, 100, 0)
@example(224, 224, 0)
@example(224, 100, 0)
@example(100, 224, 0)
@example(300, 400, 0)  # here Pillow takes the rows first
@example(11, 1200, 0)
@example(11, 11, 0)
def test_the_machine_code_gives_pillows_pixels_for_any_size(width: int, height: int, seed: int) -> None:
    image = picture(width, height, seed)
    np.testing.assert_array_equal(BY_CODE(image), by_pillow(image))


@pytest.mark.parametrize("sizes", [((223, 224, 225), range(220, 240)), (range(270, 290), (330, 331, 332, 333, 334))])
def test_it_takes_the_rows_first_for_just_those_sizes_for_which_pillow_does(sizes: tuple[range, range]) -> None:
    for width in sizes[0]:
        for height in sizes[1]:
            image = picture(width, height)
            assert np.array_equal(BY_CODE(image), by_pillow(image)), (width, height)


def test_sums_beyond_black_and_white_are_cut_off_as_pillow_does() -> None:
    checks = np.indices((60, 70)).sum(axis=0) // 7 % 2 * 255
    image = Image.fromarray(np.repeat(checks.astype(np.uint8)[..., None], 3, axis=2))
    np.testing.assert_array_equal(BY_CODE(image), by_pillow(image))


def test_part_of_a_larger_picture_is_resized_like_any_other() -> None:
    image = picture(400, 400).crop((3, 5, 203, 305))
    np.testing.assert_array_equal(BY_CODE(image), by_pillow(image))


@pytest.mark.parametrize("size", [(1, 1), (10, 500), (500, 10), (2001, 2000)])
def test_pillow_resizes_what_the_code_is_not_made_for(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(image: Image.Image) -> None:
        raise AssertionError(image.size)

    monkeypatch.setattr(resizing, "_by_machine_code", lambda: refuse)
    image = picture(*size)
    np.testing.assert_array_equal(resize(image), by_pillow(image))


@pytest.fixture
def looked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resizing, "_by_machine_code", resizing._by_machine_code.__wrapped__)


@pytest.mark.usefixtures("looked_for_anew")
def test_it_is_used_where_the_library_holds_it_for_this_processor() -> None:
    assert resizing._by_machine_code() is not None


@pytest.mark.usefixtures("looked_for_anew")
@pytest.mark.parametrize(
    ("module", "name", "instead"),
    [
        (platform, "machine", lambda: "riscv64"),
        (sys, "platform", "darwin"),
        (resizing, "_has_instructions", lambda: False),
    ],
)
def test_pillow_resizes_where_the_code_can_not_run(
    module: object, name: str, instead: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, instead)
    assert resizing._by_machine_code() is None
    image = picture(100, 100)
    np.testing.assert_array_equal(resize(image), by_pillow(image))


@pytest.mark.usefixtures("looked_for_anew")
def test_code_that_can_not_be_loaded_is_told_and_pillow_resizes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(code: bytes) -> None:
        raise OSError("file too short")

    monkeypatch.setattr(resizing, "load_code", fail)
    assert resizing._by_machine_code() is None
    assert "Pictures are resized by Pillow, which takes longer: file too short" in capsys.readouterr().out


@pytest.mark.usefixtures("looked_for_anew")
def test_code_that_gives_other_pixels_than_this_pillow_is_told_and_not_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resizing, "load_code", lambda _: lambda image: by_pillow(image) ^ 1)
    assert resizing._by_machine_code() is None
    assert "gives other pixels" in capsys.readouterr().out


def test_the_clone_has_the_code_that_its_source_gives() -> None:
    """If not, type `make setup`."""
    for name, code in OF_EACH_PROCESSOR.items():
        assert (PROJECT / "spark_jobs" / name).read_bytes() == code
