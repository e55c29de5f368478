"""Builds picture files byte by byte, as cameras, editors and scanners write them and no library does. All show
`picture()`.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageChops, PngImagePlugin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


WIDTH, HEIGHT = 100, 80


def picture() -> Image.Image:
    """Returns a picture with red above, green below left, blue below right and a slope in all of it, so that every turn
    and flip of it looks different.
    """
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
    """Returns the picture over white: where the mask is 255 it stays, where the mask is 0 it is white."""
    shown = image or picture()
    return Image.composite(shown, Image.new(shown.mode, shown.size, "white"), mask)


def jpeg(image: Image.Image | None = None, **options: Any) -> bytes:
    return encoded(image or picture(), "JPEG", **({"quality": 92} | options))


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg_with(*segments: bytes, base: bytes | None = None) -> bytes:
    """Returns a JPEG with more segments behind its first two bytes."""
    content = base or jpeg()
    return content[:2] + b"".join(segments) + content[2:]


def exif(*entries: tuple[int, int, int, bytes], order: str = "<", offset: int = 8) -> bytes:
    """Returns a block of EXIF. Each entry has a tag, a type, a count, and the four bytes of a value or of its place."""
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
    """Returns the place of the frame's marker."""
    return next(place for marker in (0xC0, 0xC2) if (place := content.find(bytes([0xFF, marker, 0, 17]))) >= 0)


def with_frame_bytes(content: bytes, offset: int, new: bytes) -> bytes:
    place = frame_place(content) + offset
    return content[:place] + new + content[place + len(new) :]


def many_scans(side: int, n_scans: int) -> bytes:
    """Returns a progressive JPEG whose last scan comes again and again."""
    content = jpeg(Image.new("RGB", (side, side), (200, 30, 30)), progressive=True, quality=30)
    last = content.rfind(b"\xff\xda")
    scan = content[last:-2]
    return content[:last] + scan * n_scans + b"\xff\xd9"


TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def stored_turned(value: int) -> Image.Image:
    """Returns the picture as a camera stores it that names this orientation."""
    return picture().transpose(TURNS[value])


def chunk(name: bytes, data: bytes, checksum: int | None = None) -> bytes:
    return (
        struct.pack(">L", len(data))
        + name
        + data
        + struct.pack(">L", zlib.crc32(name + data) if checksum is None else checksum)
    )


def png(
    rows: Iterable[bytes],
    bits: int,
    colour: int,
    *chunks: bytes,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    after: bytes = b"",
    parts: int = 1,
) -> bytes:
    """Returns a PNG of unfiltered rows, with chunks before and after its pixels."""
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", *size, bits, colour, 0, 0, 0))
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    step = -(-len(packed) // parts)
    data = b"".join(chunk(b"IDAT", packed[start : start + step]) for start in range(0, len(packed), step))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + after + chunk(b"IEND", b"")


def png_with(*chunks: bytes, after: bytes = b"") -> bytes:
    return png(rows_of(np.asarray(picture())), 8, 2, *chunks, after=after)


def rows_of(levels: NDArray[Any], bits: int = 8) -> list[bytes]:
    """Returns rows of levels, packed to `bits` each and big-endian."""
    flat = levels.reshape(levels.shape[0], -1)
    if bits == 16:
        return [row.astype(">u2").tobytes() for row in flat]
    if bits == 8:
        return [row.astype(np.uint8).tobytes() for row in flat]
    planes = (flat[..., None].astype(np.uint8) >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1)).tobytes() for row in planes]


def grey_levels(bits: int) -> NDArray[np.int64]:
    """Returns the grey picture's levels at a depth of `bits`."""
    levels = np.asarray(grey()).astype(np.int64)
    return levels >> (8 - bits) if bits <= 8 else levels << (bits - 8)


