from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fruit_contract.lake import claim_key
from fruit_pipeline.errors import ClaimLostError, DateIsBusyError
from fruit_pipeline.planning.claims import Claim, busy_dates, claim, give_up_claim, living_claims, refuse_busy_dates, require_claim

if TYPE_CHECKING:
    from tests.plugins.sample_lake import SampleLake

RUN = "manual__2026-11-22T09:00:00+00:00"


def test_the_dates_of_other_runs_are_busy() -> None:
    claims = [Claim("a", ("2026-11-20", "2026-11-21")), Claim("own", ("2026-11-22",))]
    assert busy_dates(claims, "own", ["2026-11-21", "2026-11-22", "2026-11-23"]) == {"2026-11-21": "a"}


def test_busy_dates_are_named_with_the_run_that_works_on_them() -> None:
    refuse_busy_dates({})
    with pytest.raises(DateIsBusyError, match=r"2026-11-21 \(a\)"):
        refuse_busy_dates({"2026-11-21": "a"})


def test_of_many_busy_dates_a_few_are_named() -> None:
    busy = {f"2026-11-{day:02}": "a" for day in range(1, 31)}
    with pytest.raises(DateIsBusyError, match="working on 30 of the ingest dates") as caught:
        refuse_busy_dates(busy)
    assert "2026-11-08" in str(caught.value)
    assert "2026-11-09" not in str(caught.value)


def test_claims_end_with_their_runs(empty_lake: SampleLake) -> None:
    lake = empty_lake.lake
    for run_id in ("over", "running", RUN):
        claim(lake, run_id, ["2026-11-22"])
    claim(lake, "failed on another date", ["2026-11-20"])

    living = living_claims(lake, RUN, ["2026-11-21", "2026-11-22"], lambda run_id: run_id == "running")

    assert living == [Claim("running", ("2026-11-22",))]
    left = ["running", RUN, "failed on another date"]
    assert sorted(empty_lake.client.objects) == sorted(claim_key(run_id) for run_id in left)


def test_nobody_is_asked_about_a_run_whose_dates_are_not_wanted(empty_lake: SampleLake) -> None:
    """A run that failed keeps its claim, so that it can be gone on with."""
    claim(empty_lake.lake, "failed", ["2026-11-20"])
    assert living_claims(empty_lake.lake, RUN, ["2026-11-21"], lambda _: pytest.fail("asked")) == []
    require_claim(empty_lake.lake, "failed")


def test_a_claim_can_be_given_up_once_and_again(empty_lake: SampleLake) -> None:
    claim(empty_lake.lake, RUN, ["2026-11-22"])
    claim(empty_lake.lake, "another", ["2026-11-22"])
    give_up_claim(empty_lake.lake, RUN)
    give_up_claim(empty_lake.lake, RUN)
    assert list(empty_lake.client.objects) == [claim_key("another")]


def test_a_run_that_claims_again_has_one_claim(empty_lake: SampleLake) -> None:
    claim(empty_lake.lake, RUN, ["2026-11-21", "2026-11-22"])
    claim(empty_lake.lake, RUN, ["2026-11-22"])
    assert living_claims(empty_lake.lake, "another", ["2026-11-22"], lambda _: True) == [Claim(RUN, ("2026-11-22",))]


def test_a_claim_that_goes_away_while_it_is_looked_at_is_none(empty_lake: SampleLake) -> None:
    lake = empty_lake.lake
    for run_id in ("a", "b"):
        claim(lake, run_id, ["2026-11-22"])

    def is_active(_: str) -> bool:
        lake.delete(claim_key("b"))
        return True

    assert [living.run_id for living in living_claims(lake, RUN, ["2026-11-22"], is_active)] == ["a"]


def test_a_run_whose_claim_was_taken_away_can_not_go_on(empty_lake: SampleLake) -> None:
    claim(empty_lake.lake, RUN, ["2026-11-22"])
    require_claim(empty_lake.lake, RUN)
    living_claims(empty_lake.lake, "another", ["2026-11-22"], lambda _: False)
    with pytest.raises(ClaimLostError, match="Trigger a new run"):
        require_claim(empty_lake.lake, RUN)
