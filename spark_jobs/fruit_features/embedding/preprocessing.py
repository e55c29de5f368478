"""Turns an image file's bytes into the pixels that the network sees, by version 2 of the preprocessing.

The version (`fruit_contract.release.PREPROCESSING_VERSION`) is part of `embedder_id`. Any change of pixels needs a new
version, even if a library brings it (Pillow 13 swaps the two passes over a tall picture). Tests compare the pixels by
their digests.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from pi_heif import options as heif_options
from pi_heif.as_plugin import HeifImageFile
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImagePalette,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from fruit_contract.tables import RejectReason
from fruit_features.embedding.colours import to_rgb
from fruit_features.embedding.containers.container import Container, UnusableFileError, orientation_of
from fruit_features.embedding.containers.jpeg import complete_jpeg
from fruit_features.embedding.containers.opening import open_container
from fruit_features.embedding.resizing import IMAGE_SIDE, resize

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

# Phone photos are decoded at the smallest DCT scale that keeps twice the network's side, if that at least halves them.
_DRAFT_FROM_SIDE: Final = 4 * IMAGE_SIDE
_DRAFT_TO_SIDE: Final = 2 * IMAGE_SIDE
# A decoder may hold so much beside the file. A process with only Python, NumPy and Pillow then stays below 700 MB.
MAX_DECODING_BYTES: Final = 560_000_000
# Decoding a JPEG at reduced scale takes a nanosecond a pixel. The largest cameras have 400 million pixels.
MAX_PIXELS: Final = 1_000_000_000
# A pass over the coefficients takes an eighth of a nanosecond a pixel, however little it brings. Ten passes are usual.
MAX_SCANNED_PIXELS: Final = 10_000_000_000
# Pillow itself reads uncompressed TIFF of odd layouts as something else; libtiff reads all of them.
TiffImagePlugin.READ_LIBTIFF = True
# A worker has one core.
AvifImagePlugin.DEFAULT_MAX_THREADS = heif_options.DECODE_THREADS = 1
# Pillow's own guard looks at a photo's full size. Ours looks at the reduced scale at which it is decoded.
Image.MAX_IMAGE_PIXELS = None
# These formats are written by cameras or exports, and their decoders need no other program. A multi-picture JPEG counts
# as a JPEG, without its index.
_DECODERS: Final[dict[str, type[ImageFile]]] = {
    decoder.format: decoder
    for decoder in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
        PpmImagePlugin.PpmImageFile,
        Jpeg2KImagePlugin.Jpeg2KImageFile,
        AvifImagePlugin.AvifImageFile,
        HeifImageFile,
    )
}
# These decoders hold so many bytes a pixel beside the picture that Pillow makes of it.
_EXTRA_BYTES_A_PIXEL: Final = {"WEBP": 9, "JPEG2000": 16, "AVIF": 8, "HEIF": 10, "GIF": 2}
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# libtiff gives numbers in this machine's order of bytes: not all of those that Pillow takes to be in the file's.
_AS_LIBTIFF_GIVES_THEM: Final = {"F;32BF": "F;32NF", "I;16BS": "I;16NS", "I;32BS": "I;32NS"}
_COLOR_MAP: Final = 320
_QUARTER_TURNS: Final = frozenset({5, 6, 7, 8})
_TRUNCATED_WORDS: Final = (
    "truncated",
    "broken data stream",
    "unrecognized data stream",
    "premature",
    "incomplete",
    "not enough image data",
)
_HEIF_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})


class UnreadableImageError(Exception):
    """Raised if the bytes give no image. `reason` goes to the ledger, and `detail` has the decoder's own words."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class DecodedImage:
    """Holds the pixels, uint8[224, 224, 3] in RGB, and the width and height of the upright original in pixels."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


@dataclass(frozen=True)
class EncodedImage:
    """Holds an image file of a format that a decoder knows, before anything of it is decoded."""

    file_format: str
    container: Container

    @property
    def n_pixels(self) -> int | None:
        """Returns how many pixels a decoder goes over, each scan counted, for a JPEG or PNG.

        It is None where only the decoder knows the size, and for formats whose decoders hold much more than the pixels.
        """
        found = self.container
        if self.file_format not in {"JPEG", "PNG"} or found.width == 0:
            return None
        return found.width * found.height * found.n_scans


def decode_image(content: bytes) -> DecodedImage:
    """Decodes a picture: turned upright by EXIF, as RGB, alpha over white, stretched to 224x224 with Pillow's BICUBIC.

    A JPEG whose sides are both 896 px or more is decoded at the smallest DCT scale that leaves both at 448 px or more.
    Only the first frame of an animation or a multi-page file counts.

    Raises:
        UnreadableImageError: the bytes are no image, are damaged, or would take more memory or time than a worker has.
    """
    return decode_encoded(find_encoded(content))


def find_encoded(content: bytes) -> EncodedImage:
    """Finds the file's format by its first bytes and reads its header, without decoding anything.

    Raises:
        UnreadableImageError: it is empty, no decoder knows the format, or its header can't be read.
    """
    if not content:
        raise UnreadableImageError(RejectReason.EMPTY, "the file has no bytes")
    if _HEIF_BRANDS & _brands(content) and not _AVIF_BRANDS & _brands(content):
        return EncodedImage("HEIF", _container_of(content, "HEIF"))
    for file_format in _DECODERS:
        accepts = Image.OPEN.get(file_format, (None, None))[1]
        if accepts is not None and accepts(content[:16]) is True:
            return EncodedImage(file_format, _container_of(content, file_format))
    raise UnreadableImageError(
        RejectReason.NOT_AN_IMAGE, f"no decoder knows this format (it begins with {content[:8]!r})"
    )


def decode_encoded(image: EncodedImage) -> DecodedImage:
    """Does what `decode_image` does with a file whose format is known."""
    if image.container.misses_data:
        raise UnreadableImageError(
            RejectReason.TRUNCATED, "the file is truncated: data of the picture is missing between two restart markers"
        )
    if not image.container.has_end:
        return _decode_without_end(image)
    try:
        return _decode(image)
    except UnreadableImageError as error:
        if error.reason != RejectReason.TRUNCATED or image.file_format != "JPEG":
            raise
        return _decode_without_end(image)


def _decode_without_end(image: EncodedImage) -> DecodedImage:
    """Decodes a JPEG that has no end: many programs lose the last two bytes, and every pixel is there."""
    try:
        contents = complete_jpeg(image.container.content)
    except UnusableFileError as error:
        raise UnreadableImageError(error.reason, str(error)) from None
    completed = [_decode(replace(image, container=replace(image.container, content=one))) for one in contents]
    if not completed or any(not np.array_equal(completed[0].pixels, other.pixels) for other in completed):
        raise UnreadableImageError(RejectReason.TRUNCATED, "the file is truncated: it ends before the picture does")
    return completed[0]


def network_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scales uint8[n, 224, 224, 3] to the network's float32 input in [-1, 1]: x / 127.5 - 1."""
    values = pixels.astype(np.float32)
    values /= np.float32(127.5)
    values -= np.float32(1.0)
    return values


