from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_pipeline.lake.facts import EmbedderHistory, LakeHistory, PcaState
from fruit_pipeline.planning.pca_state import PcaOutlook, Refit
from fruit_pipeline.settings import Settings

SETTINGS = Settings()
CURRENT = PcaState("v1", "m", n_samples=100_000, target_variance=0.95)


OLD = replace(CURRENT, embedder_id="old")


def outlook(
    n_images: int,
    state: PcaState = CURRENT,
    policy: RefreshPolicy = RefreshPolicy.AUTO,
    earlier: int = 0,
    old: int = 0,
    **changed: Any,
) -> PcaOutlook:
    embedders = {"m": EmbedderHistory(n_images, 7), "old": EmbedderHistory(old, 5)}
    history = LakeHistory(embedders, EmbedderHistory(earlier, 1 if earlier else 0))
    return PcaOutlook(state, history, "m", SETTINGS.pca_rules(policy), **changed)


@pytest.mark.parametrize(
    ("seen", "n_new", "leaving", "reason"),
    [
        (outlook(100_000), 0, {}, None),
        (outlook(100_000), 49_999, {}, None),
        (outlook(100_000), 50_000, {}, "images grew from 100,000 to 150,000"),
        (outlook(100_000), 50_001, {"m": 2}, None),
        (outlook(90_000, earlier=60_000), 0, {}, "images grew from 100,000 to 150,000"),
        (outlook(5_000), 0, {}, None),
        (outlook(5_000), 0, {"m": 1}, "4,999 images are few enough to fit anew every time"),
        (outlook(100_000, policy=RefreshPolicy.ALWAYS), 0, {}, "the policy is 'always'"),
        (outlook(100_000, policy=RefreshPolicy.NEVER), 50_000, {}, None),
        (outlook(100_000, replace(CURRENT, target_variance=0.9)), 0, {}, "the target changed from 0.9 to 0.95"),
        (outlook(100_000, replace(CURRENT, pending="v2")), 0, {}, "version v2 is not complete yet"),
        (outlook(100_000, replace(CURRENT, pending="v2"), policy=RefreshPolicy.NEVER), 0, {}, None),
        (outlook(0, PcaState()), 2, {}, "there is no version yet"),
        (outlook(0, PcaState()), 1, {}, None),
        (outlook(0, PcaState(), policy=RefreshPolicy.NEVER), 9, {}, None),
        (outlook(50_000, OLD, old=10), 10, {"old": 9}, None),  # one image has features of the old one alone
        (outlook(50_000, OLD, old=10), 10, {"old": 10}, "the embedder changes"),
        (outlook(50_000, OLD, earlier=10), 0, {}, None),
        (outlook(50_000, OLD, old=10, switch_embedder=True), 0, {}, "the embedder changes"),
        (outlook(50_000, OLD, policy=RefreshPolicy.NEVER), 0, {}, None),
    ],
)
def test_foresees_a_refit(seen: PcaOutlook, n_new: int, leaving: dict[str, int], reason: str | None) -> None:
    found = seen.refit(n_new, leaving)
    assert (found.reason if found else None) == reason


def test_a_refit_projects_what_there_is_already() -> None:
    assert outlook(3_000, earlier=500).refit(10, {}) == Refit(
        "3,510 images are few enough to fit anew every time", 3_500, 8
    )


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (outlook(2, PcaState()), True),
        (outlook(1, PcaState()), False),
        (outlook(2, PcaState(), policy=RefreshPolicy.NEVER), False),
        (outlook(100_000), False),
        (outlook(100_000, OLD, old=1), False),  # readers stay on the version that there is
        (outlook(100_000, OLD), True),
        (outlook(100_000, OLD, policy=RefreshPolicy.NEVER), False),
        (outlook(2, OLD, old=1, switch_embedder=True), True),
        (outlook(1, OLD, switch_embedder=True), False),
    ],
)
def test_tells_whether_a_version_is_wanting(seen: PcaOutlook, *, expected: bool) -> None:
    assert seen.lacks_version() is expected


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_images_never_make_a_refit_by_growth_less_likely(n_images: int, n_new: int, yet_more: int) -> None:
    seen = replace(outlook(n_images), policy=PolicySettings(always_below=0))
    assert not seen.refit(n_new, {}) or seen.refit(n_new + yet_more, {})
