from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fruit_contract.lake import claim_key
from fruit_pipeline.claims import claim, living_claims, require_claim
from fruit_pipeline.cluster_request import cluster_name
from fruit_pipeline.concurrent_runs import Claim, ClaimLostError, DateIsBusyError, busy_dates, has_cluster, refuse_busy_dates

if TYPE_CHECKING:
    from tests.plugins.sample_lake import SampleLake

RUN = "manual__2026-11-22T09:00:00+00:00"


def cluster(name: str) -> dict[str, str]:
    return {"Id": "j-ABC", "Name": name}


def test_the_dates_of_other_runs_are_busy() -> None:
    claims = [Claim("a", ("2026-11-20", "2026-11-21")), Claim("own", ("2026-11-22",))]
    assert busy_dates(claims, "own", ["2026-11-21", "2026-11-22", "2026-11-23"]) == {"2026-11-21": "a"}


def test_busy_dates_are_named_with_the_run_that_works_on_them() -> None:
    refuse_busy_dates({})
    with pytest.raises(DateIsBusyError, match=r"2026-11-21 \(a\)"):
        refuse_busy_dates({"2026-11-21": "a"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (cluster_name(["2026-11-22"], RUN), True),
        (cluster_name(["2026-11-20", "2026-11-22"], RUN), True),
        (cluster_name(["2026-11-22"], f"{RUN}_1"), False),
        (cluster_name(["2026-11-22"], RUN[:-1]), False),
        ("nightly billing manual__2026-11-22T09_00_00_00_00", False),
        ("fruits", False),
    ],
)
def test_a_cluster_bears_the_name_of_its_run(name: str, expected: bool) -> None:
    assert has_cluster(RUN, [cluster("other"), cluster(name)]) is expected


def test_a_name_that_emr_made_us_cut_is_known_again() -> None:
    run_id = "manual__" + "x" * 250
    name = cluster_name(["2026-11-20", "2026-11-22"], run_id)
    assert len(name) == 256
    assert has_cluster(run_id, [cluster(name)])
    assert not has_cluster("manual__" + "y" * 250, [cluster(name)])


def test_claims_end_with_their_runs(empty_lake: SampleLake) -> None:
    lake = empty_lake.lake
    for run_id in ("over", "running", RUN):
        claim(lake, run_id, ["2026-11-22"])

    living = living_claims(lake, RUN, lambda run_id: run_id == "running")

    assert living == [Claim("running", ("2026-11-22",))]
    assert sorted(empty_lake.client.objects) == sorted([claim_key("running"), claim_key(RUN)])


def test_a_run_whose_claim_was_taken_away_can_not_go_on(empty_lake: SampleLake) -> None:
    claim(empty_lake.lake, RUN, ["2026-11-22"])
    require_claim(empty_lake.lake, RUN)
    living_claims(empty_lake.lake, "another", lambda _: False)
    with pytest.raises(ClaimLostError, match="Trigger a new run"):
        require_claim(empty_lake.lake, RUN)
