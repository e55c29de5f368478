"""Describes what a store says of an object when it lists it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ListedObject:
    """Describes an object of a listing. `etag` has no quotes around it."""

    key: str
    etag: str
    size_bytes: int
