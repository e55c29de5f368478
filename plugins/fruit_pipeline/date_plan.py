"""What is to be done for one ingest date: its listing against its ledger, in numbers small enough for XCom."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fruit_contract.increments import category_of, plan_increment
from fruit_contract.lake import MANIFEST, SUCCESS_MARKER, LakeNameError, check_category, parse_image_key, raw_prefix

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from fruit_contract.increments import LedgerLine
    from fruit_pipeline.stored_object import StoredObject

STRAYS_NAMED: Final = 20


@dataclass(frozen=True)
class DatePlan:
    """Counts are of images in the chosen categories; `size_bytes` is that of the new ones.

    `strays` are keys that are neither images nor the delivery's own files, so nothing will be done with them; the first few only.
    `interrupted`: a run was cut off while it wrote this date. `unprojected`: its projections are not those of its features.
    """

    ingest_date: str
    images: int
    new: int
    unchanged: int
    removed: int
    size_bytes: int
    images_by_category: dict[str, int]
    new_by_category: dict[str, int]
    n_strays: int
    strays: list[str]
    interrupted: bool = False
    unprojected: bool = False

    @property
    def has_work(self) -> bool:
        return bool(self.new or self.removed or self.interrupted or self.unprojected)


def plan_date(
    ingest_date: str,
    objects: Iterable[StoredObject],
    ledger: Iterable[LedgerLine],
    embedder_id: str,
    categories: Sequence[str],
    *,
    retry_rejected: bool = False,
    interrupted: Collection[str] | None = None,
    unprojected: bool = False,
) -> DatePlan:
    """The plan for the objects listed under `raw/ingest_date=<ingest_date>/`; no `categories` means all of them.

    `interrupted` are the categories an interrupted run was writing, None if none was.
    """
    images: list[StoredObject] = []
    n_strays = 0
    strays: list[str] = []
    for stored in objects:
        if image_category(stored.key, ingest_date) is not None:
            images.append(stored)
        elif _is_stray(stored.key, ingest_date):
            n_strays += 1
            if len(strays) < STRAYS_NAMED:
                strays.append(stored.key)
    increment = plan_increment(ingest_date, images, ledger, embedder_id, categories, retry_rejected=retry_rejected, interrupted=interrupted)
    counts = increment.counts()
    return DatePlan(
        ingest_date=ingest_date,
        images=counts["listed"].total(),
        new=len(increment.new),
        unchanged=len(increment.unchanged),
        removed=len(increment.removed),
        size_bytes=sum(image.size_bytes for image in increment.new),
        images_by_category=dict(sorted(counts["listed"].items())),
        new_by_category=dict(sorted(Counter(category_of(image) for image in increment.new).items())),
        n_strays=n_strays,
        strays=strays,
        interrupted=interrupted is not None,
        unprojected=unprojected,
    )


def image_category(key: str, ingest_date: str) -> str | None:
    """The category of an image's key of this ingest date, or None if the key is not such an image's."""
    parts = parse_image_key(key)
    if parts is None or parts.ingest_date != ingest_date:
        return None
    try:
        return check_category(parts.category)
    except LakeNameError:
        return None


def _is_stray(key: str, ingest_date: str) -> bool:
    """Folder placeholders and the delivery's own files are no strays."""
    name = key.removeprefix(raw_prefix(ingest_date))
    return not key.endswith("/") and name not in {SUCCESS_MARKER, MANIFEST}
