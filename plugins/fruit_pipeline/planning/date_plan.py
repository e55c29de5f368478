"""Says what is to be done for one ingest date, by what its listing and its ledger have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fruit_contract.lake import LakeNameError, raw_prefix, uri
from fruit_pipeline.lake.facts import REFUSED_CATEGORIES_NAMED, STRAYS_NAMED

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class FileState:
    """Says how a date's files differ from what its commit names, in numbers of files.

    `lost` are named and gone, `unswept` are there and not named, `unprojected` have no counterpart under the current
    PCA version. A date `of_earlier_form` has a ledger of an earlier release, and is not looked at more closely: the run
    takes it over. `n_featurised` is the number of its images with features of the release's embedder.
    """

    lost: int = 0
    unswept: int = 0
    unprojected: int = 0
    of_earlier_form: bool = False
    n_featurised: int = 0


@dataclass(frozen=True)
class DatePlan:
    """Says what is to be done for a date. Counts are of images in the chosen categories; `size_bytes` is that of the
    new ones.

    `n_leaving` counts, by embedder, the images whose features leave the ledger, because they are computed anew or have
    vanished. `strays` are keys that are neither images nor the delivery's own files, so nothing will be done with them.
    `refused_categories` are folders of images that can be no category, with the reason; their images are among the
    strays. Both hold only the first few. `categories_there` are all that have an image, chosen or not. `waits_for_pca`
    says that the date's features are in no PCA version although they could be.
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


@dataclass(frozen=True)
class DateCounts:
    """Counts the images of a date, or those in a range of its keys. The fields mean the same as those of a DatePlan."""

    images_by_category: Counter[str] = field(default_factory=Counter)
    new_by_category: Counter[str] = field(default_factory=Counter)
    removed: int = 0
    size_bytes: int = 0
    n_leaving: Counter[str] = field(default_factory=Counter)
    n_strays: int = 0
    strays: list[str] = field(default_factory=list)
    refused_categories: dict[str, str] = field(default_factory=dict)
    categories_there: frozenset[str] = frozenset()

    def __add__(self, other: DateCounts) -> DateCounts:
        return DateCounts(
            images_by_category=self.images_by_category + other.images_by_category,
            new_by_category=self.new_by_category + other.new_by_category,
            removed=self.removed + other.removed,
            size_bytes=self.size_bytes + other.size_bytes,
            n_leaving=self.n_leaving + other.n_leaving,
            n_strays=self.n_strays + other.n_strays,
            strays=sorted(self.strays + other.strays)[:STRAYS_NAMED],
            refused_categories=dict(
                sorted((self.refused_categories | other.refused_categories).items())[:REFUSED_CATEGORIES_NAMED]
            ),
            categories_there=self.categories_there | other.categories_there,
        )


def plan_date(ingest_date: str, counts: DateCounts, files: FileState) -> DatePlan:
    """Returns the plan for a date of which all images were counted."""
    images, new = counts.images_by_category.total(), counts.new_by_category.total()
    return DatePlan(
        ingest_date=ingest_date,
        images=images,
        new=new,
        unchanged=images - new,
        removed=counts.removed,
        size_bytes=counts.size_bytes,
        images_by_category=dict(sorted(counts.images_by_category.items())),
        new_by_category=dict(sorted(counts.new_by_category.items())),
        n_strays=counts.n_strays,
        strays=counts.strays,
        refused_categories=counts.refused_categories,
        categories_there=counts.categories_there,
        n_leaving=dict(counts.n_leaving),
        files=files,
    )


def waiting_for_pca(plans: Iterable[DatePlan]) -> list[DatePlan]:
    """Returns the plans with those dates marked that have features, for which there could be a PCA and is none."""
    return [replace(plan, waits_for_pca=plan.files.n_featurised > 0) for plan in plans]


def refuse_categories(plans: Iterable[DatePlan], bucket: str) -> None:
    """Raises LakeNameError if images lie in folders that can be no category. The message names each, with why and what
    to do.
    """
    refused = [(plan.ingest_date, *found) for plan in plans for found in plan.refused_categories.items()]
    if not refused:
        return
    named = [
        f"{uri(bucket, raw_prefix(day))} holds {category!r}, which is no category: {reason}."
        for day, category, reason in refused
    ]
    more = [f"And {len(named) - REFUSED_CATEGORIES_NAMED:,} more."] if len(named) > REFUSED_CATEGORIES_NAMED else []
    remedy = (
        "Nothing was started. Rename these folders, or take them out, and run again; or ask for the other "
        "categories alone."
    )
    raise LakeNameError("\n".join([*named[:REFUSED_CATEGORIES_NAMED], *more, remedy]))
