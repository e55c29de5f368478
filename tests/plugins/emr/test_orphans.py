from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fruit_contract.release import PinnedRelease
from fruit_pipeline.emr.cluster_request import cluster_request
from fruit_pipeline.emr.orphans import Judged, judge_clusters
from fruit_pipeline.emr.states import ENDED
from fruit_pipeline.settings import Settings

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GRACE = timedelta(minutes=20)
LAKE = "my-lake"
UNDER_WAY = "manual__2026-11-22T11:00:00+00:00"
OVER = "backfill__2026-11-20T00:00:00+00:00"


def cluster(
    run_id: str,
    *,
    minutes_old: float = 60,
    state: str = "WAITING",
    lake: str = LAKE,
    airflow_id: str = "this",
    without: str = "",
) -> dict[str, Any]:
    request = cluster_request(
        Settings(lake_bucket=lake), PinnedRelease("r1", "0" * 64), run_id, ["2026-11-22"], airflow_id=airflow_id
    )
    timeline = {"CreationDateTime": NOW - timedelta(minutes=minutes_old)}
    tags = [tag for tag in request["Tags"] if tag["Key"] != without]
    return {
        "Id": f"j-{run_id}",
        "Name": request["Name"],
        "Tags": tags,
        "Status": {"State": state, "Timeline": timeline},
    }


def judge(*clusters: dict[str, Any], airflow_id: str = "this") -> list[Judged]:
    def is_under_way(dag_id: str, run_id: str) -> bool:
        return (dag_id, run_id) == ("fruit_image_pipeline", UNDER_WAY)

    return judge_clusters(clusters, LAKE, NOW, GRACE, is_under_way, airflow_id=airflow_id)


def test_a_cluster_whose_run_is_over_is_an_orphan() -> None:
    (judged,) = judge(cluster(OVER))
    assert judged.is_orphan
    assert judged.run_id == OVER
    assert judged.reason == "its run is over (or deleted) and it is 60 minutes old"


@pytest.mark.parametrize("airflow_id", ["this", ""])
def test_a_cluster_of_another_airflow_is_no_orphan_for_its_runs_are_not_known_here(airflow_id: str) -> None:
    (judged,) = judge(cluster(OVER, minutes_old=6000, airflow_id="another"), airflow_id=airflow_id)
    assert not judged.is_orphan
    assert judged.is_of_another_airflow
    assert judged.reason.startswith("it is of another Airflow, another (this one is ")


def test_a_cluster_that_a_former_release_asked_for_is_judged_by_its_run_alone() -> None:
    judged = judge(cluster(OVER, airflow_id=""), cluster(UNDER_WAY, airflow_id=""))
    assert [(of.is_orphan, of.is_of_another_airflow) for of in judged] == [(True, False), (False, False)]


def test_a_cluster_whose_run_is_under_way_is_left_however_old_it_is() -> None:
    (judged,) = judge(cluster(UNDER_WAY, minutes_old=6000))
    assert not judged.is_orphan


def test_a_young_cluster_is_left_to_its_own_teardown() -> None:
    assert [judged.is_orphan for judged in judge(cluster(OVER, minutes_old=19.9))] == [False]
    assert [judged.is_orphan for judged in judge(cluster(OVER, minutes_old=20))] == [True]


@pytest.mark.parametrize("state", ["TERMINATING", *ENDED])
def test_what_ends_or_has_ended_is_nobodys_business(state: str) -> None:
    assert judge(cluster(OVER, state=state)) == []


def test_clusters_of_other_lakes_and_without_our_tags_are_not_even_judged() -> None:
    theirs = cluster(OVER, lake="their-lake")
    by_hand = cluster(OVER, without="product")
    assert judge(theirs, by_hand) == []


@pytest.mark.parametrize("missing", ["airflow_run_id", "dag_id"])
def test_a_cluster_that_does_not_say_whose_it_is_is_left_to_emrs_idle_time_out(missing: str) -> None:
    (judged,) = judge(cluster(OVER, without=missing))
    assert not judged.is_orphan
    assert "idle" in judged.reason
