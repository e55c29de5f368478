"""Preprocessing v1: from an image file's bytes to the pixels the network sees.

The version is part of `embedder_id`: any change of pixels here is a new version.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fruit_contract.tables import RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PREPROCESSING_VERSION: Final = 1
IMAGE_SIDE: Final = 224

# Phone photos are decoded at the smallest DCT scale that keeps twice the network's side (and never when that could not halve them).
_DRAFT_FROM_SIDE: Final = 4 * IMAGE_SIDE
_DRAFT_TO_SIDE: Final = 2 * IMAGE_SIDE
# Bounds a worker's memory: Pillow holds 64 million decoded pixels in up to 256 MB, and as much again while it converts them to RGB.
MAX_DECODED_PIXELS: Final = 64_000_000
_STRIP_PIXELS: Final = 1_000_000
# EXIF orientations that swap width and height.
_QUARTER_TURNS: Final = frozenset({5, 6, 7, 8})
# Pillow's own guard looks at a photo's size before it is decoded at reduced scale; ours looks after that.
Image.MAX_IMAGE_PIXELS = None
# Decoders that need no outside program and that a camera or an export may have written. Multi-picture JPEG comes with JPEG.
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_TRUNCATED_WORDS: Final = ("truncated", "broken data stream", "unrecognized data stream", "premature", "incomplete", "broken png")
_HEIF_BRANDS: Final = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
# What Pillow's decoders raise on damaged files besides OSError; anything else is a defect and must be seen.
_DECODER_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)


class UnreadableImageError(Exception):
    """The bytes give no image. `reason` is what goes to the ledger, `detail` the decoder's own words."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class DecodedImage:
    """`pixels` uint8[224, 224, 3], RGB. `width` and `height` are those of the upright original, in pixels."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


def decode_image(content: bytes) -> DecodedImage:
    """EXIF transpose; RGB, alpha over white; stretched to 224x224 with Pillow's BICUBIC.

    A JPEG whose sides are both 896 px or more is decoded at the smallest DCT scale that leaves both at 448 px or more.
    Of an animation or a multi-page file, the first frame counts.

    Raises:
        UnreadableImageError: the bytes are no image, are damaged, or hold more pixels than a worker may decode.
    """
    if not content:
        raise UnreadableImageError(RejectReason.EMPTY, "the file has no bytes")
    try:
        with warnings.catch_warnings():
            # Odd metadata draws warnings from Pillow for images that decode well; size is checked below by our own bound.
            warnings.simplefilter("ignore")
            return _decode(content)
    except UnidentifiedImageError:
        raise UnreadableImageError(RejectReason.NOT_AN_IMAGE, _name_unknown_format(content)) from None
    except MemoryError:
        raise UnreadableImageError(RejectReason.TOO_LARGE, "decoding it takes more memory than a worker has") from None
    except _DECODER_ERRORS as error:
        detail = _first_line(error)
        damaged = any(word in detail.lower() for word in _TRUNCATED_WORDS)
        raise UnreadableImageError(RejectReason.TRUNCATED if damaged else RejectReason.UNREADABLE, detail) from error


def network_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8[n, 224, 224, 3] as the network's float32 input in [-1, 1]: x / 127.5 - 1."""
    values = pixels.astype(np.float32)
    values /= np.float32(127.5)
    values -= np.float32(1.0)
    return values


def _decode(content: bytes) -> DecodedImage:
    with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
        width, height = opened.size
        if opened.format in {"JPEG", "MPO"} and min(width, height) >= _DRAFT_FROM_SIDE:
            opened.draft(None, (_DRAFT_TO_SIDE, _DRAFT_TO_SIDE))
        if opened.width * opened.height > MAX_DECODED_PIXELS:
            detail = f"{width} x {height} pixels are more than the {MAX_DECODED_PIXELS:,} a worker decodes"
            raise UnreadableImageError(RejectReason.TOO_LARGE, detail)
        opened.load()
        turned = opened.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS
        ImageOps.exif_transpose(opened, in_place=True)
        small = _to_rgb(opened).resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC)
    if turned:
        width, height = height, width
    return DecodedImage(np.asarray(small, dtype=np.uint8), width, height)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: alpha over white, 16-bit grey by its high byte, float grey clipped to 0..255."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # 32-bit files hold 16-bit levels as a rule, and 8-bit ones at times.
        eight_bit = image.mode == "I" and cast("tuple[int, int]", image.getextrema())[1] <= 255
        transparent = image.info.get("transparency") if image.mode.startswith("I;16") else None
        return _by_strips(image, lambda strip: _grey(strip, 0 if eight_bit else 8, transparent))
    if image.mode == "F":
        return _by_strips(image, lambda strip: Image.fromarray(np.clip(np.nan_to_num(np.asarray(strip)), 0, 255).astype(np.uint8)))
    if image.has_transparency_data:
        return _by_strips(image, _over_white)
    return image.convert("RGB")


def _by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Converts an image to RGB a few rows at a time: what a conversion needs beside the image then stays small."""
    result = Image.new("RGB", image.size)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip.info = image.info
        result.paste(convert(strip).convert("RGB"), (0, top))
    return result


def _grey(strip: Image.Image, shift: int, transparent: object) -> Image.Image:
    levels = np.asarray(strip)
    grey = (np.clip(levels, 0, 65535).astype(np.uint16) >> shift).astype(np.uint8)
    if isinstance(transparent, int):
        grey[levels == transparent] = 255
    return Image.fromarray(grey)


def _over_white(strip: Image.Image) -> Image.Image:
    layer = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _name_unknown_format(content: bytes) -> str:
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
        return "HEIC/HEIF is not supported: deliver the photo as JPEG"
    return f"no decoder knows this format (it begins with {content[:8]!r})"


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
