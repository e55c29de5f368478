"""Checks that the pixels stay as they are. They are part of the embedder's identity: whatever changes them, a library
too, makes a new preprocessing version.

The digests were taken with preprocessing 1 and Pillow 13.0; version 2 gives the same pixels for photos and plain files.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from PIL import Image

from fruit_contract.release import PREPROCESSING_VERSION
from fruit_features.embedding.preprocessing import decode_image

if TYPE_CHECKING:
    from numpy.typing import NDArray


def drawn(width: int, height: int) -> Image.Image:
    """Draws a picture with slopes, edges and noise in all three colours, with whole numbers only, so that it is the
    same everywhere.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    noise = (x * 7919 + y * 104_729 + (x * y) % 8191) % 23
    slope = (x * 255) // max(width - 1, 1)
    fall = (y * 255) // max(height - 1, 1)
    disc = (2 * x - width) ** 2 * height**2 + (2 * y - height) ** 2 * width**2 < (width * height) ** 2 // 2
    red = np.where(disc, 200, slope) + noise
    green = np.where(disc, 60, fall) + noise
    blue = np.where(disc, fall // 2, 255 - slope) + noise
    return Image.fromarray(np.clip(np.stack([red, green, blue], axis=-1), 0, 255).astype(np.uint8))


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def with_alpha(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    layer.putalpha(image.getchannel("R"))
    return layer


def levels_of_16_bits(image: Image.Image) -> Image.Image:
    grey: NDArray[np.uint8] = np.asarray(image.convert("L"))
    return Image.fromarray(grey.astype(np.uint16) * 257 + 3)


def _encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


FILES: Final = {
    "jpeg 100 x 100": lambda: _encoded(drawn(100, 100), "JPEG", quality=95),
    "jpeg 348 x 348": lambda: _encoded(drawn(348, 348), "JPEG", quality=75),
    "jpeg 320 x 258, full colour": lambda: _encoded(drawn(320, 258), "JPEG", subsampling=0),
    "jpeg 1 x 1": lambda: _encoded(drawn(1, 1), "JPEG"),
    "jpeg 720 x 1280, tall": lambda: _encoded(drawn(720, 1280), "JPEG"),
    "jpeg 1280 x 720, wide": lambda: _encoded(drawn(1280, 720), "JPEG"),
    "jpeg 895 x 3000, full scale": lambda: _encoded(drawn(895, 3000), "JPEG"),
    "jpeg 900 x 1600, half scale": lambda: _encoded(drawn(900, 1600), "JPEG"),
    "jpeg 2000 x 1800, a quarter": lambda: _encoded(drawn(2000, 1800), "JPEG"),
    "jpeg 4032 x 3024, turned": lambda: _encoded(drawn(4032, 3024), "JPEG", quality=60, exif=turned(6)),
    "jpeg 1600 x 1200, progressive": lambda: _encoded(drawn(1600, 1200), "JPEG", progressive=True),
    "jpeg 600 x 400, turned": lambda: _encoded(drawn(600, 400), "JPEG", exif=turned(8)),
    "jpeg 600 x 400, grey": lambda: _encoded(drawn(600, 400).convert("L"), "JPEG"),
    "jpeg 200 x 200, cmyk": lambda: _encoded(drawn(200, 200).convert("CMYK"), "JPEG"),
    "png 300 x 200": lambda: _encoded(drawn(300, 200), "PNG"),
    "png 1080 x 1920": lambda: _encoded(drawn(1080, 1920), "PNG"),
    "png with alpha": lambda: _encoded(with_alpha(drawn(300, 200)), "PNG"),
    "png, grey": lambda: _encoded(drawn(300, 200).convert("L"), "PNG"),
    "png, palette": lambda: _encoded(drawn(300, 200).quantize(32, dither=Image.Dither.NONE), "PNG"),
    "png, black and "
    "white": lambda: _encoded(drawn(300, 200).convert("L").point(lambda level: 255 * (level > 99), "1"), "PNG"),
    "png, 16-bit grey": lambda: _encoded(levels_of_16_bits(drawn(300, 200)), "PNG"),
    "png, turned": lambda: _encoded(drawn(300, 200), "PNG", exif=turned(5)),
    "gif": lambda: _encoded(drawn(300, 200).quantize(64, dither=Image.Dither.NONE), "GIF"),
    "bmp": lambda: _encoded(drawn(300, 200), "BMP"),
    "tiff": lambda: _encoded(drawn(300, 200), "TIFF"),
    "tiff, packed, turned": lambda: _encoded(drawn(300, 200), "TIFF", compression="tiff_lzw", exif=turned(3)),
    "ppm": lambda: _encoded(drawn(300, 200), "PPM"),
    "webp, lossless": lambda: _encoded(drawn(300, 200), "WEBP", lossless=True),
    "webp": lambda: _encoded(drawn(300, 200), "WEBP", quality=80),
    "jpeg 2000, reversible": lambda: _encoded(drawn(300, 200), "JPEG2000", irreversible=False),
}  # fmt: skip
# By file: the digest of its decoded pixels.
PIXELS: Final = {
    "jpeg 100 x 100": "671791903f5abf1b",
    "jpeg 348 x 348": "85f40825d7407b55",
    "jpeg 320 x 258, full colour": "c65b122ad5f6637c",
    "jpeg 1 x 1": "f8634e982626d221",
    "jpeg 720 x 1280, tall": "c48cf8377d5a54d8",
    "jpeg 1280 x 720, wide": "f6f3ed286ae9b501",
    "jpeg 895 x 3000, full scale": "7cdcce210d39156c",
    "jpeg 900 x 1600, half scale": "6e347eca79b22875",
    "jpeg 2000 x 1800, a quarter": "3c1ff042d87664b5",
    "jpeg 4032 x 3024, turned": "25a9ed18beb61b6a",
    "jpeg 1600 x 1200, progressive": "ddd2ad8b73c8c9a6",
    "jpeg 600 x 400, turned": "4b26e711bbcf4dbe",
    "jpeg 600 x 400, grey": "1a8b68cddfbc8cc4",
    "jpeg 200 x 200, cmyk": "3fb6914b5170fd08",
    "png 300 x 200": "e2d69cc43cdcb194",
    "png 1080 x 1920": "9864a0020452e0f7",
    "png with alpha": "9db074246a079371",
    "png, grey": "4b77a0343adb33eb",
    "png, palette": "68695732e573f417",
    "png, black and white": "644d6f5e58440a05",
    "png, 16-bit grey": "4b77a0343adb33eb",
    "png, turned": "3edd4e34935186f4",
    "gif": "dac2274ccb661067",
    "bmp": "e2d69cc43cdcb194",
    "tiff": "e2d69cc43cdcb194",
    "tiff, packed, turned": "adad548992ef1046",
    "ppm": "e2d69cc43cdcb194",
    "webp, lossless": "e2d69cc43cdcb194",
    "webp": "b15434f59b66617b",
    "jpeg 2000, reversible": "e2d69cc43cdcb194",
}


def digest(values: bytes) -> str:
    return hashlib.sha256(values).hexdigest()[:16]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_this_preprocessing_version(name: str) -> None:
    assert PREPROCESSING_VERSION == 2, "A new version has digests of its own."

    assert digest(decode_image(FILES[name]()).pixels.tobytes()) == PIXELS[name]
