"""Decides which images are new: those that are listed and not known.

The cluster's step asks `compare`. Airflow's plan and check apply the same rule to columns of Arrow
(`fruit_pipeline.lake.dates.image_fates`), and tests hold the two to each other.

What is listed and what is known both come sorted by key and are merged as they stream. So a date of millions of images
needs no more memory than one of ten.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from fruit_contract.tables import RejectReason, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator


class ListedImage(NamedTuple):
    """Describes an image of a listing. `etag` has no quotes around it."""

    key: str
    etag: str
    size_bytes: int
    category: str


class KnownImage(NamedTuple):
    """Holds what the ledger knows of an image, as far as planning needs it.

    `has_features` is False if the file that should hold its features is gone.
    """

    image_key: str
    etag: str
    category: str
    status: str
    reason: str | None
    embedder_id: str | None
    has_features: bool = True


class Fate(Enum):
    """Says what the next commit of a date does with an image."""

    NEW = "new"  # it is listed and not known
    # it is listed and known, but computed again: its content or the embedder is another, or its features are gone
    CHANGED = "changed"
    UNCHANGED = "unchanged"  # it is listed and known
    REMOVED = "removed"  # it is known and not listed
    CARRIED = "carried"  # it is in none of the chosen categories, and keeps its row


class UnsortedImagesError(ValueError):
    """Raised if images do not come in ascending order of their keys, each once.

    The message names the first image that is out of order.
    """


_Item = TypeVar("_Item")


def compare(
    listed: Iterable[ListedImage],
    known: Iterable[KnownImage],
    embedder_id: str,
    scope: Collection[str] = (),
    *,
    retry_rejected: bool = False,
) -> Iterator[tuple[Fate, ListedImage | None, KnownImage | None]]:
    """Yields what becomes of every image that is listed or known, for the categories of `scope` (for all of them if it
    is empty).

    Both inputs come in ascending order of their keys, and so does the result. A listed image that is out of scope is
    passed over. An image is unchanged if it is known with the same ETag and embedder. It is not unchanged if it had
    vanished before, nor, with `retry_rejected`, if it was rejected. The time is O(n), and the memory does not grow with
    n.

    Raises UnsortedImagesError if an image does not come after the one before it.
    """
    chosen = frozenset(scope)
    images = (image for image in _ascending(listed, lambda image: image.key) if not chosen or image.category in chosen)
    lines = _ascending(known, lambda line: line.image_key)
    image, line = next(images, None), next(lines, None)
    while image is not None or line is not None:
        if line is None or (image is not None and image.key < line.image_key):
            yield Fate.NEW, image, None
            image = next(images, None)
        elif image is None or line.image_key < image.key:
            yield Fate.CARRIED if chosen and line.category not in chosen else Fate.REMOVED, None, line
            line = next(lines, None)
        else:
            fate = (
                Fate.UNCHANGED
                if _is_unchanged(image, line, embedder_id, retry_rejected=retry_rejected)
                else Fate.CHANGED
            )
            yield fate, image, line
            image, line = next(images, None), next(lines, None)


def _is_unchanged(image: ListedImage, line: KnownImage, embedder_id: str, *, retry_rejected: bool) -> bool:
    if line.reason == RejectReason.VANISHED or (retry_rejected and line.status == Status.REJECTED):
        return False
    return line.etag == image.etag and line.embedder_id == embedder_id and line.has_features


def _ascending(items: Iterable[_Item], key_of: Callable[[_Item], str]) -> Iterator[_Item]:
    before = None
    for item in items:
        key = key_of(item)
        if before is not None and key <= before:
            raise UnsortedImagesError(
                f"'{key}' comes after '{before}': images must come in ascending order of their keys, each once."
            )
        before = key
        yield item
