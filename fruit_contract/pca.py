"""Holds what both sides must know of a PCA: how many images it takes, and when it is fitted anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from fruit_contract.newer_python import StrEnum

# A single image has no variance.
FEWEST_IMAGES_OF_A_PCA: Final = 2
# How many versions stay, the current one among them.
DEFAULT_KEPT_VERSIONS: Final = 3


class RefreshPolicy(StrEnum):
    """Says what decides whether a new version is fitted: the rules of `PolicySettings`, or the person who asks."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True)
class PolicySettings:
    """Says when a new version is fitted. `auto` fits one if any of these holds:

    - there is no version yet, or it is of another embedder, or of another target;
    - there are fewer images than `always_below`: fitting and projecting them all costs seconds;
    - images grew `growth`-fold since the fit;
    - the current version keeps less than `target_variance - margin` of the variance of all images.
    """

    policy: RefreshPolicy = RefreshPolicy.AUTO
    target_variance: float = 0.95
    margin: float = 0.005
    growth: float = 1.5
    always_below: int = 5_000


class FittedVersion(Protocol):
    """Holds what the rules ask of a version: how many images it was fitted on, and the target it was fitted for."""

    @property
    def n_samples(self) -> int: ...

    @property
    def target_variance(self) -> float: ...


def why_refit(settings: PolicySettings, fitted: FittedVersion, n_images: int) -> str | None:
    """Returns why `auto` replaces a version of the same embedder, as far as numbers of images and targets tell; None if
    they don't call for it.

    It does not look at the variance that the version keeps, because only the moments tell that.
    """
    if fitted.target_variance != settings.target_variance:
        return f"the target changed from {fitted.target_variance:g} to {settings.target_variance:g}"
    if n_images < settings.always_below:
        return f"{n_images:,} images are few enough to fit anew every time"
    if n_images >= settings.growth * fitted.n_samples:
        return f"images grew from {fitted.n_samples:,} to {n_images:,}"
    return None
