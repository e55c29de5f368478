"""What a store says of an object when it lists it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ListedObject:
    """One object of a listing. `etag` is without quotes."""

    key: str
    etag: str
    size_bytes: int
