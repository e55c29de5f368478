"""Reads PNG files, which consist of chunks with checksums."""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import TYPE_CHECKING, Final

from fruit_contract.tables import RejectReason
from fruit_features.embedding.containers.container import (
    MOST_PARTS,
    Container,
    UnusableFileError,
    add_range,
    orientation_of,
    refuse_many,
    slices,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_IEND: Final = b"\0\0\0\0IEND\xaeB`\x82"
_RAW_EXIF: Final = b"Raw profile type exif\0\0"
# So many bytes are read of a note that holds EXIF as text, which is more than any camera writes.
_MOST_TEXT: Final = 1 << 20
_GREY, _COLOUR, _PALETTE = 0, 2, 3
_DEPTHS: Final = frozenset({1, 2, 4, 8, 16})
_CHANNELS: Final = {_GREY: 1, _COLOUR: 3, _PALETTE: 1, 4: 2, 6: 4}


def open_png(content: bytes) -> Container:
    """Keeps the chunks that make the pixels. Raises UnusableFileError for a PNG that is none for other readers."""
    first: dict[bytes, bytes] = {}
    pixels: list[tuple[int, int]] = []
    text = range(0)
    end = b""
    for name, start, stop in _chunks(content):
        if name == b"IDAT":
            add_range(pixels, start, stop)
        elif name == b"IEND":
            end = _IEND
            break
        elif name == b"zTXt" and content.startswith(_RAW_EXIF, start + 8):
            text = range(start + 8 + len(_RAW_EXIF), stop - 4)
        elif name in {b"IHDR", b"PLTE", b"eXIf", b"tRNS"} and name not in first:
            chunk = content[start:stop]
            if name != b"tRNS" or (not pixels and _is_intact(chunk)):
                first[name] = chunk
    header, palette = first.get(b"IHDR", b""), first.get(b"PLTE", b"")
    if len(header) != 25:
        return Container(content)
    width, height, bits, colour = struct.unpack_from(">IIBB", header, 8)
    _refuse_unusable_png(content, colour, is_without_colours=bool(pixels) and not palette)
    alphas = first.get(b"tRNS", b"")[8:-4]
    # As in libpng, a table with more alphas than colours does not count, and neither do bits of a level beyond the
    # picture's depth.
    table = first[b"tRNS"] if colour == _PALETTE and 0 < len(alphas) <= (len(palette) - 12) // 3 else b""
    key: tuple[int, ...] = ()
    if bits in _DEPTHS and len(alphas) == {_GREY: 2, _COLOUR: 6}.get(colour):
        deepest = (1 << bits) - 1
        key = tuple(level & deepest for level in struct.unpack(f">{len(alphas) // 2}H", alphas))
        key = tuple(level * 255 // deepest for level in key) if bits < 8 else key
    return Container(
        b"".join([_SIGNATURE, header, palette, table, *slices(content, pixels), end]),
        width,
        height,
        orientation_of(first.get(b"eXIf", b"")[8:-4] or _from_text(content[text.start : text.stop])),
        extra_bytes=3 * width * bits * _CHANNELS.get(colour, 4) // 8,
        bits=bits,
        key=key,
    )


def _refuse_unusable_png(content: bytes, colour: int, *, is_without_colours: bool) -> None:
    if content.startswith(b"CgBI", 12):
        raise UnusableFileError(
            RejectReason.UNREADABLE, "a PNG that Xcode optimised for Apple's devices: export it as an ordinary one"
        )
    if colour == _PALETTE and is_without_colours:
        raise UnusableFileError(RejectReason.UNREADABLE, "its pixels are numbers of colours, and it has no colours")


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields the name, start and end of each chunk; the last one may be cut off."""
    position = len(_SIGNATURE)
    for n_chunks in itertools.count(1):
        if position + 8 > len(content):
            return
        refuse_many(n_chunks, MOST_PARTS, "chunks")
        start, position = position, position + int.from_bytes(content[position : position + 4], "big") + 12
        yield content[start + 4 : start + 8], start, min(position, len(content))


def _is_intact(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _from_text(compressed: bytes) -> bytes:
    """Returns the bytes that a compressed note holds as hexadecimal text after a name and a length.

    Returns no bytes if the note is of another kind.
    """
    try:
        return bytes.fromhex(
            zlib.decompressobj().decompress(compressed, _MOST_TEXT).split(maxsplit=2)[2].decode("ascii")
        )
    except (zlib.error, ValueError, IndexError):
        return b""
