from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.lake import moments_state_key
from fruit_pipeline.pca_state import PcaState, is_unprojected

DAY = "2026-11-22"


def state(name: str, embedder_id: str = "m", day: str = DAY) -> str:
    return moments_state_key(day, embedder_id, name)


@pytest.mark.parametrize(
    ("keys", "pca", "policy", "expected"),
    [
        ([state("5-a")], PcaState("m", {DAY: "5-a"}), "auto", False),
        ([state("6-b")], PcaState("m", {DAY: "5-a"}), "auto", True),
        ([state("6-b")], PcaState("m"), "never", True),  # the version stays, its projections grow
        ([state("5-a"), state("6-b")], PcaState("m", {DAY: "5-a"}), "auto", True),  # cut off between the two
        ([], PcaState("m", {DAY: "5-a"}), "auto", True),  # everything vanished
        ([], PcaState("m"), "auto", False),
        ([], PcaState(), "auto", False),
        ([state("2-a")], PcaState(), "auto", True),
        ([state("1-a")], PcaState(), "auto", False),  # too few for a PCA
        ([state("5-a")], PcaState(), "never", False),
        ([state("5-a")], PcaState("old"), "auto", True),
        ([state("5-a")], PcaState("old"), "never", False),
        ([state("5-a", "old")], PcaState("m"), "auto", False),  # of another embedder
        (["moments/_states/what", state("5-a", day="2026-11-21")], PcaState("m"), "auto", False),
    ],
)
def test_tells_whether_the_pca_step_has_something_to_do_for_a_date(keys: list[str], pca: PcaState, policy: str, expected: bool) -> None:
    assert is_unprojected(DAY, keys, pca, "m", policy) is expected


STATES = st.sets(st.sampled_from(["5-a", "6-b", "7-c"]))


@given(STATES, st.sampled_from([None, "5-a", "6-b"]), st.sampled_from(["auto", "always", "never"]))
def test_a_date_of_the_current_embedder_has_work_unless_its_one_state_is_the_projected_one(
    states: set[str], projected: str | None, policy: str
) -> None:
    """As the PCA step sees it: a date with two states is in none that was ever projected."""
    now = "+".join(sorted(states)) or None
    pca = PcaState("m", {} if projected is None else {DAY: projected})
    assert is_unprojected(DAY, [state(name) for name in sorted(states)], pca, "m", policy) is (projected != now)
