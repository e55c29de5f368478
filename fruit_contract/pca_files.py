"""Describes the files below `pca/` beside the models: each version's provenance, the pointer to the current one, and
the PCA step's cache.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict

from fruit_contract.commit import MomentsObject

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NotRequired

PCA_CACHE_SCHEMA_VERSION: Final = 1


@dataclass(frozen=True)
class Provenance:
    """Says where a PCA version comes from, as `lake.pca_provenance_key` holds it. `moments_state` names the moments
    that it was fitted on.
    """

    version: str
    embedder_id: str
    n_samples: int
    ingest_dates: tuple[str, ...]
    target_variance: float
    k: int
    variance_kept: float
    target_reached: bool
    release: str
    created_at: str
    moments_state: str = ""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Provenance:
        """Returns the provenance that a parsed JSON object holds."""
        return cls(**{**values, "ingest_dates": tuple(values["ingest_dates"])})


class FormerVersion(TypedDict):
    """Names a version that readers used before, and says until when."""

    version: str
    until: str


class PointerContent(TypedDict):
    """Describes what `lake.CURRENT_PCA_KEY` holds. Earlier releases wrote neither `since` nor `former`."""

    version: str
    k: int
    embedder_id: str
    since: NotRequired[str]
    former: NotRequired[list[FormerVersion]]


@dataclass(frozen=True)
class EmbedderDate:
    """Holds what a date's commit says of an embedder, except for the names of its files."""

    n_images: int
    n_rows: int
    n_files: int
    moments: MomentsObject | None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EmbedderDate:
        """Returns what a parsed JSON object holds."""
        return cls(**{**values, "moments": MomentsObject(**values["moments"]) if values["moments"] else None})

    def to_json(self) -> dict[str, Any]:
        """Returns the object that `from_json` takes."""
        return asdict(self)


class CachedDate(TypedDict):
    """Holds what the cache says of a date: the ETag of its ledger, and an `EmbedderDate` for each embedder."""

    etag: str
    embedders: dict[str, dict[str, Any]]


class PcaCache(TypedDict):
    """Describes what `lake.pca_cache_key` holds: what the ledger of each date says, and for each version and date the
    ETag of the ledger that was projected.
    """

    schema_version: int
    commits: dict[str, CachedDate]
    projected: dict[str, dict[str, str]]
