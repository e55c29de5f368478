"""Cuts an image file down to what makes its pixels, and reads from its header how much work decoding it will be.

Cameras and editors leave junk in EXIF, ICC profiles, notes and indexes, and a decoder that looks at it may fail on a
good picture. So JPEG, PNG, TIFF, AVIF and HEIF files are cut down to what makes the pixels before a decoder sees them.
Of the metadata, the orientation alone counts, and it is read here. Nothing is decompressed, and nothing raises on
damage: what is odd is left for the decoder to judge. `UnusableFileError` is for what a decoder would get wrong.
"""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fruit_contract.tables import RejectReason
from fruit_features.embedding.tiff_directory import UPRIGHT, Directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True)
class Container:
    """Holds what a decoder gets of a file, and what is known before it decodes.

    `width` and `height` are 0 where only the decoder knows them. A decoder holds `extra_bytes` beside the pixels, and
    goes over them `n_scans` times. Grey levels have `bits`; `key` is the colour that is transparent, a level a channel.
    A JPEG `has_end` if its mark of the end is there, and `misses_data` if it has fewer restarts than its rows need.
    """

    content: bytes
    width: int = 0
    height: int = 0
    orientation: int = UPRIGHT
    n_scans: int = 1
    extra_bytes: int = 0
    bits: int = 8
    key: tuple[int, ...] = ()
    signed: bool = False
    white_is_zero: bool = False
    has_end: bool = True
    misses_data: bool = False


