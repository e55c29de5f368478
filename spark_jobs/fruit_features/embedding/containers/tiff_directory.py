"""Reads a directory of tags, as TIFF files and EXIF have one."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

UPRIGHT: Final = 1
ORIENTATION: Final = 274
# Struct's letters for whole numbers, by TIFF's number of their type.
_NUMBERS: Final = {3: "H", 4: "L", 8: "h", 9: "l", 16: "Q"}


@dataclass(frozen=True)
class Directory:
    """Holds the first directory of a TIFF: its entries by tag, byte for byte."""

    content: bytes
    order: str
    is_big: bool
    entries: dict[int, bytes]

    @classmethod
    def read(cls, content: bytes) -> Directory | None:
        order = {b"II": "<", b"MM": ">"}.get(content[:2])
        if order is None or len(content) < 16:
            return None
        is_big = 43 in content[2:4]
        (place,) = struct.unpack_from(order + ("Q" if is_big else "L"), content, 8 if is_big else 4)
        head, entry_bytes = (8, 20) if is_big else (2, 12)
        if place + head > len(content):
            return None
        (n_entries,) = struct.unpack_from(order + ("Q" if is_big else "H"), content, place)
        start = place + head
        n_there = min(n_entries, (len(content) - start) // entry_bytes, 0xFFFF)
        entries = [content[start + index * entry_bytes : start + (index + 1) * entry_bytes] for index in range(n_there)]
        return cls(content, order, is_big, {struct.unpack(order + "H", entry[:2])[0]: entry for entry in entries})

    @property
    def orientation(self) -> int:
        """Returns the orientation, 1 to 8, as browsers read it: 1 (upright) unless the tag holds one such number."""
        entry = self.entries.get(ORIENTATION)
        found = self.numbers(ORIENTATION)
        return found[0] if entry is not None and len(found) == 1 and found[0] in range(1, 9) else UPRIGHT

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Returns the whole numbers of a tag, at most 16, or none if the tag is missing or holds others."""
        entry = self.entries.get(tag)
        if entry is None:
            return ()
        kind, count = struct.unpack_from(self.order + ("HQ" if self.is_big else "HL"), entry, 2)
        number = _NUMBERS.get(kind)
        if number is None:
            return ()
        read = struct.Struct(f"{self.order}{min(count, 16)}{number}")
        value = entry[12:] if self.is_big else entry[8:]
        if struct.calcsize(self.order + number) * count > len(value):
            (place,) = struct.unpack(self.order + ("Q" if self.is_big else "L"), value)
            value = self.content[place : place + read.size]
        return read.unpack_from(value) if len(value) >= read.size else ()

    def number(self, tag: int, default: int) -> int:
        return next(iter(self.numbers(tag)), default)

    def with_number(self, tag: int, value: int) -> Directory:
        """Returns the directory with `value`, a number of 16 bits, under a tag that it has."""
        entry = self.entries[tag]
        head = struct.pack(self.order + ("HHQ" if self.is_big else "HHL"), tag, 3, 1)
        changed = (head + struct.pack(self.order + "H", value)).ljust(len(entry), b"\0")
        return replace(self, entries=self.entries | {tag: changed})

    def only(self, tags: frozenset[int]) -> bytes:
        """Returns the file with only these tags, in a new directory at its end.

        What their values point at stays where it is.
        """
        kept = [entry for tag, entry in self.entries.items() if tag in tags]
        number = "Q" if self.is_big else "L"
        place = len(self.content) + len(self.content) % 2
        count = struct.pack(self.order + ("Q" if self.is_big else "H"), len(kept))
        head = self.content[: 8 if self.is_big else 4] + struct.pack(self.order + number, place)
        rest = memoryview(self.content)[len(head) :]
        end = bytes(struct.calcsize(self.order + number))
        return b"".join([head, rest, bytes(len(self.content) % 2), count, *kept, end])
