"""Makes kinds of JPEG that come from cameras, editors and cut-off uploads."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from PIL import Image

from tests.spark_jobs.embedding.odd_kind import (
    DAMAGED,
    TOO_MUCH,
    TRUNCATED,
    UNREADABLE,
    OddPicture,
    bad_kinds,
    good_kinds,
)
from tests.spark_jobs.embedding.picture_bytes import (
    TURNS,
    encoded,
    exif,
    grey,
    jpeg,
    jpeg_with,
    jpeg_with_exif,
    many_scans,
    orientation,
    picture,
    segment,
    stored_turned,
    with_frame_bytes,
    without_jfif,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def turned_jpeg(value: int) -> Callable[[], bytes]:
    return lambda: jpeg_with_exif(exif(orientation(value)), image=stored_turned(value))


def with_zeros_from_half(content: bytes) -> bytes:
    """Returns what a copy leaves that made room for the whole file, and was cut off."""
    half = (content.find(b"\xff\xda") + len(content)) // 2
    return content[:half] + bytes(len(content) - half)


def last_restart(content: bytes | None = None) -> int:
    """Returns the place of the last restart marker."""
    found = content or jpeg(restart_marker_blocks=3)
    return max(found.rfind(bytes([0xFF, marker])) for marker in range(0xD0, 0xD8))


def jpeg_kinds() -> dict[str, OddPicture]:
    six = orientation(6)
    turned = stored_turned(6)
    good: dict[str, Callable[[], bytes]] = {
        "plain": jpeg,
        "progressive": lambda: jpeg(progressive=True),
        "no subsampling": lambda: jpeg(subsampling=0),
        "4:2:2": lambda: jpeg(subsampling=1),
        "restart markers": lambda: jpeg(restart_marker_blocks=3),
        "no end": lambda: jpeg()[:-2],
        "half an end": lambda: jpeg()[:-1],
        "progressive without an end": lambda: jpeg(progressive=True)[:-2],
        "no end, and zeros behind it": lambda: jpeg()[:-2] + bytes(5000),
        "no end, and a last byte of ones": lambda: jpeg()[:-2] + b"\xff\0",
        "restart markers without an end": lambda: jpeg(restart_marker_blocks=3)[:-2],
        "restart markers and no subsampling": lambda: jpeg(restart_marker_rows=1, subsampling=0),
        "restart markers further apart than the picture is long": lambda: jpeg(restart_marker_blocks=60_000),
        "restart markers, progressive": lambda: jpeg(restart_marker_blocks=3, progressive=True),
        "several pictures with restart markers": lambda: encoded(
            picture(), "MPO", save_all=True, append_images=[picture()], quality=92, restart_marker_blocks=3
        ),
        "restart markers, and a film behind it": lambda: (
            jpeg(restart_marker_blocks=3) + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40
        ),
        "zeros behind it": lambda: jpeg() + bytes(5000),
        "a film behind it": lambda: jpeg() + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40,
        "a gain map behind it (Ultra HDR)": lambda: (
            jpeg_with(segment(0xE2, b"MPF\0II*\0\x08\0\0\0\0\0")) + jpeg(grey())
        ),
        "several pictures": lambda: encoded(picture(), "MPO", save_all=True, append_images=[picture()], quality=92),
        "a damaged index of pictures": lambda: jpeg_with(segment(0xE2, b"MPF\0" + b"junk" * 9)),
        "a comment of 64 KB": lambda: jpeg_with(segment(0xFE, b"c" * 65_000)),
        "stray bytes between segments": lambda: jpeg_with(segment(0xFE, b"c") + b"\x01\x02\x03"),
        "fill bytes between segments": lambda: jpeg_with(b"\xff\xff\xff" + segment(0xFE, b"c")),
        "EXIF that is junk": lambda: jpeg_with(segment(0xE1, b"Exif\0\0this is no EXIF at all")),
        "EXIF that is junk, without JFIF": lambda: jpeg_with(
            segment(0xE1, b"Exif\0\0this is no EXIF at all"), base=without_jfif(jpeg())
        ),
        "EXIF that is junk beside a density": lambda: jpeg_with(
            segment(0xE1, b"Exif\0\0junk"), base=jpeg(dpi=(72, 72))
        ),
        "EXIF that is cut off": lambda: jpeg_with(
            segment(0xE1, (b"Exif\0\0" + exif(orientation(1), (0x11A, 5, 1, b"\xff\xff\0\0")))[:20])
        ),
        "EXIF with a place outside": lambda: jpeg_with_exif(exif(orientation(1), offset=0xFFFF00)),
        "EXIF with a resolution of nothing by nothing": lambda: jpeg_with_exif(
            exif((0x11A, 5, 1, struct.pack("<L", 8)))
        ),
        "EXIF with ten thousand entries": lambda: jpeg_with_exif(b"II*\0\x08\0\0\0\x10\x27" + bytes(40)),
        "EXIF twice": lambda: jpeg_with(
            segment(0xE1, b"Exif\0\0" + exif(orientation(1))), segment(0xE1, b"Exif\0\0" + exif(six))
        ),
        "an orientation of two values": lambda: jpeg_with_exif(exif(orientation(6, count=2))),
        "an orientation of 0": lambda: jpeg_with_exif(exif(orientation(0))),
        "an orientation of 9": lambda: jpeg_with_exif(exif(orientation(9))),
        "an orientation in XMP alone": lambda: jpeg_with(
            segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<rdf:Description tiff:Orientation="6"/>')
        ),
        "an ICC profile that is junk": lambda: jpeg_with(segment(0xE2, b"ICC_PROFILE\0\x01\x01" + b"junk" * 100)),
        "an ICC profile in the wrong order": lambda: jpeg_with(
            *(segment(0xE2, b"ICC_PROFILE\0" + bytes([part, 3]) + b"x" * 60_000) for part in (3, 1, 7))
        ),
        "Photoshop's block cut off": lambda: jpeg_with(segment(0xED, b"Photoshop 3.0\x008BIM\x04")),
        "a Photoshop resolution cut off": lambda: jpeg_with(
            segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x02\0\0")
        ),
        "FlashPix": lambda: jpeg_with(segment(0xE2, b"FPXR\0" + b"\0" * 30)),
        "a short JFIF": lambda: jpeg_with(segment(0xE0, b"JFIF\0"), base=without_jfif(jpeg())),
        "a density of nothing": lambda: jpeg_with(
            segment(0xE0, b"JFIF\0\1\1\1\0\0\0\0\0\0"), base=without_jfif(jpeg())
        ),
    }
    good |= {f"turned {value}": turned_jpeg(value) for value in TURNS}
    odd_neighbours = {
        "a resolution that is text": (0x11A, 2, 4, b"72\0\0"),
        "a resolution unit too large": (0x128, 4, 1, b"\xff\xff\xff\xff"),
        "a text that is a number": (0x10E, 12, 1, struct.pack("<L", 8)),
        "a note of four gigabytes": (0x927C, 7, 0xFFFFFFFF, struct.pack("<L", 64)),
        "GPS at no place": (0x8825, 4, 1, b"\xff\xff\xff\x7f"),
        "a directory in itself": (0x8769, 4, 1, struct.pack("<L", 8)),
        "a type that does not exist": (0x9999, 99, 1, b"abcd"),
    }
    for name, entry in odd_neighbours.items():
        good[f"turned 6 beside {name}"] = lambda entry=entry: jpeg_with_exif(exif(six, entry), image=turned)  # type: ignore[misc]
    good["turned 6 by a long"] = lambda: jpeg_with_exif(exif(orientation(6, kind=4)), image=turned)
    good["turned 6, big-endian"] = lambda: jpeg_with_exif(exif(orientation(6, ">"), order=">"), image=turned)
    good["turned 6 beside junk in XMP"] = lambda: jpeg_with_exif(
        exif(six), segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<<<\xff\xfe"), image=turned
    )
    long_strip = lambda size: lambda: Image.new("RGB", size, (200, 30, 30))  # noqa: E731
    shapes: dict[str, OddPicture] = {}
    for name, size in {"60,000 x 1": (60_000, 1), "1 x 60,000": (1, 60_000), "1 x 1": (1, 1)}.items():
        shapes |= good_kinds("JPEG", {name: lambda size=size: jpeg(long_strip(size)())}, long_strip(size))  # type: ignore[misc]
    return (
        good_kinds("JPEG", good)
        | shapes
        | good_kinds(
            "JPEG",
            {
                "grey": lambda: jpeg(grey()),
                "grey without an end": lambda: jpeg(grey())[:-2],
                "grey with restart markers": lambda: jpeg(grey(), restart_marker_blocks=3),
            },
            grey,
        )
        | good_kinds(
            "JPEG",
            {"CMYK by Adobe": lambda: jpeg(picture().convert("CMYK"))},
            lambda: picture().convert("CMYK").convert("RGB"),
        )
        | bad_kinds(
            "JPEG",
            TRUNCATED,
            {
                "half of it": lambda: jpeg()[: len(jpeg()) * 2 // 3],
                "half of it, progressive": lambda: jpeg(progressive=True)[: len(jpeg(progressive=True)) * 2 // 3],
                "progressive, its last scan is missing": lambda: jpeg(progressive=True)[
                    : jpeg(progressive=True).rfind(b"\xff\xda")
                ],
                "the second half is zeros": lambda: with_zeros_from_half(jpeg()),
                "the second half is zeros, progressive": lambda: with_zeros_from_half(jpeg(progressive=True)),
                "the second half is zeros, restart markers": lambda: with_zeros_from_half(
                    jpeg(restart_marker_blocks=3)
                ),
                "cut before a restart marker": lambda: jpeg(restart_marker_blocks=3)[: last_restart()],
                "cut within a restart marker": lambda: jpeg(restart_marker_blocks=3)[: last_restart() + 1],
                "cut before a restart marker, with an end": lambda: (
                    jpeg(restart_marker_blocks=3)[: last_restart()] + b"\xff\xd9"
                ),
                "grey, cut before a restart marker": lambda: jpeg(grey(), restart_marker_rows=1)[
                    : last_restart(jpeg(grey(), restart_marker_rows=1))
                ],
                "the last hundred bytes are missing": lambda: jpeg()[:-100],
            },
        )
        | bad_kinds(
            "JPEG",
            DAMAGED,
            {
                "three bytes": lambda: b"\xff\xd8\xff",
                "no scan": lambda: jpeg()[: jpeg().index(b"\xff\xda")] + b"\xff\xd9",
                "a header that is cut off": lambda: jpeg()[:60],
                "a width of nothing": lambda: with_frame_bytes(jpeg(), 7, b"\0\0"),
                "a height of nothing": lambda: with_frame_bytes(jpeg(), 5, b"\0\0"),
                "lossless": lambda: with_frame_bytes(jpeg(), 1, b"\xc3"),
                "no tables": lambda: jpeg().replace(b"\xff\xdb", b"\xff\xfe"),
                "a segment longer than the file": lambda: jpeg_with(b"\xff\xe1\xff\xff"),
            },
        )
        | bad_kinds(
            "JPEG",
            UNREADABLE,
            {
                "12 bits": lambda: with_frame_bytes(jpeg(), 4, b"\x0c"),
                "five channels": lambda: with_frame_bytes(jpeg(), 9, b"\x05"),
            },
        )
        | bad_kinds(
            "JPEG",
            TOO_MUCH,
            {
                "60,000 x 60,000, progressive": lambda: with_frame_bytes(
                    jpeg(progressive=True), 5, struct.pack(">HH", 60_000, 60_000)
                ),
                "20,000 x 20,000, progressive": lambda: with_frame_bytes(
                    jpeg(progressive=True), 5, struct.pack(">HH", 20_000, 20_000)
                ),
                "60,000 x 60,000": lambda: with_frame_bytes(jpeg(), 5, struct.pack(">HH", 60_000, 60_000)),
                "20,000 scans": lambda: many_scans(1000, 20_000),
            },
        )
    )
