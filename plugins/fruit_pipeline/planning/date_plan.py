"""Plans what is to be done for one ingest date, by comparing its listing with its ledger."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from fruit_contract.increments import Fate, ListedImage, compare
from fruit_contract.lake import MANIFEST, SUCCESS_MARKER, LakeNameError, image_category, raw_prefix, refused_category, uri
from fruit_contract.tables import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fruit_contract.increments import KnownImage
    from fruit_pipeline.lake.facts import DatedObject

STRAYS_NAMED: Final = 20
REFUSED_CATEGORIES_NAMED: Final = 20


@dataclass(frozen=True)
class FileState:
    """Says how a date's files differ from what its commit names, in numbers of files.

    `lost` are named and gone, `unswept` are there and not named, `unprojected` have no counterpart under the current PCA version.
    A date `of_earlier_form` has a ledger that a former release wrote, and is not looked at more closely: the run takes it over.
    `n_featurised` is the number of its images with features of the release's embedder.
    """

    lost: int = 0
    unswept: int = 0
    unprojected: int = 0
    of_earlier_form: bool = False
    n_featurised: int = 0


@dataclass(frozen=True)
class DatePlan:
    """Says what is to be done for a date. Counts are of images in the chosen categories; `size_bytes` is that of the new ones.

    `n_leaving` counts the images whose features of an embedder leave the ledger, because they are computed anew or have vanished.
    `strays` are keys that are neither images nor the delivery's own files, so nothing will be done with them; the first few only.
    `refused_categories` are folders of images that can be no category, with the reason: their images are among the strays. First few only.
    `categories_there` are all that have an image, chosen or not.
    `waits_for_pca`: its features are in no PCA version although they could be.
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
    refused_categories: dict[str, str] = field(default_factory=dict)
    categories_there: frozenset[str] = frozenset()
    n_leaving: dict[str, int] = field(default_factory=dict)
    files: FileState = FileState()
    waits_for_pca: bool = False

    @property
    def has_work(self) -> bool:
        files = self.files
        of_files = files.lost or files.unswept or files.unprojected or files.of_earlier_form
        return bool(self.new or self.removed or of_files or self.waits_for_pca)


def plan_date(
    ingest_date: str,
    objects: Iterable[DatedObject],
    known: Iterable[KnownImage],
    embedder_id: str,
    categories: Sequence[str],
    *,
    retry_rejected: bool = False,
    files: FileState = FileState(),  # frozen
) -> DatePlan:
    """Returns the plan for the objects listed under `raw/ingest_date=<ingest_date>/`; no `categories` means all of them.

    Both `objects` and `known` ascend by their keys, and are looked at one after the other. Raises UnsortedImagesError if they don't.
    """
    images = _Images(ingest_date, objects, categories)
    listed, new = Counter[str](), Counter[str]()
    leaving = Counter[str]()
    unchanged = removed = size_bytes = 0
    for fate, image, line in compare(images, known, embedder_id, categories, retry_rejected=retry_rejected):
        if fate is Fate.CARRIED:
            continue
        if fate is not Fate.UNCHANGED and line is not None and line.status == Status.FEATURISED:
            leaving[line.embedder_id or ""] += 1
        if image is not None:
            listed[image.category] += 1
            if fate is Fate.UNCHANGED:
                unchanged += 1
            else:
                new[image.category] += 1
                size_bytes += image.size_bytes
        else:
            removed += 1
    return DatePlan(
        ingest_date=ingest_date,
        images=listed.total(),
        new=new.total(),
        unchanged=unchanged,
        removed=removed,
        size_bytes=size_bytes,
        images_by_category=dict(sorted(listed.items())),
        new_by_category=dict(sorted(new.items())),
        n_strays=images.n_strays,
        strays=images.strays,
        refused_categories=images.refused_categories,
        categories_there=frozenset(images.categories),
        n_leaving=dict(leaving),
        files=files,
    )


def waiting_for_pca(plans: Iterable[DatePlan]) -> list[DatePlan]:
    """Marks the dates that have features of which there could be a PCA and is none."""
    return [replace(plan, waits_for_pca=plan.files.n_featurised > 0) for plan in plans]


def refuse_categories(plans: Iterable[DatePlan], bucket: str) -> None:
    """Raises LakeNameError if images lie in folders that can be no category: each is named, with why and what to do."""
    refused = [(plan.ingest_date, *found) for plan in plans for found in plan.refused_categories.items()]
    if not refused:
        return
    named = [f"{uri(bucket, raw_prefix(day))} holds {category!r}, which is no category: {reason}." for day, category, reason in refused]
    more = [f"And {len(named) - REFUSED_CATEGORIES_NAMED:,} more."] if len(named) > REFUSED_CATEGORIES_NAMED else []
    remedy = "Nothing was started. Rename these folders, or take them out, and run again; or ask for the other categories alone."
    raise LakeNameError("\n".join([*named[:REFUSED_CATEGORIES_NAMED], *more, remedy]))


class _Images:
    """Yields the images among a date's objects, and counts on the way what is neither image nor marker."""

    def __init__(self, ingest_date: str, objects: Iterable[DatedObject], categories: Sequence[str]) -> None:
        self._ingest_date = ingest_date
        self._objects = objects
        self._all_categories = not categories
        self.categories: set[str] = set()
        self.n_strays = 0
        self.strays: list[str] = []
        self.refused_categories: dict[str, str] = {}

    def __iter__(self) -> Iterator[ListedImage]:
        for stored in self._objects:
            category = image_category(stored.key, self._ingest_date)
            if category is not None:
                self.categories.add(category)
                yield ListedImage(stored.key, stored.etag, stored.size_bytes, category)
            elif _is_stray(stored.key, self._ingest_date):
                self.n_strays += 1
                if len(self.strays) < STRAYS_NAMED:
                    self.strays.append(stored.key)
                if self._all_categories and len(self.refused_categories) < REFUSED_CATEGORIES_NAMED:
                    self.refused_categories.update(filter(None, [refused_category(stored.key)]))


def _is_stray(key: str, ingest_date: str) -> bool:
    """Returns whether an object is none that belongs there, as folder placeholders and the delivery's own files do."""
    name = key.removeprefix(raw_prefix(ingest_date))
    return not key.endswith("/") and name not in {SUCCESS_MARKER, MANIFEST}
