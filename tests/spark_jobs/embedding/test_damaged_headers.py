"""Checks that whatever stands in a header gives a picture or a reason, also where the worker itself reads it."""

from __future__ import annotations

import contextlib
import random
import tracemalloc
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from fruit_contract.tables import RejectReason
from fruit_features.embedding import isolation, preprocessing
from fruit_features.embedding.containers.jpeg import complete_jpeg
from fruit_features.embedding.preprocessing import UnreadableImageError, decode_image, find_encoded
from tests.spark_jobs.embedding.picture_bytes import (
    chunk,
    encoded,
    exif,
    grey,
    jpeg,
    jpeg_with,
    jpeg_with_exif,
    many_scans,
    orientation,
    palette_png,
    picture,
    png,
    raw_profile,
    rgb_tiff,
    rows_of,
    tiff,
)

HEIC: Final = Path(__file__).parents[2] / "fixtures/heic/turned.heic"
# A header stands in front: so much of a file is damaged.
FRONT: Final = 1200
SEEDS: Final = {
    "PNG": lambda: png(rows_of(np.asarray(grey())), 8, 0, chunk(b"tRNS", b"\0\x10"), raw_profile(exif(orientation(6)))),
    "PNG with a palette": lambda: palette_png(chunk(b"tRNS", bytes(8)), chunk(b"eXIf", exif(orientation(6)))),
    "JPEG": lambda: jpeg_with_exif(exif(orientation(6))),
    "JPEG with restarts": lambda: jpeg(restart_marker_blocks=3),
    "progressive JPEG": lambda: jpeg(progressive=True),
    "TIFF": lambda: rgb_tiff(orientation(6)),
    "big-endian TIFF": lambda: rgb_tiff(order=">"),
    "BigTIFF": lambda: rgb_tiff(big=True),
    "deep TIFF": lambda: tiff(b"x" * 50, (16,), 0),
    "WebP": lambda: encoded(picture(), "WEBP"),
    "AVIF": lambda: encoded(picture(), "AVIF"),
    "HEIC": HEIC.read_bytes,
    "GIF": lambda: encoded(picture().quantize(8), "GIF"),
    "BMP": lambda: encoded(picture(), "BMP"),
    "PPM": lambda: encoded(picture(), "PPM"),
    "JPEG 2000": lambda: encoded(picture(), "JPEG2000"),
}


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Returns the file's front with a few bytes changed, left out, repeated or cut off."""
    found = bytearray(content[:FRONT])
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(min(len(found), chance.choice([60, FRONT])))
        match chance.randrange(8):
            case 0:
                found[start : start + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\1"])
            case 1:
                del found[start : start + chance.randint(1, 20)]
            case 2:
                found[start:start] = found[start : start + chance.randint(1, 30)]
            case 3:
                del found[max(start, 1) :]
            case _:
                found[start] = chance.choice([0, 1, 2, 4, 8, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        found = found or bytearray(b"x")
    return bytes(found)


@pytest.mark.parametrize("name", SEEDS)
def test_a_damaged_header_gives_a_header_or_a_reason(name: str) -> None:
    chance = random.Random(name)
    content = SEEDS[name]()
    for _ in range(400):
        one = damaged(content, chance)
        # Whatever else it may raise would end the worker's task, on every try.
        with contextlib.suppress(UnreadableImageError):
            assert (find_encoded(one).n_pixels or 0) >= 0
        complete_jpeg(one)


def test_a_depth_of_nothing_is_no_fault_of_ours() -> None:
    content = png(rows_of(np.asarray(grey())), 0, 0, chunk(b"tRNS", b"\0\x10"))

    assert find_encoded(content).container.key == ()


def test_whatever_a_header_raises_is_a_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(content: bytes, file_format: str) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(preprocessing, "open_container", fail)

    with pytest.raises(UnreadableImageError, match="ZeroDivisionError: division by zero"):
        find_encoded(jpeg())


def test_decoded_apart_the_worker_does_not_look_at_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(content: bytes) -> None:
        raise AssertionError("this is the worker")

    monkeypatch.setattr(isolation, "find_encoded", fail)

    assert isolation.decode(jpeg(), apart=True).width == picture().width


def many_parts(kind: str) -> bytes:
    """Returns a file whose parts are tiny and fill two megabytes."""
    if kind == "segments":
        return jpeg_with(b"\xff\xc4\0\2" * 500_000)
    if kind == "markers":
        return jpeg_with(b"\xff\xd0" * 1_000_000)
    if kind == "chunks":
        return png(rows_of(np.asarray(grey())), 8, 0, chunk(b"IDAT", b"") * 170_000)
    return many_scans(8, 60_000)


@pytest.mark.parametrize("kind", ["segments", "markers", "chunks", "scans"])
def test_a_file_of_countless_parts_is_too_costly(kind: str) -> None:
    content = many_parts(kind)
    tracemalloc.start()
    with pytest.raises(UnreadableImageError) as caught:
        find_encoded(content)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert caught.value.reason == RejectReason.TOO_COSTLY
    assert kind in caught.value.detail or kind == "markers"
    assert most < 2_000_000


def test_so_is_one_that_is_looked_through_because_it_has_no_end() -> None:
    scan = jpeg(grey())[jpeg(grey()).find(b"\xff\xda") : -2]

    with pytest.raises(UnreadableImageError) as caught:
        decode_image(jpeg(grey())[:-2] + scan[:40] * 2000)

    assert caught.value.reason == RejectReason.TOO_COSTLY


def test_reasons_lead_somewhere() -> None:
    plain = png(rows_of(np.asarray(grey())), 8, 0)
    with pytest.raises(UnreadableImageError, match=r"unreadable.*Xcode"):
        find_encoded(plain[:8] + chunk(b"CgBI", b"\x50\0\x20\x02") + plain[8:])
    with pytest.raises(UnreadableImageError, match=r"unreadable.*no colours"):
        find_encoded(palette_png(with_colours=False))
