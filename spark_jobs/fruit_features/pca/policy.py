"""Whether the PCA is fitted anew: decided from moments alone, before any image is read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fruit_features.pca.fit import retained_variance

if TYPE_CHECKING:
    from fruit_features.moments.algebra import Moments
    from fruit_features.pca.fit import PcaModel
    from fruit_features.pca.versions import Provenance

DEFAULT_MARGIN: Final = 0.005
DEFAULT_GROWTH: Final = 1.5
DEFAULT_ALWAYS_BELOW: Final = 5_000


class RefreshPolicy(StrEnum):
    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True)
class PolicySettings:
    """`auto` fits when any of these holds:

    - there is no version yet, or it is of another embedder, or of another target;
    - there are fewer images than `always_below`: fitting and projecting them all costs seconds;
    - images grew `growth`-fold since the fit;
    - the current version keeps less than `target_variance - margin` of the variance of all images.
    """

    policy: RefreshPolicy = RefreshPolicy.AUTO
    target_variance: float = 0.95
    margin: float = DEFAULT_MARGIN
    growth: float = DEFAULT_GROWTH
    always_below: int = DEFAULT_ALWAYS_BELOW


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


def decide_refresh(settings: PolicySettings, current: CurrentVersion | None, moments: Moments, embedder_id: str) -> Decision:
    """Applies the policy to the moments of all images."""
    if settings.policy is RefreshPolicy.NEVER:
        return Decision(fit=False, reason="the policy is 'never'")
    if settings.policy is RefreshPolicy.ALWAYS:
        return Decision(fit=True, reason="the policy is 'always'")
    if current is None:
        return Decision(fit=True, reason="there is no PCA version yet")
    return _decide_auto(settings, current, moments, embedder_id)


def _decide_auto(settings: PolicySettings, current: CurrentVersion, moments: Moments, embedder_id: str) -> Decision:
    provenance = current.provenance
    if provenance.embedder_id != embedder_id:
        return Decision(fit=True, reason=f"the embedder changed from {provenance.embedder_id} to {embedder_id}")
    if provenance.target_variance != settings.target_variance:
        return Decision(fit=True, reason=f"the target changed from {provenance.target_variance:g} to {settings.target_variance:g}")
    if moments.n_samples < settings.always_below:
        return Decision(fit=True, reason=f"{moments.n_samples:,} images are few enough to fit anew every time")
    if moments.n_samples >= settings.growth * provenance.n_samples:
        return Decision(fit=True, reason=f"images grew from {provenance.n_samples:,} to {moments.n_samples:,}")
    kept = retained_variance(current.model, moments)
    said = f"version {provenance.version} keeps {kept:.2%} of the variance of all {moments.n_samples:,} images"
    if kept < settings.target_variance - settings.margin:
        return Decision(fit=True, reason=f"{said}, the target is {settings.target_variance:.2%}")
    return Decision(fit=False, reason=said)