class UnusableFileError(Exception):
    """No picture can be had of a file, which its header tells already."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def open_container(content: bytes, file_format: str) -> Container:
    """Cuts a file down to what makes its pixels; `file_format` is what Pillow calls its format.

    Raises:
        UnusableFileError: the header says that no picture can be had of it.
    """
    match file_format:
        case "JPEG":
            return _open_jpeg(content)
        case "PNG":
            return _open_png(content)
        case "TIFF":
            return _open_tiff(content)
        case "WEBP":
            return Container(content, *_webp_size(content))
        case "AVIF" | "HEIF":
            return Container(_without_heif_exif(content))
        case _:
            return Container(content)


def orientation_of(exif: bytes) -> int:
    """Returns the orientation in a block of EXIF, 1 to 8, or 1 (upright) if it has none that other readers follow."""
    directory = Directory.read(exif.removeprefix(b"Exif\0\0"))
    return UPRIGHT if directory is None else directory.orientation


# Files of the 128 MB that are fetched at most have as many: libpng writes pieces of 8 KB.
_MOST_PARTS: Final = 50_000
_MOST_SCANS: Final = 1_000


def _refuse_many(n_parts: int, most: int, what: str) -> None:
    if n_parts > most:
        raise UnusableFileError(RejectReason.TOO_COSTLY, f"it has more than {most:,} {what}")


def _add(ranges: list[tuple[int, int]], start: int, end: int) -> None:
    """Adds a range of a file to others, as part of the last one if it follows that."""
    if ranges and ranges[-1][1] == start:
        start, _ = ranges.pop()
    ranges.append((start, end))


def _slices(content: bytes, ranges: list[tuple[int, int]]) -> list[memoryview]:
    return [memoryview(content)[start:end] for start, end in ranges]


# JPEG: segments, the last of which begins a scan; more scans may follow, with segments between them.

_EOI, _SOS, _DRI, _APP0, _APP1, _APP14, _APP15, _COM = 0xD9, 0xDA, 0xDD, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE_FRAMES: Final = frozenset({0xC0, 0xC1})
_PROGRESSIVE_FRAMES: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_WITHOUT_LENGTH: Final = frozenset({*range(0xD0, 0xDA), 0xC8, *range(0xF0, 0xFE)})
# Within the data of a scan, 0xFF is followed by a zero, by another 0xFF or by a restart's number.
_END_OF_SCAN: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_MARKER_IN_DATA: Final = re.compile(rb"\xff[^\x00\xff]")
# More than the densest block of a picture takes, with three channels and four of them in one.
_FILLER_BYTES: Final = 1024


def complete_jpeg(content: bytes) -> list[bytes]:
    """Completes a JPEG without an end in two ways, which differ in what a decoder reads where data is missing.

    If nothing but the end is missing, both files give the same pixels. Returns none if whole scans may be missing.
    Zeros at its end are no data: a copy may begin with room for all of the file.
    """
    stripped = content.rstrip(b"\0")
    # Within data, 0xFF has a zero behind it.
    content = stripped + b"\0" if stripped.endswith(b"\xff") and len(stripped) < len(content) else stripped
    found = list(_scans(content))
    if not found or (found[0].is_progressive and not _is_refined(found)):
        return []
    return [content.removesuffix(b"\xff") + filler * _FILLER_BYTES + b"\xff\xd9" for filler in (b"\x00", b"\x55")]


@dataclass(frozen=True)
class _Scan:
    """Describes a scan: its channels, its first and last coefficient, and the lowest bit that it brings of them."""

    is_progressive: bool
    n_channels: int
    channels: bytes
    first: int
    last: int
    lowest_bit: int


def _open_jpeg(content: bytes) -> Container:
    kept = [(0, 2)]
    exif = frame = b""
    interval = 0
    for marker, start, end in _segments(content, 2):
        if marker == _SOS:
            _add(kept, start, len(content))
            whole = b"".join(_slices(content, kept))
            has_end = content.rfind(b"\xff\xd9", end) >= 0
            found = Container(whole, orientation=orientation_of(exif), has_end=has_end)
            return _with_frame(found, frame, content, start, interval)
        segment = content[start + 4 : end]
        if marker == _DRI:
            interval = int.from_bytes(segment[:2], "big")
        if marker in _FRAMES:
            frame = content[start:end]
        if marker == _APP1 and segment.startswith(b"Exif\0\0"):
            exif = exif or segment
        elif _says_colours(marker, segment) or not (_APP0 <= marker <= _APP15 or marker == _COM):
            _add(kept, start, end)
    return Container(content)


def _says_colours(marker: int, segment: bytes) -> bool:
    return (marker == _APP0 and len(segment) >= 14 and segment.startswith(b"JFIF")) or (
        marker == _APP14 and len(segment) >= 12 and segment.startswith(b"Adobe")
    )


def _with_frame(found: Container, frame: bytes, content: bytes, first_scan: int, interval: int) -> Container:
    """Returns the container with what its frame says; `interval` is how many blocks its restarts are apart."""
    if len(frame) < 10 or not 0 < 3 * frame[9] <= len(frame) - 10:
        return found
    bits, height, width, n_channels = struct.unpack_from(">BHHB", frame, 4)
    found = replace(found, width=width, height=height, bits=bits)
    sampling = [(factors >> 4 or 1, (factors & 15) or 1) for factors in frame[11 : 10 + 3 * n_channels : 3]]
    widest, tallest = max(across for across, _ in sampling), max(down for _, down in sampling)
    if frame[1] not in _PROGRESSIVE_FRAMES and content[first_scan + 4] >= n_channels:
        if frame[1] in _BASELINE_FRAMES and interval:
            # The blocks of a lone channel are of one size, whatever its factors say.
            across, down = (8, 8) if n_channels == 1 else (8 * widest, 8 * tallest)
            n_blocks = -(-width // across) * -(-height // down)
            found = replace(found, misses_data=not _has_restarts(content, first_scan, -(-n_blocks // interval) - 1))
        return found
    # All coefficients are kept until the last scan: a number of 16 bits for each value of each channel.
    coefficients = sum(2 * width * height * across * down // (widest * tallest) for across, down in sampling)
    return replace(found, n_scans=sum(1 for _ in _scans(content)), extra_bytes=coefficients)


def _has_restarts(content: bytes, scan: int, n_needed: int) -> bool:
    """Tells whether the data of a scan has so many restarts."""
    start = scan + 2 + int.from_bytes(content[scan + 2 : scan + 4], "big")
    markers = itertools.islice(_MARKER_IN_DATA.finditer(content, start), max(n_needed, 0))
    n_found = sum(1 for _ in itertools.takewhile(lambda marker: 0xD0 <= marker[0][1] <= 0xD7, markers))
    return n_found >= n_needed


def _segments(content: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Yields the marker, start and end of each segment, until something is no segment.

    Like decoders, it ignores stray bytes between two segments.
    """
    for n_segments in itertools.count(1):
        found = _MARKER_IN_DATA.search(content, position)
        if found is None or (start := found.start()) >= len(content) - 3 or (marker := content[start + 1]) == _EOI:
            return
        _refuse_many(n_segments, _MOST_PARTS, "segments")
        if marker in _WITHOUT_LENGTH:
            position = start + 2
            continue
        length = int.from_bytes(content[start + 2 : start + 4], "big")
        position = start + 2 + length
        if marker < min(_FRAMES) or length < (6 if marker == _SOS else 2) or position > len(content):
            return
        yield marker, start, position


def _scans(content: bytes) -> Iterator[_Scan]:
    position: int | None = 2
    is_progressive = False
    n_segments = n_scans = 0
    while position is not None:
        following, position = position, None
        for marker, start, end in _segments(content, following):
            n_segments += 1
            _refuse_many(n_segments, _MOST_PARTS, "segments")
            if marker in _FRAMES:
                is_progressive = marker in _PROGRESSIVE_FRAMES
            if marker == _SOS:
                n_scans += 1
                _refuse_many(n_scans, _MOST_SCANS, "scans")
                n_channels = min(content[start + 4], 4)
                channels = content[start + 5 : start + 5 + 2 * n_channels : 2]
                first, last, bits = content[end - 3 : end]
                yield _Scan(is_progressive, n_channels, channels, first, last, bits & 15)
                data_end = _END_OF_SCAN.search(content, end)
                position = data_end.start() if data_end else None
                break


