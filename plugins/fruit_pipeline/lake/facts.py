"""Holds the small records of the lake that others pass around: a stored object, what there is of an embedder, which PCA
is current.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fruit_contract.listing import ListedObject

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


# A date may hold a million strays or refused categories, of which only the first few are named.
STRAYS_NAMED: Final = 20
REFUSED_CATEGORIES_NAMED: Final = 20


@dataclass(frozen=True)
class DatedObject(ListedObject):
    """Adds to an object of a listing when it was written, by the store's own clock and with its time zone."""

    modified_at: datetime


def is_visible_parquet(key: str, prefix: str) -> bool:
    """Returns whether a reader of the table below `prefix` would read the object. A reader hides names that begin with
    '.' or '_'.
    """
    names = key.removeprefix(prefix).split("/")
    return key.endswith(".parquet") and not any(name.startswith((".", "_")) for name in names)


@dataclass(frozen=True)
class PcaState:
    """Describes the current version (empty if there is none yet): its embedder, and the number of images and the target
    that it was fitted with.

    `pending` is a newer version of the same embedder that readers do not use yet, because its projections are not
    complete.
    """

    version: str = ""
    embedder_id: str = ""
    n_samples: int = 0
    target_variance: float = 0.0
    pending: str = ""


@dataclass(frozen=True)
class EmbedderHistory:
    """Says what there is of one embedder in all dates: how many images ledgers name, how many files of features/ there
    are, and which dates have images.
    """

    n_images: int = 0
    n_files: int = 0
    ingest_dates: tuple[str, ...] = ()


@dataclass(frozen=True)
class LakeHistory:
    """Says what all ledgers tell together. Dates of the earlier form are counted by themselves, because their ledgers
    do not tell embedders apart.
    """

    embedders: Mapping[str, EmbedderHistory] = field(default_factory=dict)
    of_earlier_form: EmbedderHistory = EmbedderHistory()

    def of(self, embedder_id: str) -> EmbedderHistory:
        return self.embedders.get(embedder_id, EmbedderHistory())
