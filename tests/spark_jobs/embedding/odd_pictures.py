"""Lists over 150 kinds of pictures as real cameras, editors, scanners and cut-off uploads are known to make them, and
what should become of each.

All show `picture()`, or say what they show instead. They are built from bytes wherever no library writes such files.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from fruit_contract.tables import RejectReason
from tests.spark_jobs.embedding.odd_jpegs import jpeg_kinds
from tests.spark_jobs.embedding.odd_kind import (
    DAMAGED,
    NO_IMAGE,
    TOO_MUCH,
    TRUNCATED,
    UNREADABLE,
    OddPicture,
    bad_kinds,
    good_kinds,
)
from tests.spark_jobs.embedding.odd_pngs import png_kinds
from tests.spark_jobs.embedding.picture_bytes import (
    HEIGHT,
    WIDTH,
    bmp32,
    deep,
    encoded,
    exif,
    exif_of,
    fraction,
    grey,
    huge_webp,
    inverted,
    orientation,
    packed_12_bits,
    palette_tiff,
    picture,
    planar_tiff,
    rgb_tiff,
    rle8,
    stored_turned,
    subsampled_tiff,
    tiff,
    white_where,
    with_alpha,
    with_riff_chunk,
)

if TYPE_CHECKING:
    from collections.abc import Callable


HEIC: Final = Path(__file__).parents[2] / "fixtures/heic"


def tiff_kinds() -> dict[str, OddPicture]:
    good: dict[str, Callable[[], bytes]] = {
        "plain": rgb_tiff,
        "big-endian": lambda: rgb_tiff(order=">"),
        "BigTIFF": lambda: rgb_tiff(big=True),
        "LZW": lambda: encoded(picture(), "TIFF", compression="tiff_lzw"),
        "Deflate": lambda: encoded(picture(), "TIFF", compression="tiff_adobe_deflate"),
        "PackBits": lambda: encoded(picture(), "TIFF", compression="packbits"),
        "JPEG within": lambda: encoded(picture(), "TIFF", compression="jpeg", quality=95),
        "several pages": lambda: encoded(picture(), "TIFF", save_all=True, append_images=[inverted(picture())]),
        "a next page that is this one": lambda: rgb_tiff(next_ifd=8),
        "a next page outside": lambda: rgb_tiff(next_ifd=0xFFFFFF),
        "an ICC profile outside": lambda: rgb_tiff((34_675, 7, 4000, b"\xff\xff\xff\0")),
        "XMP that is junk": lambda: rgb_tiff((700, 1, 4, b"<<<<")),
        "EXIF outside": lambda: rgb_tiff((34_665, 4, 1, b"\xff\xff\xff\0")),
        "a resolution that is text": lambda: rgb_tiff((282, 2, 4, b"72\0\0")),
        "a text that is a number": lambda: rgb_tiff((270, 12, 1, b"\x08\0\0\0")),
        "an unknown type": lambda: rgb_tiff((40_000, 99, 1, b"abcd")),
        "turned 6": lambda: rgb_tiff(orientation(6), image=stored_turned(6)),
        "turned 6 beside a text that is a number": lambda: rgb_tiff(
            orientation(6), (270, 12, 1, b"\x08\0\0\0"), image=stored_turned(6)
        ),
        "turned 5, LZW": lambda: encoded(stored_turned(5), "TIFF", compression="tiff_lzw", exif=exif_of(5)),
        "an orientation of 0": lambda: rgb_tiff(orientation(0)),
        "16 bits a channel, a plane for each": planar_tiff,
        "16 bits a channel, a plane for each, big-endian": lambda: planar_tiff(">"),
        "halved chroma, uncompressed": subsampled_tiff,
    }
    levels = np.asarray(grey()).astype(np.int64)
    greys: dict[str, Callable[[], bytes]] = {
        "8-bit grey": lambda: tiff(grey().tobytes(), (8,), 1),
        "8-bit grey, white is zero": lambda: tiff(inverted(grey()).tobytes(), (8,), 0),
        "16-bit grey": lambda: tiff(deep(levels << 8, "<u2"), (16,), 1),
        "16-bit grey, big-endian": lambda: tiff(deep(levels << 8, ">u2"), (16,), 1, order=">"),
        "16-bit grey, white is zero": lambda: tiff(deep(65_535 - (levels << 8), "<u2"), (16,), 0),
        "16-bit grey, big-endian, white is zero": lambda: tiff(
            deep(65_535 - (levels << 8), ">u2"), (16,), 0, order=">"
        ),
        "12-bit grey, packed": lambda: tiff(packed_12_bits(), (12,), 1),
        "16-bit grey with a sign": lambda: tiff(deep(levels << 7, "<i2"), (16,), 1, sample_format=2),
        "32-bit grey of 16 bits": lambda: tiff(deep(levels << 8, "<u4"), (32,), 1),
        "32-bit grey of 8 bits": lambda: tiff(deep(levels, "<u4"), (32,), 1),
        "32-bit grey, full": lambda: tiff(deep(levels << 24, "<u4"), (32,), 1),
        "32-bit grey with a sign": lambda: tiff(deep(levels << 23, "<i4"), (32,), 1, sample_format=2),
        "float grey, 0 to 1": lambda: tiff(deep(fraction(), "<f4"), (32,), 1, sample_format=3),
        "float grey, 0 to 255": lambda: tiff(deep(fraction() * 255, "<f4"), (32,), 1, sample_format=3),
        "float grey, 0 to 65,535": lambda: tiff(deep(fraction() * 65_535, "<f4"), (32,), 1, sample_format=3),
        "float grey with a NaN": lambda: tiff(
            deep(np.where(levels == levels[0, 0], np.nan, fraction()), "<f4"), (32,), 1, sample_format=3
        ),
    }
    greys |= {
        "float grey, big-endian, Deflate": lambda: tiff(
            zlib.compress(deep(fraction(), ">f4")), (32,), 1, order=">", sample_format=3, compression=8
        ),
        "16-bit grey with a sign, big-endian, Deflate": lambda: tiff(
            zlib.compress(deep(levels << 7, ">i2")), (16,), 1, order=">", sample_format=2, compression=8
        ),
        "32-bit grey with a sign, big-endian, Deflate": lambda: tiff(
            zlib.compress(deep(levels << 23, ">i4")), (32,), 1, order=">", sample_format=2, compression=8
        ),
    }
    nan_is_black = lambda: Image.fromarray(np.where(levels == levels[0, 0], 0, levels).astype(np.uint8))  # noqa: E731
    nan = greys.pop("float grey with a NaN")
    associated = (
        np.dstack([np.asarray(picture()).astype(np.int64) * levels[..., None] // 255, levels])
        .astype(np.uint8)
        .tobytes()
    )
    return (
        good_kinds("TIFF", good)
        | good_kinds("TIFF", greys, grey)
        | good_kinds("TIFF", {"float grey with a NaN": nan}, nan_is_black)
        | good_kinds(
            "TIFF",
            {"alpha, multiplied": lambda: tiff(associated, (8, 8, 8, 8), 2, (338, 3, 1, b"\x01\0"))},
            lambda: white_where(grey()),
        )
        | good_kinds(
            "TIFF",
            {
                "black and white, packed as a fax": lambda: encoded(
                    grey().point(lambda level: 255 * (level > 99), "1"), "TIFF", compression="group4"
                )
            },
            lambda: grey().point(lambda level: 255 * (level > 99)),
        )
        | good_kinds(
            "TIFF",
            {
                "a palette": lambda: palette_tiff(257),
                "a palette with levels of 8 bits": lambda: palette_tiff(1),
            },
            lambda: picture().quantize(8, dither=Image.Dither.NONE).convert("RGB"),
        )
        | bad_kinds(
            "TIFF",
            TRUNCATED,
            {"one strip of two": lambda: rgb_tiff((278, 3, 1, struct.pack("<H", HEIGHT // 2)))},
        )
        | bad_kinds(
            "TIFF",
            UNREADABLE,
            {"a raw photo": lambda: rgb_tiff((254, 4, 1, b"\1\0\0\0"), (330, 4, 1, b"\x08\0\0\0"))},
        )
        | bad_kinds(
            "TIFF",
            DAMAGED,
            {
                "half of it": lambda: rgb_tiff()[:9000],
                "half of it, LZW": lambda: encoded(picture(), "TIFF", compression="tiff_lzw")[:1500],
                "a directory outside": lambda: b"II*\0\xff\xff\xff\0" + bytes(40),
                "an empty directory": lambda: b"II*\0\x08\0\0\0" + bytes(40),
                "an unknown compression": lambda: rgb_tiff(compression=12_345),
                "no depth that anybody reads": lambda: tiff(bytes(10_000), (10,), 1),
                "the first bytes alone": lambda: rgb_tiff()[:10],
            },
        )
        | bad_kinds("TIFF", TOO_MUCH, {"60,000 x 60,000": lambda: tiff(bytes(100), (8,), 1, size=(60_000, 60_000))})
    )


def other_kinds() -> dict[str, OddPicture]:
    webp: dict[str, Callable[[], bytes]] = {
        "plain": lambda: encoded(picture(), "WEBP", quality=95),
        "lossless": lambda: encoded(picture(), "WEBP", lossless=True),
        "animated": lambda: encoded(
            picture(), "WEBP", save_all=True, append_images=[inverted(picture())], lossless=True
        ),
        "EXIF that is junk": lambda: with_riff_chunk(encoded(picture(), "WEBP", quality=95), b"EXIF", b"not EXIF", 8),
        "XMP that is junk": lambda: with_riff_chunk(encoded(picture(), "WEBP", quality=95), b"XMP ", b"<<<", 4),
        "turned 6": lambda: encoded(stored_turned(6), "WEBP", lossless=True, exif=exif_of(6)),
    }
    quantised = lambda: picture().quantize(32, dither=Image.Dither.NONE)  # noqa: E731
    gif: dict[str, Callable[[], bytes]] = {
        "plain": lambda: encoded(quantised(), "GIF"),
        "animated": lambda: encoded(
            quantised(), "GIF", save_all=True, append_images=[inverted(picture()).quantize(32)]
        ),
        "no end": lambda: encoded(quantised(), "GIF")[:-1],
        "a comment of 60 KB": lambda: encoded(quantised(), "GIF", comment=b"c" * 60_000),
        "second frame cut off": lambda: encoded(
            quantised(), "GIF", save_all=True, append_images=[inverted(picture()).quantize(32)]
        )[:-300],
    }
    bmp: dict[str, Callable[[], bytes]] = {
        "plain": lambda: encoded(picture(), "BMP"),
        "32 bits, all alphas 0": lambda: bmp32(np.zeros((HEIGHT, WIDTH))),
        "32 bits, all alphas 255": lambda: bmp32(np.full((HEIGHT, WIDTH), 255)),
    }
    ppm: dict[str, Callable[[], bytes]] = {
        "plain": lambda: encoded(picture(), "PPM"),
        "a comment in its header": lambda: encoded(picture(), "PPM").replace(b"P6\n", b"P6\n# by a scanner\n"),
        "16 bits": lambda: (
            b"P6\n%d %d\n65535\n" % (WIDTH, HEIGHT) + (np.asarray(picture()).astype(">u2") * 257).tobytes()
        ),
        "written out": lambda: (
            b"P3\n%d %d\n255\n" % (WIDTH, HEIGHT) + " ".join(map(str, np.asarray(picture()).reshape(-1))).encode()
        ),
    }
    jp2: dict[str, Callable[[], bytes]] = {
        "plain": lambda: encoded(picture(), "JPEG2000"),
        "without a container": lambda: encoded(picture(), "JPEG2000", no_jp2=True),
    }
    avif: dict[str, Callable[[], bytes]] = {
        "plain": lambda: encoded(picture(), "AVIF", quality=95),
        "EXIF that is junk": lambda: encoded(picture(), "AVIF", quality=95, exif=exif(orientation(1))).replace(
            exif(orientation(1)), b"\xff" * len(exif(orientation(1)))
        ),
        "turned 6": lambda: encoded(stored_turned(6), "AVIF", quality=95, exif=exif_of(6)),
    }
    # No encoder of the environment writes these: `picture()`, stored upright and turned, by pillow-heif.
    heic: dict[str, Callable[[], bytes]] = {
        "plain": (HEIC / "plain.heic").read_bytes,
        "turned 6": (HEIC / "turned.heic").read_bytes,
        "EXIF that is junk": lambda: (HEIC / "turned.heic").read_bytes().replace(b"II*\0\x08\0\0\0", b"\xff" * 8),
    }
    shown_by_gif = lambda: quantised().convert("RGB")  # noqa: E731
    small = lambda: picture().resize((50, 40)).quantize(32, dither=Image.Dither.NONE).convert("RGB")  # noqa: E731

    def on_canvas() -> Image.Image:
        canvas = Image.new("RGB", (WIDTH, HEIGHT), small().getpixel((0, 0)))
        canvas.paste(small(), (20, 10))
        return canvas

    return (
        good_kinds("WebP", webp)
        | good_kinds(
            "WebP",
            {"alpha": lambda: encoded(with_alpha(), "WEBP", lossless=True, exact=True)},
            lambda: white_where(grey()),
        )
        | good_kinds("GIF", gif, shown_by_gif)
        | good_kinds("BMP", bmp)
        | good_kinds(
            "BMP", {"run lengths": rle8}, lambda: picture().quantize(16, dither=Image.Dither.NONE).convert("RGB")
        )
        | good_kinds("BMP", {"32 bits and alpha": lambda: bmp32(np.asarray(grey()))}, lambda: white_where(grey()))
        | good_kinds("PPM", ppm)
        | good_kinds("PPM", {"grey": lambda: encoded(grey(), "PPM")}, grey)
        | good_kinds(
            "PPM",
            {
                "16 bits, dark": lambda: (
                    b"P5\n%d %d\n65535\n" % (WIDTH, HEIGHT) + deep(np.asarray(grey()).astype(np.int64), ">u2")
                )
            },
            lambda: Image.new("L", (WIDTH, HEIGHT)),
        )
        | good_kinds("JPEG 2000", jp2)
        | good_kinds("AVIF", avif)
        | bad_kinds(
            "WebP",
            DAMAGED,
            {
                "half of it": lambda: webp["plain"]()[: len(webp["plain"]()) // 2],
                "a header alone": lambda: webp["plain"]()[:20],
            },
        )
        | bad_kinds("WebP", TOO_MUCH, {"a canvas of 16,383 x 16,383": huge_webp})
        | bad_kinds(
            "GIF", DAMAGED, {"half of it": lambda: gif["plain"]()[:400], "a header alone": lambda: gif["plain"]()[:10]}
        )
        | bad_kinds(
            "GIF",
            TOO_MUCH | DAMAGED,
            {"a canvas of 65,535 x 65,535": lambda: b"GIF89a\xff\xff\xff\xff" + gif["plain"]()[10:]},
        )
        | bad_kinds(
            "BMP",
            DAMAGED,
            {"run lengths cut off": lambda: rle8(is_cut=True), "a header alone": lambda: bmp["plain"]()[:30]},
        )
        | bad_kinds(
            "PPM",
            DAMAGED,
            {
                "half of it": lambda: ppm["plain"]()[:9000],
                "a header of junk": lambda: b"P6\nwide high\n255\n" + bytes(99),
            },
        )
        | bad_kinds(
            "JPEG 2000",
            DAMAGED,
            {"half of it": lambda: jp2["plain"]()[:700], "a header alone": lambda: jp2["plain"]()[:40]},
        )
        | bad_kinds("AVIF", DAMAGED, {"half of it": lambda: avif["plain"]()[:400]})
        | good_kinds("HEIC", heic)
        | bad_kinds(
            "HEIC",
            DAMAGED,
            {"a header alone": lambda: heic["plain"]()[:60], "half of it": lambda: heic["plain"]()[:400]},
        )
        | bad_kinds(
            "none",
            NO_IMAGE,
            {
                "a text": lambda: b"I am a letter, not a fruit",
                "one byte": lambda: b"x",
                "PDF": lambda: b"%PDF-1.7 and so on",
                "a film": lambda: b"\0\0\0\x18ftypmp42" + bytes(500),
                "a web page": lambda: b"<!doctype html><title>404</title>",
                "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>',
                "an archive": lambda: b"PK\x03\x04" + bytes(100),
                "zeros": lambda: bytes(5000),
            },
        )
        | bad_kinds("none", frozenset({RejectReason.EMPTY}), {"no bytes": lambda: b""})
    )


KINDS: Final[dict[str, OddPicture]] = jpeg_kinds() | png_kinds() | tiff_kinds() | other_kinds()
