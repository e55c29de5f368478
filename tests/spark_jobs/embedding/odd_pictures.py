"""Pictures as real cameras, editors, scanners and cut-off uploads are known to make them: over 150 kinds, and what should become of each.

All show `picture()`, or say what they show instead. They are built from bytes wherever no library writes such files.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageChops, PngImagePlugin

from fruit_contract.tables import RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

WIDTH, HEIGHT = 100, 80
_HEIC: Final = Path(__file__).parents[2] / "fixtures/heic"
_TRUNCATED = frozenset({RejectReason.TRUNCATED})
_DAMAGED = frozenset({RejectReason.TRUNCATED, RejectReason.UNREADABLE})
_UNREADABLE = frozenset({RejectReason.UNREADABLE})
_NO_IMAGE = frozenset({RejectReason.NOT_AN_IMAGE})
_TOO_MUCH = frozenset({RejectReason.TOO_LARGE, RejectReason.TOO_COSTLY})


@dataclass(frozen=True)
class OddPicture:
    """A kind: its file, and the picture that it shows, or the reasons it may be rejected for."""

    file_format: str
    content: Callable[[], bytes]
    shows: Callable[[], Image.Image] | None = None
    reasons: frozenset[RejectReason] = frozenset()


def picture() -> Image.Image:
    """Red above, green below left, blue below right, a slope in all of it: every turn and flip of it looks different."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.int64)
    pixels[: HEIGHT // 2] = (200, 30, 30)
    pixels[HEIGHT // 2 :, : WIDTH // 2] = (30, 180, 30)
    pixels[HEIGHT // 2 :, WIDTH // 2 :] = (30, 30, 200)
    pixels += np.arange(WIDTH)[None, :, None] // 4
    return Image.fromarray(pixels.astype(np.uint8))


def grey() -> Image.Image:
    return picture().convert("L")


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def white_where(mask: Image.Image, image: Image.Image | None = None) -> Image.Image:
    """The picture over white: 255 in the mask stays, 0 is white."""
    shown = image or picture()
    return Image.composite(shown, Image.new(shown.mode, shown.size, "white"), mask)


# JPEG


def jpeg(image: Image.Image | None = None, **options: Any) -> bytes:
    return encoded(image or picture(), "JPEG", **({"quality": 92} | options))


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg_with(*segments: bytes, base: bytes | None = None) -> bytes:
    """A JPEG with more segments behind its first two bytes."""
    content = base or jpeg()
    return content[:2] + b"".join(segments) + content[2:]


def exif(*entries: tuple[int, int, int, bytes], order: str = "<", offset: int = 8) -> bytes:
    """A block of EXIF: tag, type, count and the four bytes of a value or of its place."""
    mark = b"II" if order == "<" else b"MM"
    body = b"".join(struct.pack(order + "HHL", *entry[:3]) + entry[3].ljust(4, b"\0")[:4] for entry in entries)
    return mark + struct.pack(order + "HL", 42, offset) + struct.pack(order + "H", len(entries)) + body + bytes(4)


def orientation(value: int, order: str = "<", kind: int = 3, count: int = 1) -> tuple[int, int, int, bytes]:
    return 0x0112, kind, count, struct.pack(order + ("L" if kind == 4 else "H"), value)


def jpeg_with_exif(block: bytes, *segments: bytes, image: Image.Image | None = None) -> bytes:
    return jpeg_with(*segments, segment(0xE1, b"Exif\0\0" + block), base=jpeg(image))


def without_jfif(content: bytes) -> bytes:
    return content[:2] + content[4 + int.from_bytes(content[4:6], "big") :]


def frame_place(content: bytes) -> int:
    """Where the frame's marker stands."""
    return next(place for marker in (0xC0, 0xC2) if (place := content.find(bytes([0xFF, marker, 0, 17]))) >= 0)


def with_frame_bytes(content: bytes, offset: int, new: bytes) -> bytes:
    place = frame_place(content) + offset
    return content[:place] + new + content[place + len(new) :]


def many_scans(side: int, n_scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    content = jpeg(Image.new("RGB", (side, side), (200, 30, 30)), progressive=True, quality=30)
    last = content.rfind(b"\xff\xda")
    scan = content[last:-2]
    return content[:last] + scan * n_scans + b"\xff\xd9"


TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def stored_turned(value: int) -> Image.Image:
    """The picture as a camera stores it that names this orientation."""
    return picture().transpose(TURNS[value])


# PNG


def chunk(name: bytes, data: bytes, checksum: int | None = None) -> bytes:
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data) if checksum is None else checksum)


def png(
    rows: Iterable[bytes],
    bits: int,
    colour: int,
    *chunks: bytes,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    after: bytes = b"",
    parts: int = 1,
) -> bytes:
    """A PNG of unfiltered rows, with chunks before and after its pixels."""
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", *size, bits, colour, 0, 0, 0))
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    step = -(-len(packed) // parts)
    data = b"".join(chunk(b"IDAT", packed[start : start + step]) for start in range(0, len(packed), step))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + after + chunk(b"IEND", b"")


def png_with(*chunks: bytes, after: bytes = b"") -> bytes:
    return png(rows_of(np.asarray(picture())), 8, 2, *chunks, after=after)


def rows_of(levels: NDArray[Any], bits: int = 8) -> list[bytes]:
    """Rows of levels, packed to `bits` each and big-endian."""
    flat = levels.reshape(levels.shape[0], -1)
    if bits == 16:
        return [row.astype(">u2").tobytes() for row in flat]
    if bits == 8:
        return [row.astype(np.uint8).tobytes() for row in flat]
    planes = (flat[..., None].astype(np.uint8) >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1)).tobytes() for row in planes]


def grey_levels(bits: int) -> NDArray[np.int64]:
    """The grey picture's levels at a depth."""
    levels = np.asarray(grey()).astype(np.int64)
    return levels >> (8 - bits) if bits <= 8 else levels << (bits - 8)


def shown_grey(bits: int) -> Image.Image:
    """What a picture of so few grey levels shows."""
    levels = grey_levels(min(bits, 8))
    return Image.fromarray((levels * 255 // ((1 << min(bits, 8)) - 1)).astype(np.uint8))


def grey_with_key(bits: int) -> tuple[bytes, Image.Image]:
    """A grey PNG whose most frequent level is transparent, and what it shows."""
    levels = grey_levels(bits)
    key = int(np.bincount(levels.reshape(-1)).argmax())
    content = png(rows_of(levels, bits), bits, 0, chunk(b"tRNS", struct.pack(">H", key)))
    return content, white_where(Image.fromarray(np.where(levels == key, 0, 255).astype(np.uint8)), shown_grey(bits))


def colour_with_key(bits: int, *, is_there: bool) -> tuple[bytes, Image.Image]:
    """A colour PNG with a colour that is transparent, or one that only looks like it by its low bytes."""
    levels = np.asarray(picture()).astype(np.int64)
    key = levels[0, 0].copy()
    if bits == 16:
        levels = levels << 8 | levels
        key = levels[0, 0].copy() if is_there else key
    elif not is_there:
        key = np.array([1, 2, 3])
    mask = np.where((levels == key).all(axis=-1), 0, 255).astype(np.uint8)
    content = png(rows_of(levels, bits), bits, 2, chunk(b"tRNS", struct.pack(">HHH", *key)))
    return content, white_where(Image.fromarray(mask))


def palette_png(*chunks: bytes, n_colours: int = 8, with_colours: bool = True) -> bytes:
    image = picture().quantize(n_colours, dither=Image.Dither.NONE)
    colours = bytes(image.getpalette() or ())[: 3 * n_colours]
    before = (chunk(b"PLTE", colours),) if with_colours else ()
    return png(rows_of(np.asarray(image)), 8, 3, *before, *chunks)


def noted(key: str, text: str = "a note") -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text(key, text)
    return encoded(picture(), "PNG", pnginfo=notes)


def raw_profile(block: bytes) -> bytes:
    text = f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()
    return chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))


# TIFF


def tiff(
    data: bytes, bits: tuple[int, ...], photometric: int, *entries: tuple[int, int, int, bytes], order: str = "<", sample_format: int = 1,
    size: tuple[int, int] = (WIDTH, HEIGHT), compression: int = 1, big: bool = False, next_ifd: int = 0,
) -> bytes:  # fmt: skip
    """A TIFF of one strip behind its directory."""
    number, head = ("Q", 16) if big else ("L", 8)

    def entry(tag: int, kind: int, *values: int) -> bytes:
        value = struct.pack(order + {3: "H", 4: "L", 16: "Q"}[kind] * len(values), *values)
        return struct.pack(order + "HH" + number, tag, kind, len(values)) + value.ljust(8 if big else 4, b"\0")

    more = sorted([*entries, *([(339, 3, 1, struct.pack(order + "H", sample_format))] if sample_format != 1 else [])])
    n_entries = 9 + len(more)
    directory = head + (8 if big else 2) + n_entries * (20 if big else 12) + (8 if big else 4)
    # The depths of three channels do not fit into an entry; those of all others do.
    depths = struct.pack(order + "H" * len(bits), *bits) if len(bits) > (4 if big else 2) else b""
    in_place = struct.pack(order + "HH" + number, 258, 3, len(bits)) + struct.pack(order + number, directory)
    fields = {
        256: entry(256, 4, size[0]),
        257: entry(257, 4, size[1]),
        258: in_place if depths else entry(258, 3, *bits),
        259: entry(259, 3, compression),
        262: entry(262, 3, photometric),
        273: entry(273, 4, directory + len(depths)),
        277: entry(277, 3, len(bits)),
        278: entry(278, 4, size[1]),
        279: entry(279, 4, len(data)),
    }
    for tag, kind, count, value in more:
        fields[tag] = struct.pack(order + "HH" + number, tag, kind, count) + value.ljust(8 if big else 4, b"\0")[: 8 if big else 4]
    mark = b"II" if order == "<" else b"MM"
    start = mark + (struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HL", 42, 8))
    body = struct.pack(order + ("Q" if big else "H"), len(fields)) + b"".join(fields[tag] for tag in sorted(fields))
    body += struct.pack(order + number, next_ifd)
    return start + body + bytes(directory - len(start) - len(body)) + depths + data


def rgb_tiff(*entries: tuple[int, int, int, bytes], image: Image.Image | None = None, **options: Any) -> bytes:
    shown = image or picture()
    return tiff(shown.tobytes(), (8, 8, 8), 2, *entries, size=shown.size, **options)


def packed_12_bits() -> bytes:
    levels = grey_levels(12)
    first, second = levels[:, 0::2], levels[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    return packed.astype(np.uint8).tobytes()


def fraction() -> NDArray[np.float32]:
    return np.asarray(grey()).astype(np.float32) / 255


def deep(levels: NDArray[Any], kind: str) -> bytes:
    return levels.astype(kind).tobytes()


# BMP, PPM, WebP, GIF and the HEIF family


def bmp32(alphas: NDArray[Any]) -> bytes:
    red, green, blue = np.asarray(picture()).transpose(2, 0, 1)
    pixels = np.stack([blue, green, red, alphas], axis=-1)[::-1].astype(np.uint8).tobytes()
    masks = struct.pack("<LLLL", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<LllHHLLllLL", 124, WIDTH, HEIGHT, 1, 32, 3, len(pixels), 2835, 2835, 0, 0) + masks
    info = info.ljust(124, b"\0")
    return b"BM" + struct.pack("<LHHL", 14 + len(info) + len(pixels), 0, 0, 14 + len(info)) + info + pixels


def rle8(*, is_cut: bool = False) -> bytes:
    image = picture().quantize(16, dither=Image.Dither.NONE)
    colours = np.zeros((256, 4), dtype=np.uint8)
    found = np.array(image.getpalette() or (), dtype=np.uint8)[: 3 * 16].reshape(-1, 3)
    colours[: len(found), :3] = found[:, ::-1]
    runs = b"".join(b"".join(bytes([1, level]) for level in row) + b"\0\0" for row in np.asarray(image)[::-1]) + b"\0\1"
    info = struct.pack("<LllHHLLllLL", 40, WIDTH, HEIGHT, 1, 8, 1, len(runs), 2835, 2835, 256, 0) + colours.tobytes()
    content = b"BM" + struct.pack("<LHHL", 14 + len(info) + len(runs), 0, 0, 14 + len(info)) + info + runs
    return content[: -len(runs) // 2] if is_cut else content


def with_riff_chunk(content: bytes, name: bytes, data: bytes, flag: int) -> bytes:
    """A WebP in its extended form with one more chunk."""
    plain = content[12:]
    extended = (
        b"VP8X" + struct.pack("<L", 10) + bytes([flag, 0, 0, 0]) + (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    )
    more = name + struct.pack("<L", len(data)) + data + b"\0" * (len(data) % 2)
    body = b"WEBP" + extended + plain + more
    return b"RIFF" + struct.pack("<L", len(body)) + body


def offset_gif() -> bytes:
    """A first frame that is smaller than the canvas."""
    frame = picture().resize((50, 40)).quantize(32, dither=Image.Dither.NONE)
    content = encoded(frame, "GIF")
    content = content[:6] + struct.pack("<HH", WIDTH, HEIGHT) + content[10:]
    place = content.index(b"\x2c" + struct.pack("<HHHH", 0, 0, 50, 40))
    return content[: place + 1] + struct.pack("<HH", 20, 10) + content[place + 5 :]


def inverted(image: Image.Image) -> Image.Image:
    return ImageChops.invert(image)


def _good(file_format: str, files: dict[str, Callable[[], bytes]], shows: Callable[[], Image.Image] = picture) -> dict[str, OddPicture]:
    return {f"{file_format}: {name}": OddPicture(file_format, content, shows) for name, content in files.items()}


def _pairs(file_format: str, files: dict[str, Callable[[], tuple[bytes, Image.Image]]]) -> dict[str, OddPicture]:
    """Of a file and what it shows."""
    return {
        f"{file_format}: {name}": OddPicture(file_format, lambda make=make: make()[0], lambda make=make: make()[1])  # type: ignore[misc]
        for name, make in files.items()
    }


def _bad(file_format: str, reasons: frozenset[RejectReason], files: dict[str, Callable[[], bytes]]) -> dict[str, OddPicture]:
    return {f"{file_format}: {name}": OddPicture(file_format, content, None, reasons) for name, content in files.items()}


def _turned(value: int) -> Callable[[], bytes]:
    return lambda: jpeg_with_exif(exif(orientation(value)), image=stored_turned(value))


def _jpeg_kinds() -> dict[str, OddPicture]:
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
        "zeros behind it": lambda: jpeg() + bytes(5000),
        "a film behind it": lambda: jpeg() + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40,
        "a gain map behind it (Ultra HDR)": lambda: jpeg_with(segment(0xE2, b"MPF\0II*\0\x08\0\0\0\0\0")) + jpeg(grey()),
        "several pictures": lambda: encoded(picture(), "MPO", save_all=True, append_images=[picture()], quality=92),
        "a damaged index of pictures": lambda: jpeg_with(segment(0xE2, b"MPF\0" + b"junk" * 9)),
        "a comment of 64 KB": lambda: jpeg_with(segment(0xFE, b"c" * 65_000)),
        "stray bytes between segments": lambda: jpeg_with(segment(0xFE, b"c") + b"\x01\x02\x03"),
        "fill bytes between segments": lambda: jpeg_with(b"\xff\xff\xff" + segment(0xFE, b"c")),
        "EXIF that is junk": lambda: jpeg_with(segment(0xE1, b"Exif\0\0this is no EXIF at all")),
        "EXIF that is junk, without JFIF": lambda: jpeg_with(segment(0xE1, b"Exif\0\0this is no EXIF at all"), base=without_jfif(jpeg())),
        "EXIF that is junk beside a density": lambda: jpeg_with(segment(0xE1, b"Exif\0\0junk"), base=jpeg(dpi=(72, 72))),
        "EXIF that is cut off": lambda: jpeg_with(segment(0xE1, (b"Exif\0\0" + exif(orientation(1), (0x11A, 5, 1, b"\xff\xff\0\0")))[:20])),
        "EXIF with a place outside": lambda: jpeg_with_exif(exif(orientation(1), offset=0xFFFF00)),
        "EXIF with a resolution of nothing by nothing": lambda: jpeg_with_exif(exif((0x11A, 5, 1, struct.pack("<L", 8)))),
        "EXIF with ten thousand entries": lambda: jpeg_with_exif(b"II*\0\x08\0\0\0\x10\x27" + bytes(40)),
        "EXIF twice": lambda: jpeg_with(segment(0xE1, b"Exif\0\0" + exif(orientation(1))), segment(0xE1, b"Exif\0\0" + exif(six))),
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
        "a Photoshop resolution cut off": lambda: jpeg_with(segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x02\0\0")),
        "FlashPix": lambda: jpeg_with(segment(0xE2, b"FPXR\0" + b"\0" * 30)),
        "a short JFIF": lambda: jpeg_with(segment(0xE0, b"JFIF\0"), base=without_jfif(jpeg())),
        "a density of nothing": lambda: jpeg_with(segment(0xE0, b"JFIF\0\1\1\1\0\0\0\0\0\0"), base=without_jfif(jpeg())),
    }
    good |= {f"turned {value}": _turned(value) for value in TURNS}
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
        shapes |= _good("JPEG", {name: lambda size=size: jpeg(long_strip(size)())}, long_strip(size))  # type: ignore[misc]
    return (
        _good("JPEG", good)
        | shapes
        | _good("JPEG", {"grey": lambda: jpeg(grey()), "grey without an end": lambda: jpeg(grey())[:-2]}, grey)
        | _good("JPEG", {"CMYK by Adobe": lambda: jpeg(picture().convert("CMYK"))}, lambda: picture().convert("CMYK").convert("RGB"))
        | _bad(
            "JPEG",
            _TRUNCATED,
            {
                "half of it": lambda: jpeg()[: len(jpeg()) * 2 // 3],
                "half of it, progressive": lambda: jpeg(progressive=True)[: len(jpeg(progressive=True)) * 2 // 3],
                "progressive, its last scan is missing": lambda: jpeg(progressive=True)[: jpeg(progressive=True).rfind(b"\xff\xda")],
                "the last hundred bytes are missing": lambda: jpeg()[:-100],
            },
        )
        | _bad(
            "JPEG",
            _DAMAGED,
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
        | _bad(
            "JPEG",
            _UNREADABLE,
            {
                "12 bits": lambda: with_frame_bytes(jpeg(), 4, b"\x0c"),
                "five channels": lambda: with_frame_bytes(jpeg(), 9, b"\x05"),
            },
        )
        | _bad(
            "JPEG",
            _TOO_MUCH,
            {
                "60,000 x 60,000, progressive": lambda: with_frame_bytes(jpeg(progressive=True), 5, struct.pack(">HH", 60_000, 60_000)),
                "20,000 x 20,000, progressive": lambda: with_frame_bytes(jpeg(progressive=True), 5, struct.pack(">HH", 20_000, 20_000)),
                "60,000 x 60,000": lambda: with_frame_bytes(jpeg(), 5, struct.pack(">HH", 60_000, 60_000)),
                "20,000 scans": lambda: many_scans(1000, 20_000),
            },
        )
    )


def _png_kinds() -> dict[str, OddPicture]:
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
    for key in ("bbox", "transparency", "exif", "xmp", "interlace", "dpi", "icc_profile", "gamma", "loop", "background", "default_image"):
        good[f"a note called {key}"] = lambda key=key: noted(key)  # type: ignore[misc]
    turned = np.asarray(stored_turned(6))
    size = (HEIGHT, WIDTH)
    good["turned 6"] = lambda: png(rows_of(turned), 8, 2, chunk(b"eXIf", exif(orientation(6))), size=size)
    good["turned 6 by EXIF behind the pixels"] = lambda: png(rows_of(turned), 8, 2, after=chunk(b"eXIf", exif(orientation(6))), size=size)
    good["turned 6 by ImageMagick's text"] = lambda: png(rows_of(turned), 8, 2, raw_profile(b"Exif\0\0" + exif(orientation(6))), size=size)
    over_white = lambda: white_where(grey())  # noqa: E731
    pairs: dict[str, Callable[[], tuple[bytes, Image.Image]]] = {
        f"{bits}-bit grey, a level is transparent": lambda bits=bits: grey_with_key(bits)  # type: ignore[misc]
        for bits in (1, 2, 4, 8, 16)
    }
    pairs |= {
        f"{bits}-bit grey": lambda bits=bits: (png(rows_of(grey_levels(bits), bits), bits, 0), shown_grey(bits))
        for bits in (1, 2, 4, 8, 16)
    }  # type: ignore[misc]
    pairs |= {f"{bits}-bit colour, one is transparent": lambda bits=bits: colour_with_key(bits, is_there=True) for bits in (8, 16)}  # type: ignore[misc]
    pairs["16-bit colour, the low bytes of one that is transparent"] = lambda: colour_with_key(16, is_there=False)
    return (
        _good("PNG", good)
        | _pairs("PNG", pairs)
        | _good(
            "PNG",
            {
                "alpha": lambda: png(rows_of(np.dstack([colours, alpha])), 8, 6),
                "16 bits and alpha": lambda: png(rows_of(np.dstack([colours, alpha]).astype(np.int64) * 257, 16), 16, 6),
            },
            over_white,
        )
        | _good(
            "PNG",
            {
                "grey and alpha": lambda: png(rows_of(np.dstack([alpha, alpha])), 8, 4),
                "16-bit grey and alpha": lambda: png(rows_of(np.dstack([alpha, alpha]).astype(np.int64) * 257, 16), 16, 4),
            },
            lambda: white_where(grey(), grey()),
        )
        | _good(
            "PNG",
            {
                "palette": palette_png,
                "more alphas than colours": lambda: palette_png(chunk(b"tRNS", bytes([0] * 20))),
                "a table of alphas that is empty": lambda: palette_png(chunk(b"tRNS", b"")),
                "opaque alphas": lambda: palette_png(chunk(b"tRNS", b"\xff" * 8)),
            },
            lambda: picture().quantize(8, dither=Image.Dither.NONE).convert("RGB"),
        )
        | _good(
            "PNG", {"all colours transparent": lambda: palette_png(chunk(b"tRNS", bytes(8)))}, lambda: Image.new("RGB", (9, 9), "white")
        )
        | _bad(
            "PNG",
            _DAMAGED,
            {
                "no colours": lambda: palette_png(with_colours=False),
                "a wrong checksum of the header": lambda: png_with().replace(png_with()[29:33], b"\0\1\2\3", 1),
                "the signature alone": lambda: png_with()[:8],
                "a header alone": lambda: png_with()[:33],
                "half of it": lambda: png_with()[: len(png_with()) // 2],
                "a width of nothing": lambda: png([], 8, 2, size=(0, 10)),
                "a depth of 3": lambda: png(rows_of(alpha), 3, 0),
                "an unknown kind of colour": lambda: png(rows_of(alpha), 8, 5),
                "no pixels": lambda: png_with()[:33] + chunk(b"IEND", b""),
                "pixels that are no deflate": lambda: png_with()[:33] + chunk(b"IDAT", b"junk" * 40) + chunk(b"IEND", b""),
            },
        )
        | _bad(
            "PNG",
            _TOO_MUCH,
            {
                "64,000,000 x 1": lambda: png([bytes(1000)], 8, 2, size=(64_000_000, 1)),
                "60,000 x 60,000": lambda: png([bytes(1000)], 8, 2, size=(60_000, 60_000)),
                "2,147,483,647 x 2,147,483,647": lambda: png([bytes(1000)], 8, 2, size=(2**31 - 1, 2**31 - 1)),
            },
        )
    )


def _tiff_kinds() -> dict[str, OddPicture]:
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
        "turned 6 beside a text that is a number": lambda: rgb_tiff(orientation(6), (270, 12, 1, b"\x08\0\0\0"), image=stored_turned(6)),
        "turned 5, LZW": lambda: encoded(stored_turned(5), "TIFF", compression="tiff_lzw", exif=_exif_of(5)),
        "an orientation of 0": lambda: rgb_tiff(orientation(0)),
    }
    levels = np.asarray(grey()).astype(np.int64)
    greys: dict[str, Callable[[], bytes]] = {
        "8-bit grey": lambda: tiff(grey().tobytes(), (8,), 1),
        "8-bit grey, white is zero": lambda: tiff(inverted(grey()).tobytes(), (8,), 0),
        "16-bit grey": lambda: tiff(deep(levels << 8, "<u2"), (16,), 1),
        "16-bit grey, big-endian": lambda: tiff(deep(levels << 8, ">u2"), (16,), 1, order=">"),
        "16-bit grey, white is zero": lambda: tiff(deep(65_535 - (levels << 8), "<u2"), (16,), 0),
        "16-bit grey, big-endian, white is zero": lambda: tiff(deep(65_535 - (levels << 8), ">u2"), (16,), 0, order=">"),
        "12-bit grey, packed": lambda: tiff(packed_12_bits(), (12,), 1),
        "16-bit grey with a sign": lambda: tiff(deep(levels << 7, "<i2"), (16,), 1, sample_format=2),
        "32-bit grey of 16 bits": lambda: tiff(deep(levels << 8, "<u4"), (32,), 1),
        "32-bit grey of 8 bits": lambda: tiff(deep(levels, "<u4"), (32,), 1),
        "32-bit grey, full": lambda: tiff(deep(levels << 24, "<u4"), (32,), 1),
        "32-bit grey with a sign": lambda: tiff(deep(levels << 23, "<i4"), (32,), 1, sample_format=2),
        "float grey, 0 to 1": lambda: tiff(deep(fraction(), "<f4"), (32,), 1, sample_format=3),
        "float grey, 0 to 255": lambda: tiff(deep(fraction() * 255, "<f4"), (32,), 1, sample_format=3),
        "float grey, 0 to 65,535": lambda: tiff(deep(fraction() * 65_535, "<f4"), (32,), 1, sample_format=3),
        "float grey with a NaN": lambda: tiff(deep(np.where(levels == levels[0, 0], np.nan, fraction()), "<f4"), (32,), 1, sample_format=3),
    }
    nan_is_black = lambda: Image.fromarray(np.where(levels == levels[0, 0], 0, levels).astype(np.uint8))  # noqa: E731
    nan = greys.pop("float grey with a NaN")
    associated = np.dstack([np.asarray(picture()).astype(np.int64) * levels[..., None] // 255, levels]).astype(np.uint8).tobytes()
    return (
        _good("TIFF", good)
        | _good("TIFF", greys, grey)
        | _good("TIFF", {"float grey with a NaN": nan}, nan_is_black)
        | _good(
            "TIFF", {"alpha, multiplied": lambda: tiff(associated, (8, 8, 8, 8), 2, (338, 3, 1, b"\x01\0"))}, lambda: white_where(grey())
        )
        | _good(
            "TIFF",
            {
                "black and white, packed as a fax": lambda: encoded(
                    grey().point(lambda level: 255 * (level > 99), "1"), "TIFF", compression="group4"
                )
            },
            lambda: grey().point(lambda level: 255 * (level > 99)),
        )
        | _bad(
            "TIFF",
            _DAMAGED,
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
        | _bad("TIFF", _TOO_MUCH, {"60,000 x 60,000": lambda: tiff(bytes(100), (8,), 1, size=(60_000, 60_000))})
    )


def _exif_of(value: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = value
    return found


def _other_kinds() -> dict[str, OddPicture]:
    webp: dict[str, Callable[[], bytes]] = {
        "plain": lambda: encoded(picture(), "WEBP", quality=95),
        "lossless": lambda: encoded(picture(), "WEBP", lossless=True),
        "animated": lambda: encoded(picture(), "WEBP", save_all=True, append_images=[inverted(picture())], lossless=True),
        "EXIF that is junk": lambda: with_riff_chunk(encoded(picture(), "WEBP", quality=95), b"EXIF", b"not EXIF", 8),
        "XMP that is junk": lambda: with_riff_chunk(encoded(picture(), "WEBP", quality=95), b"XMP ", b"<<<", 4),
        "turned 6": lambda: encoded(stored_turned(6), "WEBP", lossless=True, exif=_exif_of(6)),
    }
    quantised = lambda: picture().quantize(32, dither=Image.Dither.NONE)  # noqa: E731
    gif: dict[str, Callable[[], bytes]] = {
        "plain": lambda: encoded(quantised(), "GIF"),
        "animated": lambda: encoded(quantised(), "GIF", save_all=True, append_images=[inverted(picture()).quantize(32)]),
        "no end": lambda: encoded(quantised(), "GIF")[:-1],
        "a comment of 60 KB": lambda: encoded(quantised(), "GIF", comment=b"c" * 60_000),
        "second frame cut off": lambda: encoded(quantised(), "GIF", save_all=True, append_images=[inverted(picture()).quantize(32)])[:-300],
    }
    bmp: dict[str, Callable[[], bytes]] = {
        "plain": lambda: encoded(picture(), "BMP"),
        "32 bits, all alphas 0": lambda: bmp32(np.zeros((HEIGHT, WIDTH))),
        "32 bits, all alphas 255": lambda: bmp32(np.full((HEIGHT, WIDTH), 255)),
    }
    ppm: dict[str, Callable[[], bytes]] = {
        "plain": lambda: encoded(picture(), "PPM"),
        "a comment in its header": lambda: encoded(picture(), "PPM").replace(b"P6\n", b"P6\n# by a scanner\n"),
        "16 bits": lambda: b"P6\n%d %d\n65535\n" % (WIDTH, HEIGHT) + (np.asarray(picture()).astype(">u2") * 257).tobytes(),
        "written out": lambda: b"P3\n%d %d\n255\n" % (WIDTH, HEIGHT) + " ".join(map(str, np.asarray(picture()).reshape(-1))).encode(),
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
        "turned 6": lambda: encoded(stored_turned(6), "AVIF", quality=95, exif=_exif_of(6)),
    }
    # No encoder of the environment writes these: `picture()`, stored upright and turned, by pillow-heif.
    heic: dict[str, Callable[[], bytes]] = {
        "plain": (_HEIC / "plain.heic").read_bytes,
        "turned 6": (_HEIC / "turned.heic").read_bytes,
        "EXIF that is junk": lambda: (_HEIC / "turned.heic").read_bytes().replace(b"II*\0\x08\0\0\0", b"\xff" * 8),
    }
    shown_by_gif = lambda: quantised().convert("RGB")  # noqa: E731
    small = lambda: picture().resize((50, 40)).quantize(32, dither=Image.Dither.NONE).convert("RGB")  # noqa: E731

    def on_canvas() -> Image.Image:
        canvas = Image.new("RGB", (WIDTH, HEIGHT), small().getpixel((0, 0)))
        canvas.paste(small(), (20, 10))
        return canvas

    return (
        _good("WebP", webp)
        | _good("WebP", {"alpha": lambda: encoded(_with_alpha(), "WEBP", lossless=True, exact=True)}, lambda: white_where(grey()))
        | _good("GIF", gif, shown_by_gif)
        | _good("BMP", bmp)
        | _good("BMP", {"run lengths": rle8}, lambda: picture().quantize(16, dither=Image.Dither.NONE).convert("RGB"))
        | _good("BMP", {"32 bits and alpha": lambda: bmp32(np.asarray(grey()))}, lambda: white_where(grey()))
        | _good("PPM", ppm)
        | _good("PPM", {"grey": lambda: encoded(grey(), "PPM")}, grey)
        | _good("JPEG 2000", jp2)
        | _good("AVIF", avif)
        | _bad(
            "WebP",
            _DAMAGED,
            {"half of it": lambda: webp["plain"]()[: len(webp["plain"]()) // 2], "a header alone": lambda: webp["plain"]()[:20]},
        )
        | _bad("WebP", _TOO_MUCH, {"a canvas of 16,383 x 16,383": _huge_webp})
        | _bad("GIF", _DAMAGED, {"half of it": lambda: gif["plain"]()[:400], "a header alone": lambda: gif["plain"]()[:10]})
        | _bad("GIF", _TOO_MUCH | _DAMAGED, {"a canvas of 65,535 x 65,535": lambda: b"GIF89a\xff\xff\xff\xff" + gif["plain"]()[10:]})
        | _bad("BMP", _DAMAGED, {"run lengths cut off": lambda: rle8(is_cut=True), "a header alone": lambda: bmp["plain"]()[:30]})
        | _bad(
            "PPM", _DAMAGED, {"half of it": lambda: ppm["plain"]()[:9000], "a header of junk": lambda: b"P6\nwide high\n255\n" + bytes(99)}
        )
        | _bad("JPEG 2000", _DAMAGED, {"half of it": lambda: jp2["plain"]()[:700], "a header alone": lambda: jp2["plain"]()[:40]})
        | _bad("AVIF", _DAMAGED, {"half of it": lambda: avif["plain"]()[:400]})
        | _good("HEIC", heic)
        | _bad("HEIC", _DAMAGED, {"a header alone": lambda: heic["plain"]()[:60], "half of it": lambda: heic["plain"]()[:400]})
        | _bad(
            "none",
            _NO_IMAGE,
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
        | _bad("none", frozenset({RejectReason.EMPTY}), {"no bytes": lambda: b""})
    )


def _with_alpha() -> Image.Image:
    layer = picture().convert("RGBA")
    layer.putalpha(grey())
    return layer


def _huge_webp() -> bytes:
    content = with_riff_chunk(encoded(picture(), "WEBP", quality=95), b"XMP ", b"x", 4)
    return content[:24] + b"\xfe\x3f\0\xfe\x3f\0" + content[30:]


KINDS: Final[dict[str, OddPicture]] = _jpeg_kinds() | _png_kinds() | _tiff_kinds() | _other_kinds()