def _is_refined(scans: Sequence[_Scan]) -> bool:
    """Says whether the scans bring every coefficient of every channel to its last bit."""
    missing = {(channel, place) for scan in scans for channel in scan.channels for place in range(64)}
    for scan in scans:
        if scan.lowest_bit == 0:
            missing -= {(channel, place) for channel in scan.channels for place in range(scan.first, scan.last + 1)}
    return not missing


# A PNG consists of chunks with checksums.

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_IEND: Final = b"\0\0\0\0IEND\xaeB`\x82"
_RAW_EXIF: Final = b"Raw profile type exif\0\0"
# So many bytes are read of a note that holds EXIF as text, which is more than any camera writes.
_MOST_TEXT: Final = 1 << 20
_GREY, _COLOUR, _PALETTE = 0, 2, 3
_DEPTHS: Final = frozenset({1, 2, 4, 8, 16})
_CHANNELS: Final = {_GREY: 1, _COLOUR: 3, _PALETTE: 1, 4: 2, 6: 4}


def _open_png(content: bytes) -> Container:
    first: dict[bytes, bytes] = {}
    pixels: list[tuple[int, int]] = []
    text = range(0)
    end = b""
    for name, start, stop in _chunks(content):
        if name == b"IDAT":
            _add(pixels, start, stop)
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
        b"".join([_SIGNATURE, header, palette, table, *_slices(content, pixels), end]),
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
        _refuse_many(n_chunks, _MOST_PARTS, "chunks")
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


# TIFF

_PIXEL_TAGS: Final = frozenset({
    254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338,
    339, 340, 341, 347,
    512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 34908, 34909, 34910, 50674,
})  # fmt: skip
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _ROWS = 256, 257, 258, 262, 277, 278
_TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 322, 323, 339
_SUBFILE, _SUB_DIRECTORIES, _REDUCED = 254, 330, 1
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _SIGNED = 0, 1, 2


def _open_tiff(content: bytes) -> Container:
    found = Directory.read(content)
    if found is None:
        return Container(content)
    if found.number(_SUBFILE, 0) & _REDUCED and _SUB_DIRECTORIES in found.entries:
        raise UnusableFileError(
            RejectReason.UNREADABLE, "a raw photo whose first picture is a thumbnail: export it as JPEG"
        )
    width, height = found.number(_WIDTH, 0), found.number(_HEIGHT, 0)
    bits = found.number(_BITS, 1)
    # Pillow inverts levels of up to 8 bits itself, and reads deeper inverted ones in one order of bytes only.
    white_is_zero = bits > 8 and found.number(_PHOTOMETRIC, _BLACK_IS_ZERO) == _WHITE_IS_ZERO
    if white_is_zero:
        found = found.with_number(_PHOTOMETRIC, _BLACK_IS_ZERO)
    rows = min(found.number(_ROWS, height), height)
    in_a_piece = found.number(_TILE_WIDTH, width) * found.number(_TILE_HEIGHT, rows)
    return Container(
        found.only(_PIXEL_TAGS),
        width,
        height,
        found.orientation,
        # A whole strip or tile is unpacked at once.
        extra_bytes=in_a_piece * bits * found.number(_SAMPLES, 1) // 8,
        bits=bits,
        signed=found.number(_SAMPLE_FORMAT, 1) == _SIGNED,
        white_is_zero=white_is_zero,
    )


# Decoders of WebP and of the HEIF family, which includes AVIF, read everything when a file is opened.


def _webp_size(content: bytes) -> tuple[int, int]:
    """Returns the width and height of the canvas."""
    head = content[12:30].ljust(18, b"\0")
    if head.startswith(b"VP8X"):
        return int.from_bytes(head[12:15], "little") + 1, int.from_bytes(head[15:18], "little") + 1
    if head.startswith(b"VP8L"):
        bits = int.from_bytes(head[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(head[14:16], "little") & 0x3FFF, int.from_bytes(head[16:18], "little") & 0x3FFF


def _without_heif_exif(content: bytes) -> bytes:
    """Hides the file's EXIF under a name that no reader knows: a turn is among the picture's own properties."""
    position = n_boxes = 0
    while position + 8 <= len(content):
        n_boxes += 1
        _refuse_many(n_boxes, _MOST_PARTS, "boxes")
        length = int.from_bytes(content[position : position + 4], "big")
        if content[position + 4 : position + 8] == b"meta":
            end = position + length
            return content[:position] + content[position:end].replace(b"Exif", b"exif") + content[end:]
        if length < 8:
            break
        position += length
    return content
