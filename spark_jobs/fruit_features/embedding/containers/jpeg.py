"""Reads JPEG files: segments, the last of which begins a scan; more scans may follow, with segments between them."""

from __future__ import annotations

import itertools
import re
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fruit_features.embedding.containers.container import (
    MOST_PARTS,
    Container,
    add_range,
    orientation_of,
    refuse_many,
    slices,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_EOI, _SOS, _DRI, _APP0, _APP1, _APP14, _APP15, _COM = 0xD9, 0xDA, 0xDD, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE_FRAMES: Final = frozenset({0xC0, 0xC1})
_PROGRESSIVE_FRAMES: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_WITHOUT_LENGTH: Final = frozenset({*range(0xD0, 0xDA), 0xC8, *range(0xF0, 0xFE)})
# Within the data of a scan, 0xFF is followed by a zero, by another 0xFF or by a restart's number.
_END_OF_SCAN: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_MARKER_IN_DATA: Final = re.compile(rb"\xff[^\x00\xff]")
_MOST_SCANS: Final = 1_000
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


def open_jpeg(content: bytes) -> Container:
    """Keeps the segments that say how pixels are coded, and the scans."""
    kept = [(0, 2)]
    exif = frame = b""
    interval = 0
    for marker, start, end in _segments(content, 2):
        if marker == _SOS:
            add_range(kept, start, len(content))
            whole = b"".join(slices(content, kept))
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
            add_range(kept, start, end)
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
        refuse_many(n_segments, MOST_PARTS, "segments")
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
            refuse_many(n_segments, MOST_PARTS, "segments")
            if marker in _FRAMES:
                is_progressive = marker in _PROGRESSIVE_FRAMES
            if marker == _SOS:
                n_scans += 1
                refuse_many(n_scans, _MOST_SCANS, "scans")
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
