from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_pipeline.pca_state import EmbedderHistory, History, PcaOutlook, PcaState, Refit
from fruit_pipeline.settings import Settings

SETTINGS = Settings()
CURRENT = PcaState("v1", "m", n_samples=100_000, target_variance=0.95)


def outlook(n_images: int, state: PcaState = CURRENT, policy: str = "auto", earlier: int = 0, **changed: Any) -> PcaOutlook:
    history = History({"m": EmbedderHistory(n_images, 7)} if n_images else {}, EmbedderHistory(earlier, 1 if earlier else 0))
    return PcaOutlook(state, history, "m", policy, SETTINGS, **changed)


@pytest.mark.parametrize(
    ("seen", "n_more", "reason"),
    [
        (outlook(100_000), 0, None),
        (outlook(100_000), 49_999, None),
        (outlook(100_000), 50_000, "images grow from 100,000 to 150,000"),
        (outlook(90_000, earlier=60_000), 0, "images grow from 100,000 to 150,000"),
        (outlook(5_000), 0, None),
        (outlook(5_000), -1, "4,999 images are few enough to fit anew every time"),
        (outlook(100_000, policy="always"), 0, "the policy is 'always'"),
        (outlook(100_000, policy="never"), 50_000, None),
        (outlook(100_000, replace(CURRENT, target_variance=0.9)), 0, "the target changes from 0.9 to 0.95"),
        (outlook(100_000, replace(CURRENT, pending="v2")), 0, "version v2 is not complete yet"),
        (outlook(0, PcaState()), 2, "there is no version yet"),
        (outlook(0, PcaState()), 1, None),
        (outlook(0, PcaState(), policy="never"), 9, None),
        (outlook(50_000, replace(CURRENT, embedder_id="old")), 49_999, None),
        (outlook(50_000, replace(CURRENT, embedder_id="old")), 50_000, "the embedder changes"),
        (outlook(50_000, replace(CURRENT, embedder_id="old"), switch_embedder=True), 0, "the embedder changes"),
    ],
)
def test_foresees_a_refit(seen: PcaOutlook, n_more: int, reason: str | None) -> None:
    found = seen.refit(n_more)
    assert (found.reason if found else None) == reason


def test_a_refit_projects_what_there_is_already() -> None:
    assert outlook(3_000, earlier=500).refit(10) == Refit("3,510 images are few enough to fit anew every time", 3_500, 8)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (outlook(2, PcaState()), True),
        (outlook(1, PcaState()), False),
        (outlook(2, PcaState(), policy="never"), False),
        (outlook(100_000), False),
        (outlook(99_999, replace(CURRENT, embedder_id="old")), False),  # readers stay on the version that there is
        (outlook(100_000, replace(CURRENT, embedder_id="old")), True),
        (outlook(2, replace(CURRENT, embedder_id="old"), switch_embedder=True), True),
    ],
)
def test_tells_whether_a_version_is_wanting(seen: PcaOutlook, *, expected: bool) -> None:
    assert seen.lacks_version() is expected


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_images_never_make_a_refit_by_growth_less_likely(n_images: int, n_more: int, yet_more: int) -> None:
    settings = replace(SETTINGS, pca_always_below=0)
    seen = replace(outlook(n_images), settings=settings)
    assert not seen.refit(n_more) or seen.refit(n_more + yet_more)
