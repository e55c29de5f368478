from __future__ import annotations

from dataclasses import dataclass

import pytest

from fruit_contract.pca import PolicySettings, RefreshPolicy, why_refit


@dataclass(frozen=True)
class Version:
    n_samples: int = 10_000
    target_variance: float = 0.95


SETTINGS = PolicySettings()


@pytest.mark.parametrize(
    ("settings", "n_images", "reason"),
    [
        (SETTINGS, 10_000, None),
        (SETTINGS, 14_999, None),
        (SETTINGS, 15_000, "images grew from 10,000 to 15,000"),
        (SETTINGS, 4_999, "4,999 images are few enough to fit anew every time"),
        (PolicySettings(target_variance=0.9), 10_000, "the target changed from 0.95 to 0.9"),
        (PolicySettings(growth=3.0), 29_999, None),
        (PolicySettings(always_below=0), 1, None),
    ],
)
def test_numbers_of_images_and_the_target_call_for_a_new_version(
    settings: PolicySettings, n_images: int, reason: str | None
) -> None:
    assert why_refit(settings, Version(), n_images) == reason


def test_a_policy_is_its_word() -> None:
    assert [str(policy) for policy in RefreshPolicy] == ["auto", "always", "never"]