def shown_grey(bits: int) -> Image.Image:
    """Returns what a grey picture of this depth shows."""
    levels = grey_levels(min(bits, 8))
    return Image.fromarray((levels * 255 // ((1 << min(bits, 8)) - 1)).astype(np.uint8))


def grey_with_key(bits: int) -> tuple[bytes, Image.Image]:
    """Returns a grey PNG whose most frequent level is transparent, and what it shows."""
    levels = grey_levels(bits)
    key = int(np.bincount(levels.reshape(-1)).argmax())
    content = png(rows_of(levels, bits), bits, 0, chunk(b"tRNS", struct.pack(">H", key)))
    return content, white_where(Image.fromarray(np.where(levels == key, 0, 255).astype(np.uint8)), shown_grey(bits))


def colour_with_key(bits: int, *, is_there: bool) -> tuple[bytes, Image.Image]:
    """Returns a colour PNG with a transparent colour, and what it shows. If not `is_there`, no pixel has that colour;
    at 16 bits, some have only its low bytes.
    """
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


def tiff(
    data: bytes, bits: tuple[int, ...], photometric: int, *entries: tuple[int, int, int, bytes], order: str = "<",
    sample_format: int = 1,
    size: tuple[int, int] = (WIDTH, HEIGHT), compression: int = 1, big: bool = False, next_ifd: int = 0,
) -> bytes:  # fmt: skip
    """Returns a TIFF with one strip behind its directory."""
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
        fields[tag] = (
            struct.pack(order + "HH" + number, tag, kind, count)
            + value.ljust(8 if big else 4, b"\0")[: 8 if big else 4]
        )
    mark = b"II" if order == "<" else b"MM"
    start = mark + (struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HL", 42, 8))
    body = struct.pack(order + ("Q" if big else "H"), len(fields)) + b"".join(fields[tag] for tag in sorted(fields))
    body += struct.pack(order + number, next_ifd)
    return start + body + bytes(directory - len(start) - len(body)) + depths + data


def rgb_tiff(*entries: tuple[int, int, int, bytes], image: Image.Image | None = None, **options: Any) -> bytes:
    shown = image or picture()
    return tiff(shown.tobytes(), (8, 8, 8), 2, *entries, size=shown.size, **options)


def planar_tiff(order: str = "<") -> bytes:
    """Returns a TIFF of 16 bits a channel, uncompressed, in a strip for each channel."""
    levels = np.asarray(picture()).astype(np.int64) * 257
    planes = levels.transpose(2, 0, 1).astype(order + "u2").tobytes()
    start = len(tiff(b"", (16, 16, 16), 2, *[(284, 3, 1, b"")] * 3))
    one = len(planes) // 3
    places = struct.pack(order + "6L", start, start + one, start + 2 * one, one, one, one)
    end = start + len(planes)
    return tiff(
        planes + places,
        (16, 16, 16),
        2,
        (284, 3, 1, struct.pack(order + "H", 2)),
        (273, 4, 3, struct.pack(order + "L", end)),
        (279, 4, 3, struct.pack(order + "L", end + 12)),
        order=order,
    )


def palette_tiff(factor: int) -> bytes:
    """Returns a TIFF with a palette, whose levels of 8 bits are times `factor`."""
    image = picture().quantize(8, dither=Image.Dither.NONE)
    colours = np.zeros((256, 3), dtype=np.int64)
    found = np.array(image.getpalette() or ())[: 3 * 8].reshape(-1, 3)
    colours[: len(found)] = found * factor
    start = len(tiff(b"", (8,), 3, (320, 3, 768, b"")))
    levels = image.tobytes()
    place = struct.pack("<L", start + len(levels))
    return tiff(levels + colours.T.astype("<u2").tobytes(), (8,), 3, (320, 3, 768, place))


def subsampled_tiff() -> bytes:
    """Returns an uncompressed TIFF in luma and halved chroma."""
    pixels = np.asarray(picture().convert("YCbCr"))
    luma = pixels[..., 0].reshape(HEIGHT // 2, 2, WIDTH // 2, 2).transpose(0, 2, 1, 3).reshape(HEIGHT // 2, -1, 4)
    blocks = np.concatenate([luma, pixels[::2, ::2, 1:]], axis=2)
    return tiff(blocks.tobytes(), (8, 8, 8), 6, (530, 3, 2, struct.pack("<HH", 2, 2)))


def packed_12_bits() -> bytes:
    levels = grey_levels(12)
    first, second = levels[:, 0::2], levels[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    return packed.astype(np.uint8).tobytes()


def fraction() -> NDArray[np.float32]:
    return np.asarray(grey()).astype(np.float32) / 255


def deep(levels: NDArray[Any], kind: str) -> bytes:
    return levels.astype(kind).tobytes()


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
    """Returns the WebP in its extended form, with one more chunk."""
    plain = content[12:]
    extended = (
        b"VP8X"
        + struct.pack("<L", 10)
        + bytes([flag, 0, 0, 0])
        + (WIDTH - 1).to_bytes(3, "little")
        + (HEIGHT - 1).to_bytes(3, "little")
    )
    more = name + struct.pack("<L", len(data)) + data + b"\0" * (len(data) % 2)
    body = b"WEBP" + extended + plain + more
    return b"RIFF" + struct.pack("<L", len(body)) + body


def inverted(image: Image.Image) -> Image.Image:
    return ImageChops.invert(image)


def exif_of(value: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = value
    return found


def with_alpha() -> Image.Image:
    layer = picture().convert("RGBA")
    layer.putalpha(grey())
    return layer


def huge_webp() -> bytes:
    content = with_riff_chunk(encoded(picture(), "WEBP", quality=95), b"XMP ", b"x", 4)
    return content[:24] + b"\xfe\x3f\0\xfe\x3f\0" + content[30:]
