"""What is new: listed minus known. Pure, so that the books can be checked without Spark or S3."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fruit_contract.lake import parse_image_key
from fruit_contract.tables import RejectReason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from fruit_features.object_store import ListedObject


@dataclass(frozen=True)
class LedgerLine:
    """What the ledger knows of one image, as far as planning needs it."""

    image_key: str
    etag: str
    category: str
    status: str
    embedder_id: str
    reason: str | None = None


@dataclass(frozen=True)
class Increment:
    """What one ingest date needs: its images as listed against its ledger, for the categories in scope.

    `unchanged` and `carried` (out of scope) keep their ledger lines; `removed` lose theirs; `new` get one.
    """

    ingest_date: str
    new: tuple[ListedObject, ...]
    unchanged: tuple[LedgerLine, ...]
    carried: tuple[LedgerLine, ...]
    removed: tuple[LedgerLine, ...]

    @property
    def touched(self) -> frozenset[str]:
        """The categories whose partition must be written again."""
        return frozenset(category_of(entry) for entry in self.new) | {line.category for line in self.removed}

    @property
    def is_empty(self) -> bool:
        """Nothing is new and nothing has vanished."""
        return not self.new and not self.removed

    @property
    def kept(self) -> tuple[LedgerLine, ...]:
        return self.unchanged + self.carried

    def counts(self) -> dict[str, Counter[str]]:
        """Images by category: listed, new, unchanged and removed."""
        new = Counter(category_of(entry) for entry in self.new)
        unchanged = Counter(line.category for line in self.unchanged)
        removed = Counter(line.category for line in self.removed)
        return {"listed": new + unchanged, "new": new, "unchanged": unchanged, "removed": removed}


def plan_increment(
    ingest_date: str,
    listed: Iterable[ListedObject],
    ledger: Iterable[LedgerLine],
    embedder_id: str,
    scope: Collection[str] = (),
) -> Increment:
    """Compares a date's listing with its ledger, for the categories of `scope` (all of them if it is empty).

    An image is known if the ledger has its key with the same ETag and embedder. One that had vanished and is listed again is new.
    """
    images: dict[str, ListedObject] = {}
    for entry in listed:
        parts = parse_image_key(entry.key)
        if parts is not None and (not scope or parts.category in scope):
            images[entry.key] = entry
    carried: list[LedgerLine] = []
    known: dict[str, LedgerLine] = {}
    for line in ledger:
        if scope and line.category not in scope:
            carried.append(line)
        else:
            known[line.image_key] = line

    def is_unchanged(entry: ListedObject) -> bool:
        line = known.get(entry.key)
        if line is None or line.reason == RejectReason.VANISHED:
            return False
        return line.etag == entry.etag and line.embedder_id == embedder_id

    return Increment(
        ingest_date=ingest_date,
        new=tuple(entry for entry in images.values() if not is_unchanged(entry)),
        unchanged=tuple(known[entry.key] for entry in images.values() if is_unchanged(entry)),
        carried=tuple(carried),
        removed=tuple(line for key, line in known.items() if key not in images),
    )


def category_of(entry: ListedObject) -> str:
    """The category of a listed image. Raises ValueError if the key is not an image's."""
    parts = parse_image_key(entry.key)
    if parts is None:
        raise ValueError(f"'{entry.key}' is not an image's key: the listing must leave it out.")
    return parts.category
