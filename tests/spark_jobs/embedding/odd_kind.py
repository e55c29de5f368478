"""Describes a kind of odd picture: its file, and what should become of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fruit_contract.tables import RejectReason
from tests.spark_jobs.embedding.picture_bytes import picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image


TRUNCATED = frozenset({RejectReason.TRUNCATED})
DAMAGED = frozenset({RejectReason.TRUNCATED, RejectReason.UNREADABLE})
UNREADABLE = frozenset({RejectReason.UNREADABLE})
NO_IMAGE = frozenset({RejectReason.NOT_AN_IMAGE})
TOO_MUCH = frozenset({RejectReason.TOO_LARGE, RejectReason.TOO_COSTLY})


@dataclass(frozen=True)
class OddPicture:
    """Describes a kind: its file, and the picture that it shows, or the reasons for which it may be rejected."""

    file_format: str
    content: Callable[[], bytes]
    shows: Callable[[], Image.Image] | None = None
    reasons: frozenset[RejectReason] = frozenset()


def good_kinds(
    file_format: str, files: dict[str, Callable[[], bytes]], shows: Callable[[], Image.Image] = picture
) -> dict[str, OddPicture]:
    return {f"{file_format}: {name}": OddPicture(file_format, content, shows) for name, content in files.items()}


def kinds_with_what_they_show(
    file_format: str, files: dict[str, Callable[[], tuple[bytes, Image.Image]]]
) -> dict[str, OddPicture]:
    """Returns kinds from functions that make a file and the picture that it shows."""
    return {
        f"{file_format}: {name}": OddPicture(file_format, lambda make=make: make()[0], lambda make=make: make()[1])  # type: ignore[misc]
        for name, make in files.items()
    }


def bad_kinds(
    file_format: str, reasons: frozenset[RejectReason], files: dict[str, Callable[[], bytes]]
) -> dict[str, OddPicture]:
    return {
        f"{file_format}: {name}": OddPicture(file_format, content, None, reasons) for name, content in files.items()
    }
