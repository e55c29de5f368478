"""Chooses the PCA version that readers shall use after a step: the current one, an unfinished one, or a new one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_contract.pca_files import Provenance
from fruit_features.moments.history_tree import states_digest
from fruit_features.pca.fit import TooFewImagesError, fit_pca
from fruit_features.pca.policy import Decision, decide_refresh
from fruit_features.pca.versions import PcaVersion, find_version, save_version, unfinished_versions, version_name

if TYPE_CHECKING:
    from fruit_features.lake.store import Store
    from fruit_features.moments.algebra import Moments
    from fruit_features.moments.history import MomentsHistory
    from fruit_features.pca.versions import Pointer


class Choice(NamedTuple):
    """Holds the version that readers shall use, and why it is fitted in this step or kept."""

    version: PcaVersion
    decision: Decision


@dataclass(frozen=True)
class Chooser:
    """Chooses a version. If it fits a new one, it saves it and adds it to `provenances`.

    `unreadable` are the versions that were needed and are gone or damaged. They are treated as if they did not exist.
    """

    store: Store
    embedder_id: str
    release_id: str
    settings: PolicySettings
    switch_embedder: bool
    pointer: Pointer | None
    provenances: dict[str, Provenance]
    history: MomentsHistory
    unreadable: set[str] = field(default_factory=set)

    def choose(self, merged: Moments) -> Choice | str:
        """Returns the version to use, or why there is none. `merged` are the moments of all images."""
        waiting = self._why_wait()
        if waiting:
            return waiting
        current = self._find(self.pointer.version) if self.pointer else None
        pending = self._pending() if self.settings.policy is RefreshPolicy.AUTO else None
        if pending is not None:
            decision = decide_refresh(self.settings, pending, merged, self.embedder_id)
            if not decision.fit:
                return Choice(
                    pending,
                    replace(decision, reason=f"a fit that was interrupted is gone on with, as {decision.reason}"),
                )
        decision = self._decide(current, merged)
        if decision.fit:
            try:
                return Choice(self._fitted(merged), decision)
            except TooFewImagesError as error:
                # The present version stays, so that vanished images can leave its projections all the same.
                # Reasons are joined with other words, so they have no full stop.
                decision = Decision(fit=False, reason=str(error).rstrip("."))
        if current is None:
            return f"{decision.reason}, and {self._why_none()}"
        found = current.provenance
        if found.embedder_id != self.embedder_id:
            return f"{decision.reason}, and the current version {found.version} is of embedder {found.embedder_id}"
        return Choice(current, decision)

    def _decide(self, current: PcaVersion | None, merged: Moments) -> Decision:
        """Applies the policy. If a switch of the embedder was asked for, a fit is due unless the policy is 'never'."""
        is_other = current is not None and current.provenance.embedder_id != self.embedder_id
        if is_other and self.switch_embedder and self.settings.policy is not RefreshPolicy.NEVER:
            return Decision(fit=True, reason=f"the switch to embedder {self.embedder_id} was asked for")
        decision = decide_refresh(self.settings, current, merged, self.embedder_id)
        is_for_want_of_one = current is None and self.settings.policy is RefreshPolicy.AUTO
        return replace(decision, reason=self._why_none()) if is_for_want_of_one else decision

    def _why_none(self) -> str:
        return (
            f"the current version {self.pointer.version} can't be read"
            if self.pointer
            else "there is no PCA version yet"
        )

    def _why_wait(self) -> str | None:
        """Returns why readers stay on a version of another embedder, or None if they need not.

        They stay as long as there are images that only the other embedder has featurised, unless a switch was asked
        for.
        """
        former = self.provenances.get(self.pointer.version) if self.pointer else None
        if former is None or former.embedder_id == self.embedder_id or self.switch_embedder:
            return None
        left = self.history.n_images_by_date(former.embedder_id)
        if not left:
            return None
        return (
            f"{sum(left.values()):,} images of {len(left):,} dates ({min(left)} to {max(left)}) have features of "
            f"embedder {former.embedder_id} only. Until they have some of {self.embedder_id}, version {former.version} "
            "stays the current one. Run these dates, or switch at once with 'Switch to the new embedder now' "
            "(`switch_embedder`)"
        )

    def _pending(self) -> PcaVersion | None:
        """Returns the newest version that a step has fitted and could not finish, or None."""
        ours = (v for v in unfinished_versions(self.provenances, self.pointer) if self._is_ours(self.provenances[v]))
        return next((found for found in map(self._find, ours) if found is not None), None)

    def _find(self, version: str) -> PcaVersion | None:
        found = find_version(self.store, version)
        if found is None:
            self.unreadable.add(version)
        return found

    def _fitted(self, merged: Moments) -> PcaVersion:
        """Returns a new version, or an earlier one with the same model, so that nothing is projected twice.

        The earlier one is written again if it can't be read. Raises TooFewImagesError.
        """
        target = self.settings.target_variance
        model = fit_pca(merged, target)
        for version, provenance in reversed(self.provenances.items()):
            if version.endswith(f"-{model.digest()}") and self._is_ours(provenance):
                if self._find(version) is None:
                    save_version(self.store, model, provenance)
                    self.unreadable.discard(version)
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
