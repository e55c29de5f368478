"""What lies below `pca/` beside the models: each version's provenance, the pointer to the current one, and the PCA
step's cache.
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
    """Where a PCA version comes from, as `lake.pca_provenance_key` holds it. `moments_state` names the moments that it
    was fitted on.
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
        """Takes the parsed object."""
        return cls(**{**values, "ingest_dates": tuple(values["ingest_dates"])})


class FormerVersion(TypedDict):
    """A version that readers used before, and until when."""

    version: str
    until: str


class PointerContent(TypedDict):
    """What `lake.CURRENT_PCA_KEY` holds. Earlier releases said neither since when nor what came before."""

    version: str
    k: int
    embedder_id: str
    since: NotRequired[str]
    former: NotRequired[list[FormerVersion]]


@dataclass(frozen=True)
class EmbedderDate:
    """What a date's commit says of an embedder, but for the names of its files."""

    n_images: int
    n_rows: int
    n_files: int
    moments: MomentsObject | None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EmbedderDate:
        """Takes the parsed object."""
        return cls(**{**values, "moments": MomentsObject(**values["moments"]) if values["moments"] else None})

    def to_json(self) -> dict[str, Any]:
        """Returns the object that `from_json` takes."""
        return asdict(self)


class CachedDate(TypedDict):
    """What the cache says of a date: the ETag of its ledger, and by embedder an `EmbedderDate`."""

    etag: str
    embedders: dict[str, dict[str, Any]]


class PcaCache(TypedDict):
    """What `lake.pca_cache_key` holds: what ledgers say, by date, and by version and date the ETag of the ledger that
    was projected.
    """

    schema_version: int
    commits: dict[str, CachedDate]
    projected: dict[str, dict[str, str]]
