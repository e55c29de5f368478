"""Holds what a decoder gets of a file, and what the formats' readers have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fruit_contract.tables import RejectReason
from fruit_features.embedding.containers.tiff_directory import UPRIGHT, Directory

# Files of the 128 MB that are fetched at most have as many: libpng writes pieces of 8 KB.
MOST_PARTS: Final = 50_000


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


def orientation_of(exif: bytes) -> int:
    """Returns the orientation in a block of EXIF, 1 to 8, or 1 (upright) if it has none that other readers follow."""
    directory = Directory.read(exif.removeprefix(b"Exif\0\0"))
    return UPRIGHT if directory is None else directory.orientation


def refuse_many(n_parts: int, most: int, what: str) -> None:
    """Raises UnusableFileError for a file of more parts than any good one has."""
    if n_parts > most:
        raise UnusableFileError(RejectReason.TOO_COSTLY, f"it has more than {most:,} {what}")


def add_range(ranges: list[tuple[int, int]], start: int, end: int) -> None:
    """Adds a range of a file to others, as part of the last one if it follows that."""
    if ranges and ranges[-1][1] == start:
        start, _ = ranges.pop()
    ranges.append((start, end))


def slices(content: bytes, ranges: list[tuple[int, int]]) -> list[memoryview]:
    """Returns the ranges of a file, without a copy."""
    return [memoryview(content)[start:end] for start, end in ranges]
