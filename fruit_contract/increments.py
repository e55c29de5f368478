"""What is new: listed minus known. Pure, and the same for the plan in Airflow and for the step on the cluster."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fruit_contract.lake import parse_image_key
from fruit_contract.tables import RejectReason, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


class ListedImage(Protocol):
    """An object of a listing. `etag` is without quotes."""

    @property
    def key(self) -> str: ...
    @property
    def etag(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


@dataclass(frozen=True)
class LedgerLine:
    """What the ledger knows of one image, as far as planning needs it."""

    image_key: str
    etag: str
    category: str
    status: str
    embedder_id: str
    reason: str | None = None
    content_sha256: str | None = None


@dataclass(frozen=True)
class Increment:
    """What one ingest date needs: its images as listed against its ledger, for the categories in scope.

    `unchanged` and `carried` (out of scope) keep their ledger lines; `removed` lose theirs; `new` get one. `damaged` are categories
    that an interrupted run may have left half written.
    """

    ingest_date: str
    new: tuple[ListedImage, ...]
    unchanged: tuple[LedgerLine, ...]
    carried: tuple[LedgerLine, ...]
    removed: tuple[LedgerLine, ...]
    damaged: frozenset[str] = frozenset()

    @property
    def touched(self) -> frozenset[str]:
        """The categories whose partition must be written again."""
        return frozenset(category_of(entry) for entry in self.new) | {line.category for line in self.removed} | self.damaged

    @property
    def is_empty(self) -> bool:
        """Nothing is new, nothing has vanished, nothing is to be mended."""
        return not self.new and not self.removed and not self.damaged

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
    listed: Iterable[ListedImage],
    ledger: Iterable[LedgerLine],
    embedder_id: str,
    scope: Collection[str] = (),
    *,
    retry_rejected: bool = False,
    interrupted: Collection[str] | None = None,
) -> Increment:
    """Compares a date's listing with its ledger, for the categories of `scope` (all of them if it is empty).

    An image is known if the ledger has its key with the same ETag and embedder. One that had vanished and is listed again is new, and
    with `retry_rejected` every rejected one is. `interrupted` are the categories that a run was writing when it was interrupted (None: none
    was): the whole date is then in scope, whatever was asked for, and those categories are written again.
    """
    chosen = frozenset(scope) if interrupted is None else frozenset()
    images: dict[str, ListedImage] = {}
    for entry in listed:
        parts = parse_image_key(entry.key)
        if parts is not None and parts.ingest_date == ingest_date and (not chosen or parts.category in chosen):
            images[entry.key] = entry
    carried: list[LedgerLine] = []
    known: dict[str, LedgerLine] = {}
    for line in ledger:
        if chosen and line.category not in chosen:
            carried.append(line)
        else:
            known[line.image_key] = line

    def is_unchanged(entry: ListedImage) -> bool:
        line = known.get(entry.key)
        if line is None or line.reason == RejectReason.VANISHED or (retry_rejected and line.status == Status.REJECTED):
            return False
        return line.etag == entry.etag and line.embedder_id == embedder_id

    return Increment(
        ingest_date=ingest_date,
        new=tuple(entry for entry in images.values() if not is_unchanged(entry)),
        unchanged=tuple(known[entry.key] for entry in images.values() if is_unchanged(entry)),
        carried=tuple(carried),
        removed=tuple(line for key, line in known.items() if key not in images),
        damaged=frozenset(interrupted or ()),
    )


def category_of(entry: ListedImage) -> str:
    """The category of a listed image. Raises ValueError if the key is not an image's."""
    parts = parse_image_key(entry.key)
    if parts is None:
        raise ValueError(f"'{entry.key}' is not an image's key: the listing must leave it out.")
    return parts.category
