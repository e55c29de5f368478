"""Whether the PCA is fitted anew: decided from moments alone, before any image is read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fruit_features.pca import retained_variance

if TYPE_CHECKING:
    from fruit_features.model_store import Provenance
    from fruit_features.moments import Moments
    from fruit_features.pca import PcaModel

DEFAULT_MARGIN: Final = 0.005
DEFAULT_GROWTH: Final = 1.5


class RefreshPolicy(StrEnum):
    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True)
class CurrentVersion:
    """The PCA version readers use now."""

    model: PcaModel
    provenance: Provenance


@dataclass(frozen=True)
class Decision:
    """`reason` is for people: it stands in the log and in the run's record."""

    fit: bool
    reason: str


def decide_refresh(
    policy: RefreshPolicy,
    current: CurrentVersion | None,
    moments: Moments,
    embedder_id: str,
    target_variance: float,
    *,
    margin: float = DEFAULT_MARGIN,
    growth: float = DEFAULT_GROWTH,
) -> Decision:
    """`auto` fits when the current version keeps less than `target_variance - margin` of all images, or images grew `growth`-fold."""
    if policy is RefreshPolicy.NEVER:
        return Decision(fit=False, reason="the policy is 'never'")
    if policy is RefreshPolicy.ALWAYS:
        return Decision(fit=True, reason="the policy is 'always'")
    if current is None:
        return Decision(fit=True, reason="there is no PCA version yet")
    if current.provenance.embedder_id != embedder_id:
        return Decision(fit=True, reason=f"the embedder changed from {current.provenance.embedder_id} to {embedder_id}")
    if moments.n_samples >= growth * current.provenance.n_samples:
        return Decision(fit=True, reason=f"images grew from {current.provenance.n_samples:,} to {moments.n_samples:,}")
    kept = retained_variance(current.model, moments)
    if kept < target_variance - margin:
        return Decision(
            fit=True, reason=f"version {current.provenance.version} keeps {kept:.2%} of the variance, the target is {target_variance:.2%}"
        )
    return Decision(fit=False, reason=f"version {current.provenance.version} keeps {kept:.2%} of the variance")
