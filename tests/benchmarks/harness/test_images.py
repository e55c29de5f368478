"""Checks which images a benchmark takes, and how they get into the lake."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.harness.images import (
    PHONE_PHOTOS,
    PICTURES,
    commented_copies,
    enlarged,
    given_images,
    lay_batch,
    spread,
)


def put_jpeg(path, shade):
    stream = io.BytesIO()
    Image.new("RGB", (20, 10), (shade, 0, 0)).save(stream, "JPEG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stream.getvalue())


def test_spread_takes_evenly_and_keeps_the_order():
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread("abc", 7) == ["a", "b", "c"]
    assert spread([], 3) == []


def test_given_images_come_from_every_category_and_leave_out_what_cannot_be_decoded(tmp_path):
    for number in range(4):
        put_jpeg(tmp_path / "data" / "Kiwi" / f"{number}.jpg", number)
        put_jpeg(tmp_path / "data" / "Äpfel 50%" / f"{number}.jpg", number)
    (tmp_path / "data" / "Kiwi" / "0.jpg").write_bytes(b"no picture")
    said: list[str] = []
    images = given_images(4, tmp_path / "data", tmp_path / "copies", said.append)
    assert {(image.category, image.file_name) for image in images} == {
        ("Kiwi", "2.jpg"),
        ("Äpfel 50%", "0.jpg"),
        ("Äpfel 50%", "2.jpg"),
    }
    assert all(image.path.startswith(str(tmp_path / "copies")) for image in images)
    assert "1 files" in said[0]


def test_copies_differ_in_their_content_and_not_in_their_pixels(tmp_path):
    put_jpeg(tmp_path / "data" / "Kiwi" / "1.jpg", 90)
    (image,) = given_images(1, tmp_path / "data", tmp_path / "drawn", print)
    copies = commented_copies([image], 3, tmp_path / "copies")
    contents = [Path(copy.path).read_bytes() for copy in copies]
    assert [(copy.category, copy.file_name, copy.size_bytes) for copy in copies] == [
        ("Kiwi", f"{number}_1.jpg", len(contents[number])) for number in range(3)
    ]
    assert len(set(contents)) == 3
    assert len({Image.open(io.BytesIO(content)).tobytes() for content in contents}) == 1


def test_a_batch_lies_in_the_lake_with_its_marker(tmp_path):
    put_jpeg(tmp_path / "data" / "Kiwi" / "1.jpg", 1)
    images = given_images(1, tmp_path / "data", tmp_path / "copies", print)
    lay_batch(images, tmp_path / "lake", "2026-01-01")
    day = tmp_path / "lake" / "raw" / "ingest_date=2026-01-01"
    assert sorted(path.relative_to(day).as_posix() for path in day.rglob("*") if path.is_file()) == [
        "Kiwi/1.jpg",
        "_SUCCESS",
    ]
    assert (day / "Kiwi" / "1.jpg").read_bytes() == (tmp_path / "data" / "Kiwi" / "1.jpg").read_bytes()


@pytest.mark.slow
def test_a_drawn_picture_is_enlarged_to_its_kind_and_each_seed_is_another_photo():
    stream = io.BytesIO()
    Image.new("RGB", (100, 100), (200, 40, 40)).save(stream, "JPEG")
    one, other = (enlarged(stream.getvalue(), PICTURES, seed) for seed in (1, 2))
    assert one != other
    for kind in (PICTURES, PHONE_PHOTOS):
        with Image.open(io.BytesIO(enlarged(stream.getvalue(), kind, 1))) as photo:
            assert (photo.size, photo.format) == (kind.size, "JPEG")
