"""What is new: listed minus known. Pure, and the same for the plan in Airflow and for the step on the cluster.

Both sides come sorted by key and are merged as they stream, so a date of millions of images needs no more memory than one of ten.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from fruit_contract.tables import RejectReason, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator


class ListedImage(NamedTuple):
    """An image of a listing. `etag` is without quotes."""

    key: str
    etag: str
    size_bytes: int
    category: str


class KnownImage(NamedTuple):
    """What the ledger knows of an image, as far as planning needs it. `has_features` is False if the file it should be in is gone."""

    image_key: str
    etag: str
    category: str
    status: str
    reason: str | None
    embedder_id: str | None
    has_features: bool = True


class Fate(Enum):
    """What the next commit of a date has to do with an image."""

    NEW = "new"  # listed, and not known
    CHANGED = "changed"  # listed and known, but to be computed again: other content, another embedder, or its features are gone
    UNCHANGED = "unchanged"  # listed and known
    REMOVED = "removed"  # known, and listed no more
    CARRIED = "carried"  # not of the chosen categories: it keeps its line


class UnsortedImagesError(ValueError):
    """Images that do not come in ascending order of their keys, each once. The message names the first that does not."""


_Item = TypeVar("_Item")


def compare(
    listed: Iterable[ListedImage],
    known: Iterable[KnownImage],
    embedder_id: str,
    scope: Collection[str] = (),
    *,
    retry_rejected: bool = False,
) -> Iterator[tuple[Fate, ListedImage | None, KnownImage | None]]:
    """Says of every image that is listed or known what becomes of it, for the categories of `scope` (all of them if it is empty).

    Both come in ascending order of their keys, and so do their fates. A listed image out of scope is passed over. An image is unchanged if
    it is known with the same ETag and embedder; one that had vanished and is listed again is not, and with `retry_rejected` no rejected one
    is. O(n), no memory.

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
            fate = Fate.UNCHANGED if _is_unchanged(image, line, embedder_id, retry_rejected=retry_rejected) else Fate.CHANGED
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
            raise UnsortedImagesError(f"'{key}' comes after '{before}': images must come in ascending order of their keys, each once.")
        before = key
        yield item
