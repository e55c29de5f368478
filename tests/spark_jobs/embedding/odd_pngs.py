"""Makes kinds of PNG that come from editors and cut-off uploads."""

from __future__ import annotations

import struct
import zlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tests.spark_jobs.embedding.odd_kind import (
    DAMAGED,
    TOO_MUCH,
    OddPicture,
    bad_kinds,
    good_kinds,
    kinds_with_what_they_show,
)
from tests.spark_jobs.embedding.picture_bytes import (
    HEIGHT,
    WIDTH,
    chunk,
    colour_with_key,
    exif,
    grey,
    grey_levels,
    grey_with_key,
    noted,
    orientation,
    palette_png,
    picture,
    png,
    png_with,
    raw_profile,
    rows_of,
    shown_grey,
    stored_turned,
    white_where,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def png_kinds() -> dict[str, OddPicture]:
    colours = np.asarray(picture())
    alpha = np.asarray(grey())
    good: dict[str, Callable[[], bytes]] = {
        "plain": png_with,
        "16 bits a channel": lambda: png(rows_of(colours.astype(np.int64) * 257, 16), 16, 2),
        "an ICC profile of 2 MB": lambda: png_with(chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(2_000_000)))),
        "an ICC profile that is junk": lambda: png_with(chunk(b"iCCP", b"icc\0\0junk")),
        "a text of 2 MB": lambda: png_with(chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(2_000_000)))),
        "a text that is no deflate": lambda: png_with(chunk(b"zTXt", b"note\0\0junk")),
        "an international text cut off": lambda: png_with(chunk(b"iTXt", b"note\0\1")),
        "a wrong checksum in a text": lambda: png_with(chunk(b"tEXt", b"note\0text", 1)),
        "a wrong checksum of gamma": lambda: png_with(chunk(b"gAMA", struct.pack(">L", 45_455), 1)),
        "a gamma of nothing": lambda: png_with(chunk(b"gAMA", bytes(4))),
        "a gamma cut off": lambda: png_with(chunk(b"gAMA", b"\0")),
        "chromaticities cut off": lambda: png_with(chunk(b"cHRM", b"\0" * 7)),
        "a density cut off": lambda: png_with(chunk(b"pHYs", b"\0\0")),
        "a rendering intent cut off": lambda: png_with(chunk(b"sRGB", b"")),
        "EXIF that is junk": lambda: png_with(chunk(b"eXIf", b"junk")),
        "EXIF behind the pixels, junk": lambda: png_with(after=chunk(b"eXIf", b"junk")),
        "profile text that is no hexadecimal": lambda: png_with(
            chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  99\nnot hexadecimal\n"))
        ),
        "an unknown chunk": lambda: png_with(chunk(b"prVt", b"whatever")),
        "a wrong checksum of transparency": lambda: png_with(chunk(b"tRNS", struct.pack(">HHH", *colours[0, 0]), 1)),
        "transparency of a wrong length": lambda: png_with(chunk(b"tRNS", b"\0\0\0")),
        "a colour that no pixel has is transparent": lambda: colour_with_key(8, is_there=False)[0],
        "no end": lambda: png_with()[:-12],
        "a film behind it": lambda: png_with() + bytes(range(256)) * 20,
        "a hundred pieces": lambda: png(rows_of(colours), 8, 2, parts=100),
        "a still picture that is no frame (APNG)": lambda: png_with(
            chunk(b"acTL", struct.pack(">LL", 1, 0)),
            after=chunk(b"fcTL", struct.pack(">LLLLLHHBB", 0, WIDTH, HEIGHT, 0, 0, 1, 10, 0, 0))
            + chunk(b"fdAT", struct.pack(">L", 1) + zlib.compress(bytes((3 * WIDTH + 1) * HEIGHT))),
        ),
        "an animation's control that is junk": lambda: png_with(chunk(b"acTL", b"\0"), chunk(b"fcTL", b"\0\1")),
    }
    for key in (
        "bbox",
        "transparency",
        "exif",
        "xmp",
        "interlace",
        "dpi",
        "icc_profile",
        "gamma",
        "loop",
        "background",
        "default_image",
    ):
        good[f"a note called {key}"] = lambda key=key: noted(key)  # type: ignore[misc]
    turned = np.asarray(stored_turned(6))
    size = (HEIGHT, WIDTH)
    good["turned 6"] = lambda: png(rows_of(turned), 8, 2, chunk(b"eXIf", exif(orientation(6))), size=size)
    good["turned 6 by EXIF behind the pixels"] = lambda: png(
        rows_of(turned), 8, 2, after=chunk(b"eXIf", exif(orientation(6))), size=size
    )
    good["turned 6 by ImageMagick's text"] = lambda: png(
        rows_of(turned), 8, 2, raw_profile(b"Exif\0\0" + exif(orientation(6))), size=size
    )
    over_white = lambda: white_where(grey())  # noqa: E731
    pairs: dict[str, Callable[[], tuple[bytes, Image.Image]]] = {
        f"{bits}-bit grey, a level is transparent": lambda bits=bits: grey_with_key(bits)  # type: ignore[misc]
        for bits in (1, 2, 4, 8, 16)
    }
    pairs |= {
        f"{bits}-bit grey": lambda bits=bits: (png(rows_of(grey_levels(bits), bits), bits, 0), shown_grey(bits))  # type: ignore[misc]
        for bits in (1, 2, 4, 8, 16)
    }
    pairs |= {
        f"{bits}-bit colour, one is transparent": partial(colour_with_key, bits, is_there=True) for bits in (8, 16)
    }
    pairs["16-bit colour, the low bytes of one that is transparent"] = lambda: colour_with_key(16, is_there=False)
    return (
        good_kinds("PNG", good)
        | kinds_with_what_they_show("PNG", pairs)
        | good_kinds(
            "PNG",
            {
                "alpha": lambda: png(rows_of(np.dstack([colours, alpha])), 8, 6),
                "16 bits and alpha": lambda: png(
                    rows_of(np.dstack([colours, alpha]).astype(np.int64) * 257, 16), 16, 6
                ),
            },
            over_white,
        )
        | good_kinds(
            "PNG",
            {
                "grey and alpha": lambda: png(rows_of(np.dstack([alpha, alpha])), 8, 4),
                "16-bit grey and alpha": lambda: png(
                    rows_of(np.dstack([alpha, alpha]).astype(np.int64) * 257, 16), 16, 4
                ),
            },
            lambda: white_where(grey(), grey()),
        )
        | good_kinds(
            "PNG",
            {
                "palette": palette_png,
                "more alphas than colours": lambda: palette_png(chunk(b"tRNS", bytes([0] * 20))),
                "a table of alphas that is empty": lambda: palette_png(chunk(b"tRNS", b"")),
                "opaque alphas": lambda: palette_png(chunk(b"tRNS", b"\xff" * 8)),
            },
            lambda: picture().quantize(8, dither=Image.Dither.NONE).convert("RGB"),
        )
        | good_kinds(
            "PNG",
            {"all colours transparent": lambda: palette_png(chunk(b"tRNS", bytes(8)))},
            lambda: Image.new("RGB", (9, 9), "white"),
        )
        | good_kinds(
            "PNG",
            {"one level everywhere": lambda: png(rows_of(np.full((HEIGHT, WIDTH, 3), 0x5A)), 8, 2)},
            lambda: Image.new("RGB", (9, 9), (0x5A,) * 3),
        )
        | bad_kinds(
            "PNG",
            DAMAGED,
            {
                "no colours": lambda: palette_png(with_colours=False),
                "a wrong checksum of the header": lambda: png_with().replace(png_with()[29:33], b"\0\1\2\3", 1),
                "the signature alone": lambda: png_with()[:8],
                "a header alone": lambda: png_with()[:33],
                "half of it": lambda: png_with()[: len(png_with()) // 2],
                "a width of nothing": lambda: png([], 8, 2, size=(0, 10)),
                "a depth of 3": lambda: png(rows_of(alpha), 3, 0),
                "a depth of 0 and a level that is transparent": lambda: png(
                    rows_of(alpha), 0, 0, chunk(b"tRNS", b"\0\x10")
                ),
                "an unknown kind of colour": lambda: png(rows_of(alpha), 8, 5),
                "data that ends before the last row": lambda: png(rows_of(colours)[: HEIGHT // 2], 8, 2),
                "data that ends before the last row, black and white": lambda: png(
                    rows_of(alpha > 99, 1)[: HEIGHT // 2], 1, 0
                ),
                "data that ends before the last row, 16 bits": lambda: png(
                    rows_of(grey_levels(16), 16)[: HEIGHT - 1], 16, 0
                ),
                "data that ends before the last row, a palette": lambda: png(
                    rows_of(alpha // 99)[: HEIGHT - 1], 8, 3, chunk(b"PLTE", bytes(range(9)))
                ),
                "no pixels": lambda: png_with()[:33] + chunk(b"IEND", b""),
                "pixels that are no deflate": lambda: (
                    png_with()[:33] + chunk(b"IDAT", b"junk" * 40) + chunk(b"IEND", b"")
                ),
            },
        )
        | bad_kinds(
            "PNG",
            TOO_MUCH,
            {
                "64,000,000 x 1": lambda: png([bytes(1000)], 8, 2, size=(64_000_000, 1)),
                "60,000 x 60,000": lambda: png([bytes(1000)], 8, 2, size=(60_000, 60_000)),
                "2,147,483,647 x 2,147,483,647": lambda: png([bytes(1000)], 8, 2, size=(2**31 - 1, 2**31 - 1)),
            },
        )
    )