def _decode(image: EncodedImage) -> DecodedImage:
    """Decodes a picture, and raises UnreadableImageError for any error, so that one odd picture never fails a step."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode_with_pillow(image.file_format, image.container)
    except UnreadableImageError:
        raise
    except MemoryError:
        raise UnreadableImageError(RejectReason.TOO_COSTLY, "decoding it takes more memory than a worker has") from None
    except Exception as error:
        detail = _first_line(error)
        damaged = any(word in detail.lower() for word in _TRUNCATED_WORDS)
        raise UnreadableImageError(RejectReason.TRUNCATED if damaged else RejectReason.UNREADABLE, detail) from error


def _decode_with_pillow(file_format: str, container: Container) -> DecodedImage:
    if file_format == "WEBP":
        # The decoder of WebP allocates the canvas as soon as it is created.
        _refuse_if_too_large(file_format, container, (container.width, container.height), "RGBA")
    with _open(file_format, container) as opened:
        width, height = opened.size
        if file_format == "JPEG" and min(width, height) >= _DRAFT_FROM_SIDE:
            opened.draft(None, (_DRAFT_TO_SIDE, _DRAFT_TO_SIDE))
        _refuse_if_too_large(file_format, container, opened.size, opened.mode)
        _load(opened, container)
        exif = opened.info.get("exif")
        orientation = orientation_of(exif) if isinstance(exif, bytes) else container.orientation
        image = to_rgb(
            opened, container, _low_bytes(container) if container.bits == 16 and opened.mode == "RGB" else None
        )
        if image is not opened:
            opened.close()
        if orientation in _TURNS:
            image = image.transpose(_TURNS[orientation])
        pixels = resize(image)
    if orientation in _QUARTER_TURNS:
        width, height = height, width
    return DecodedImage(pixels, width, height)


def _open(file_format: str, container: Container) -> ImageFile:
    opened = _DECODERS[file_format](io.BytesIO(container.content))
    if isinstance(opened, TiffImagePlugin.TiffImageFile):
        _correct_tiff(opened)
    return opened


def _load(opened: ImageFile, container: Container) -> None:
    if isinstance(opened, PngImagePlugin.PngImageFile):
        if _leaves_last_pixel(opened, 0x5A):
            # It may be of that level itself, but not of another as well.
            with _open("PNG", container) as again:
                if _leaves_last_pixel(again, 0xA5):
                    raise OSError("the file is truncated: it has not all of the rows")
        return
    try:
        opened.load()
    except OSError as error:
        if isinstance(opened, TiffImagePlugin.TiffImageFile) and opened.info.get("compression") == "raw":
            # Nothing else can be wrong with numbers that are not compressed.
            raise OSError("the file is truncated: it has not all of the rows") from error
        raise


def _leaves_last_pixel(opened: ImageFile, level: int) -> bool:
    """Decodes a picture into one of this level; tells whether its last pixel still has it."""
    n_bands = len(opened.getbands())
    opened.im = Image.new(opened.mode, opened.size, level if n_bands == 1 else (level,) * n_bands).im
    opened.load()
    pixel = opened.getpixel((opened.width - 1, opened.height - 1))
    return pixel == (level if n_bands == 1 else (level,) * n_bands)


def _correct_tiff(opened: TiffImagePlugin.TiffImageFile) -> None:
    """Corrects what Pillow takes for granted of numbers and palettes."""
    opened.tile = [
        tile._replace(args=(_AS_LIBTIFF_GIVES_THEM.get(tile.args[0], tile.args[0]), *tile.args[1:]))
        if tile.codec_name == "libtiff" and isinstance(tile.args, tuple)
        else tile
        for tile in opened.tile
    ]
    colours = opened.tag_v2.get(_COLOR_MAP, ())
    if opened.mode in {"P", "PA"} and max(colours, default=256) < 256:
        # Some programs write levels of 8 bits where those of 16 belong.
        opened.palette = ImagePalette.raw("RGB;L", bytes(colours))


def _low_bytes(container: Container) -> Image.Image | None:
    """Returns the low bytes of a PNG with 16 bits a channel and a transparent colour; None if it has no such colour.

    Pillow keeps the high bytes, so it is told that the low ones come first.
    """
    if not container.key:
        return None
    opened = _open("PNG", container)
    opened.tile = [tile._replace(args="RGB;16L") for tile in opened.tile]
    opened.load()
    return opened


def _refuse_if_too_large(file_format: str, container: Container, size: tuple[int, int], mode: str) -> None:
    """Raises UnreadableImageError if decoding would take more memory or time than a worker has.

    `size` is the width and height at the scale at which it is decoded.
    """
    width, height = size
    a_pixel = 2 if mode.startswith("I;16") else {"1": 1, "L": 1, "P": 1}.get(mode, 4)
    turned = container.orientation in _TURNS or file_format in {"WEBP", "AVIF"}
    beside = 4 if mode != "RGB" or container.key or turned else 0
    needed = (
        width * height * (a_pixel + beside + _EXTRA_BYTES_A_PIXEL.get(file_format, 0) + (4 if container.key else 0))
    )
    # There are three copies of the file (as it came, cut down, and as a decoder holds it), the resizer's weights, and
    # the strips in which colours are converted.
    needed += 3 * len(container.content) + container.extra_bytes + 32 * (width + height) + 24 * width
    n_pixels = container.width * container.height
    if n_pixels > MAX_PIXELS:
        raise UnreadableImageError(
            RejectReason.TOO_LARGE, f"{n_pixels:,} pixels are more than the {MAX_PIXELS:,} that a worker goes over"
        )
    if needed > MAX_DECODING_BYTES:
        raise UnreadableImageError(
            RejectReason.TOO_LARGE,
            f"decoding its {container.width or width} x {container.height or height} pixels would take "
            f"{needed / 1e6:,.0f} MB, and a worker has {MAX_DECODING_BYTES / 1e6:,.0f} MB for it",
        )
    if n_pixels * container.n_scans > MAX_SCANNED_PIXELS:
        raise UnreadableImageError(
            RejectReason.TOO_COSTLY,
            f"decoding goes {container.n_scans:,} times over its {container.width} x {container.height} pixels, which "
            "takes too long",
        )


def _container_of(content: bytes, file_format: str) -> Container:
    """Returns what `open_container` finds, and takes whatever it raises for a fact about the file."""
    try:
        return open_container(content, file_format)
    except UnusableFileError as error:
        raise UnreadableImageError(error.reason, str(error)) from None
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableImageError(
            RejectReason.UNREADABLE, f"its header can't be read ({type(error).__name__}: {_first_line(error)})"
        ) from error


def _brands(content: bytes) -> set[bytes]:
    """Returns the brands in the head of a file of the HEIF family; no brands if it is another file."""
    if content[4:8] != b"ftyp":
        return set()
    kinds = content[8 : min(int.from_bytes(content[:4], "big"), 256)]
    return {kinds[start : start + 4] for start in range(0, len(kinds), 4)}


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else f"the decoder failed with {type(error).__name__}")[:300]
