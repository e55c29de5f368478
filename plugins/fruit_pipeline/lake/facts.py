"""The small records of the lake that others pass around: a stored object, what there is of an embedder, which PCA is
current.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fruit_contract.listing import ListedObject

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


# A date may hold a million of either.
STRAYS_NAMED: Final = 20
REFUSED_CATEGORIES_NAMED: Final = 20


@dataclass(frozen=True)
class DatedObject(ListedObject):
    """An object of a listing, and when it was written by the store's own clock, with its time zone."""

    modified_at: datetime


def is_visible_parquet(key: str, prefix: str) -> bool:
    """Returns whether a reader of the table below `prefix` would read the object: it hides names that begin with '.' or
    '_'.
    """
    names = key.removeprefix(prefix).split("/")
    return key.endswith(".parquet") and not any(name.startswith((".", "_")) for name in names)


@dataclass(frozen=True)
class PcaState:
    """The current version (empty: there is none yet), the number of images and the target that it was fitted with.

    `pending` is a newer version of the same embedder that readers do not use yet: its projections are not complete.
    """

    version: str = ""
    embedder_id: str = ""
    n_samples: int = 0
    target_variance: float = 0.0
    pending: str = ""


@dataclass(frozen=True)
class EmbedderHistory:
    """What there is of one embedder in all dates: images that ledgers name, files of features/, and in which dates
    there are images.
    """

    n_images: int = 0
    n_files: int = 0
    ingest_dates: tuple[str, ...] = ()


@dataclass(frozen=True)
class History:
    """What all ledgers say together. Dates of the earlier form are counted by themselves: their ledgers do not tell
    embedders apart.
    """

    embedders: Mapping[str, EmbedderHistory] = field(default_factory=dict)
    of_earlier_form: EmbedderHistory = EmbedderHistory()

    def of(self, embedder_id: str) -> EmbedderHistory:
        return self.embedders.get(embedder_id, EmbedderHistory())
