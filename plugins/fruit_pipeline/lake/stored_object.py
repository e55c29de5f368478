"""One object of the lake, as a listing shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True)
class StoredObject:
    """`etag` is without quotes; `modified_at` is the store's own clock, with its time zone."""

    key: str
    size_bytes: int
    etag: str
    modified_at: datetime
