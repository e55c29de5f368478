"""Describes what each step says of itself when it is done: the JSON objects that `lake.step_summary_key` holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from fruit_contract.newer_python import StrEnum
from fruit_contract.release import NO_PCA

if TYPE_CHECKING:
    from typing import NotRequired

    from fruit_contract.books import Books

SUMMARY_SCHEMA_VERSION: Final = 1


class PcaAction(StrEnum):
    """Says what the PCA step did: it fitted a version, kept one, or has none."""

    FITTED = "fitted"
    KEPT = "kept"
    NOTHING = NO_PCA


class StepSummary(TypedDict):
    """Holds what every step says."""

    schema_version: int
    step: str
    run_id: str
    release: str
    embedder_id: str
    timings_seconds: dict[str, float]


class RejectedImage(TypedDict):
    """Describes an image without features: its key, the reason, and the decoder's own words."""

    image_key: str
    reason: str
    detail: str


class ExtractionSummary(StepSummary):
    """Holds what the features step says. `rejects` has the first hundred of them; `images_per_second` is None if no
    image was computed.
    """

    engine: str
    ingest_dates: list[str]
    touched_ingest_dates: list[str]
    by_category: Books
    rejects: list[RejectedImage]
    rejected_by_reason: dict[str, int]
    rejected_by_reason_by_date: dict[str, dict[str, int]]
    images_computed: int
    images_per_second: float | None


class PcaOutcome(TypedDict):
    """Says what became of the PCA. If there is none, `pca_version` and what follows from a version are None.

    `damaged_versions` are versions that can't be read and stay for their readers: nothing new is projected under them.
    `retained_variance` is None, too, if fewer than two images are left, because they have no variance.
    """

    action: PcaAction
    reason: str
    pca_version: str | None
    k: int | None
    n_samples_fitted: int | None
    variance_kept: float | None
    retained_variance: float | None
    retained_variance_by_date: dict[str, float]
    target_reached: bool
    projected_ingest_dates: list[str]
    unsettled_ingest_dates: list[str]
    removed_versions: list[str]
    damaged_versions: NotRequired[list[str]]


class RefreshSummary(StepSummary, PcaOutcome):
    """Holds what the PCA step says. `n_samples` is the number of images whose moments were merged, from `moments_read`
    files.
    """

    policy: str
    target_variance: float
    n_samples: int
    moments_read: int
