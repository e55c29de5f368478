"""Chooses the PCA version that readers shall use after a step: the one they have, one that a step could not finish, or a new one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_contract.pca_files import Provenance
from fruit_features.moments.history_tree import states_digest
from fruit_features.pca.fit import TooFewImagesError, fit_pca
from fruit_features.pca.policy import Decision, decide_refresh
from fruit_features.pca.versions import PcaVersion, load_version, save_version, version_name, was_used

if TYPE_CHECKING:
    from fruit_features.lake.store import Store
    from fruit_features.moments.algebra import Moments
    from fruit_features.moments.history import History
    from fruit_features.pca.versions import Pointer


class Choice(NamedTuple):
    """The version that readers shall use, and why: it was fitted in this step, or it is kept."""

    version: PcaVersion
    decision: Decision


@dataclass(frozen=True)
class Chooser:
    """What a choice depends on. A version that is fitted is saved, and gets its place in `provenances`."""

    store: Store
    embedder_id: str
    release_id: str
    settings: PolicySettings
    switch_embedder: bool
    pointer: Pointer | None
    provenances: dict[str, Provenance]
    history: History

    def choose(self, merged: Moments) -> Choice | str:
        """Returns the version to use, or why there is none; `merged` are the moments of all images."""
        current = load_version(self.store, self.pointer.version) if self.pointer else None
        waiting = self._why_wait(current)
        if waiting:
            return waiting
        pending = self._pending()
        if pending is not None and self.settings.policy is RefreshPolicy.AUTO:
            decision = decide_refresh(self.settings, pending, merged, self.embedder_id)
            if not decision.fit:
                return Choice(pending, replace(decision, reason=f"a fit that was interrupted is gone on with, as {decision.reason}"))
        decision = self._decide(current, merged)
        if decision.fit:
            try:
                return Choice(self._fitted(merged), decision)
            except TooFewImagesError as error:
                # What has vanished must leave the projections all the same: the version that there is stays.
                decision = Decision(fit=False, reason=str(error))
        if current is None:
            return f"{decision.reason}, and there is no PCA version yet"
        found = current.provenance
        if found.embedder_id != self.embedder_id:
            return f"{decision.reason}, and the current version {found.version} is of embedder {found.embedder_id}"
        return Choice(current, decision)

    def _decide(self, current: PcaVersion | None, merged: Moments) -> Decision:
        """Applies the policy; a switch that was asked for calls for a fit unless the policy is never to fit."""
        is_other = current is not None and current.provenance.embedder_id != self.embedder_id
        if is_other and self.switch_embedder and self.settings.policy is not RefreshPolicy.NEVER:
            return Decision(fit=True, reason=f"the switch to embedder {self.embedder_id} was asked for")
        return decide_refresh(self.settings, current, merged, self.embedder_id)

    def _why_wait(self, current: PcaVersion | None) -> str | None:
        """Says why readers stay on a version of another embedder, if they do: it covers images that this one has not featurised yet."""
        if current is None or current.provenance.embedder_id == self.embedder_id or self.switch_embedder:
            return None
        former = current.provenance
        left = self.history.n_images_by_date(former.embedder_id)
        if not left:
            return None
        return (
            f"{sum(left.values()):,} images of {len(left):,} dates ({min(left)} to {max(left)}) have features of embedder "
            f"{former.embedder_id} only. Until they have some of {self.embedder_id}, version {former.version} "
            "stays the current one. Run these dates, or switch at once with 'Switch to the new embedder now' (`switch_embedder`)"
        )

    def _pending(self) -> PcaVersion | None:
        """Returns the newest version that a step has fitted and could not finish."""
        for version in sorted(self.provenances, reverse=True):
            is_old = self.pointer is not None and version < self.pointer.version
            if not is_old and not was_used(version, self.pointer) and self._is_ours(self.provenances[version]):
                return load_version(self.store, version)
        return None

    def _fitted(self, merged: Moments) -> PcaVersion:
        """Returns a new version, or the earlier one that is the same: nothing is projected twice. Raises TooFewImagesError."""
        target = self.settings.target_variance
        model = fit_pca(merged, target)
        for version, provenance in reversed(self.provenances.items()):
            if version.endswith(f"-{model.digest()}") and self._is_ours(provenance):
                return PcaVersion(model, provenance)
        created_at = datetime.now(UTC)
        dates = self.history.of_embedder(self.embedder_id)
        provenance = Provenance(
            version=version_name(model, created_at),
            embedder_id=self.embedder_id,
            n_samples=merged.n_samples,
            ingest_dates=tuple(sorted(dates)),
            target_variance=target,
            k=model.k,
            variance_kept=model.variance_kept,
            target_reached=model.variance_kept >= target - 1e-12,
            release=self.release_id,
            created_at=created_at.isoformat(),
            moments_state=states_digest({day: found.moments.state for day, found in dates.items() if found.moments}),
        )
        save_version(self.store, model, provenance)
        self.provenances[provenance.version] = provenance
        return PcaVersion(model, provenance)

    def _is_ours(self, provenance: Provenance) -> bool:
        return (provenance.embedder_id, provenance.target_variance) == (self.embedder_id, self.settings.target_variance)
