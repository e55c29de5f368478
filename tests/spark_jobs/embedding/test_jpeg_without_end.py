"""Checks that no place at which a JPEG is cut off passes for its end."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fruit_contract.tables import RejectReason
from fruit_features.embedding.preprocessing import UnreadableImageError, decode_image
from tests.spark_jobs.embedding.picture_bytes import encoded


def noisy(quality: int, **options: int) -> bytes:
    """Returns a JPEG with dense blocks."""
    chance = np.random.default_rng(3)
    smooth = Image.fromarray(chance.integers(0, 255, (30, 40, 3), dtype=np.uint8)).resize((200, 150))
    pixels = np.asarray(smooth).astype(int) + chance.normal(0, 12, (150, 200, 3))
    return encoded(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), "JPEG", quality=quality, **options)


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 1}])
@pytest.mark.parametrize("quality", [85, 100])
@pytest.mark.parametrize("zeros", [0, 4000])
def test_a_picture_that_is_cut_off_anywhere_is_truncated(quality: int, options: dict[str, int], zeros: int) -> None:
    content = noisy(quality, **options)
    start = content.find(b"\xff\xda") + 14
    cuts = np.random.default_rng(5).choice(np.arange(start, len(content) - 300), 120, replace=False)

    def outcome(cut: int) -> str:
        try:
            decode_image(content[:cut] + bytes(zeros))
        except UnreadableImageError as error:
            return error.reason
        return "featurised"

    assert {outcome(int(cut)) for cut in cuts} == {RejectReason.TRUNCATED}


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 1}])
@pytest.mark.parametrize("quality", [30, 85, 100])
@pytest.mark.parametrize("end", [b"", b"\xff", bytes(4000), b"\xff\xd9" + b"junk" * 99])
def test_a_picture_that_misses_nothing_but_its_end_is_whole(quality: int, options: dict[str, int], end: bytes) -> None:
    content = noisy(quality, **options)

    np.testing.assert_array_equal(decode_image(content[:-2] + end).pixels, decode_image(content).pixels)
