"""Foresees what a run will have to do about the PCA version that readers use.

What the cluster's own policy decides from moments (how much of the variance a version keeps) can't be foreseen here;
everything else can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fruit_contract.pca import FEWEST_IMAGES_OF_A_PCA, RefreshPolicy, why_refit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fruit_contract.pca import PolicySettings
    from fruit_pipeline.lake.facts import LakeHistory, PcaState


@dataclass(frozen=True)
class Refit:
    """Describes a new PCA that is foreseen: why, and how many images and files are projected under it."""

    reason: str
    n_images: int
    n_files: int


@dataclass(frozen=True)
class PcaOutlook:
    """Holds what a run finds: the current version, the history, and what the run and the settings ask for
    (`policy`).
    """

    state: PcaState
    history: LakeHistory
    embedder_id: str
    policy: PolicySettings
    switch_embedder: bool = False

    @property
    def is_migration(self) -> bool:
        """Returns whether the version that readers use is of another embedder than the release."""
        return bool(self.state.version) and self.state.embedder_id != self.embedder_id

    def lacks_version(self) -> bool:
        """Returns whether, before anything new is done, the release's embedder has no version although its images call
        for one.
        """
        if (
            self.policy.policy is RefreshPolicy.NEVER
            or self.history.of(self.embedder_id).n_images < FEWEST_IMAGES_OF_A_PCA
        ):
            return False
        return not self.state.version or (self.is_migration and self._may_switch({}))

    def refit(self, n_new: int, n_leaving: Mapping[str, int]) -> Refit | None:
        """Returns the new version that is to be expected of a run that featurises `n_new` images, or None.

        `n_leaving` counts, by embedder, the images whose features leave the ledgers, because they are featurised anew
        or have vanished.
        """
        own, earlier = self.history.of(self.embedder_id), self.history.of_earlier_form
        n_images = max(0, own.n_images + earlier.n_images + n_new - n_leaving.get(self.embedder_id, 0))
        reason = self._reason(n_images, n_leaving) if n_images >= FEWEST_IMAGES_OF_A_PCA else None
        # New images are projected in any case.
        return Refit(reason, own.n_images + earlier.n_images, own.n_files + earlier.n_files) if reason else None

    def _reason(self, n_images: int, n_leaving: Mapping[str, int]) -> str | None:
        state = self.state
        if self.policy.policy is RefreshPolicy.NEVER:
            return None
        if not state.version:
            return "there is no version yet"
        if self.is_migration:
            return "the embedder changes" if self._may_switch(n_leaving) else None
        if self.policy.policy is RefreshPolicy.ALWAYS:
            return "the policy is 'always'"
        if state.pending:
            return f"version {state.pending} is not complete yet"
        return why_refit(self.policy, state, n_images)

    def _may_switch(self, n_leaving: Mapping[str, int]) -> bool:
        """Returns whether readers may leave another embedder's version: no image has only its features, or somebody
        asks for the switch.
        """
        former = self.state.embedder_id
        n_left = self.history.of(former).n_images + self.history.of_earlier_form.n_images
        return self.switch_embedder or n_left <= n_leaving.get(former, 0)
