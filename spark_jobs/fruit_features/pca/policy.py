"""Decides from moments alone whether the PCA is fitted anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fruit_contract.pca import PolicySettings, RefreshPolicy, why_refit
from fruit_features.pca.fit import retained_variance

if TYPE_CHECKING:
    from fruit_features.moments.algebra import Moments
    from fruit_features.pca.versions import PcaVersion


@dataclass(frozen=True)
class Decision:
    """Says whether to fit, and why. The log and the run's record show `reason` to people."""

    fit: bool
    reason: str


def decide_refresh(
    settings: PolicySettings, current: PcaVersion | None, moments: Moments, embedder_id: str
) -> Decision:
    """Applies the policy to the version that readers use now and to the moments of all images."""
    if settings.policy is RefreshPolicy.NEVER:
        return Decision(fit=False, reason="the policy is 'never'")
    if settings.policy is RefreshPolicy.ALWAYS:
        return Decision(fit=True, reason="the policy is 'always'")
    if current is None:
        return Decision(fit=True, reason="there is no PCA version yet")
    model, provenance = current
    if provenance.embedder_id != embedder_id:
        return Decision(fit=True, reason=f"the embedder changed from {provenance.embedder_id} to {embedder_id}")
    reason = why_refit(settings, provenance, moments.n_samples)
    if reason:
        return Decision(fit=True, reason=reason)
    kept = retained_variance(model, moments)
    said = f"version {provenance.version} keeps {kept:.2%} of the variance of all {moments.n_samples:,} images"
    if kept < settings.target_variance - settings.margin:
        return Decision(fit=True, reason=f"{said}, the target is {settings.target_variance:.2%}")
    return Decision(fit=False, reason=said)
