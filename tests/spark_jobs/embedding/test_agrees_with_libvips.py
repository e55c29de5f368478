"""Compares the pixels with what libvips, another image library, shows of the same files."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest
import pyvips
from PIL import Image

from fruit_features.embedding.preprocessing import decode_image
from tests.spark_jobs.embedding.odd_pictures import KINDS

# Formats that the wheel of libvips cannot read.
_NOT_IN_LIBVIPS: Final = ("BMP: ", "PPM: ", "JPEG 2000: ", "HEIC: ", "TIFF: 12-bit grey")
_ANOTHER_VIEW: Final = {
    "JPEG: an orientation of two values": "it follows the first, browsers none",
    "JPEG: CMYK by Adobe": "it takes CMYK through a printer's profile",
    "PNG: turned 6 by EXIF behind the pixels": "it does not look there",
    "PNG: turned 6 by ImageMagick's text": "it does not look there",
    "TIFF: 16-bit grey with a sign": "it clips numbers wider than a byte at 255, instead of taking their range for "
    "black to white",
    "TIFF: 32-bit grey of 16 bits": "as above",
    "TIFF: 32-bit grey, full": "as above",
    "TIFF: 32-bit grey with a sign": "as above",
    "TIFF: float grey, 0 to 1": "as above",
    "TIFF: float grey, 0 to 65,535": "as above",
    "TIFF: float grey with a NaN": "as above",
    "TIFF: float grey, big-endian, Deflate": "as above",
    "TIFF: 16-bit grey with a sign, big-endian, Deflate": "as above",
    "TIFF: 32-bit grey with a sign, big-endian, Deflate": "as above",
}


def by_libvips(content: bytes) -> np.ndarray:
    image = pyvips.Image.new_from_buffer(content, "").autorot()
    if image.hasalpha():
        image = image.flatten(background=255 if image.format == "uchar" else 65_535)
    pixels = np.atleast_3d(image.colourspace("srgb").cast("uchar").numpy())
    colours = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    return np.asarray(Image.fromarray(colours).resize((224, 224), Image.Resampling.BICUBIC)).astype(int)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, kind in KINDS.items()
        if kind.shows and not name.startswith(_NOT_IN_LIBVIPS) and name not in _ANOTHER_VIEW
    ],
)
def test_a_picture_looks_as_libvips_shows_it(name: str) -> None:
    content = KINDS[name].content()

    assert np.abs(by_libvips(content) - decode_image(content).pixels).mean() < 4


@pytest.mark.parametrize("name", _ANOTHER_VIEW)
def test_where_libvips_has_another_view_it_still_has(name: str) -> None:
    content = KINDS[name].content()

    assert np.abs(by_libvips(content) - decode_image(content).pixels).mean() > 20
