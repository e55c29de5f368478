from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.release import PinnedRelease
from fruit_pipeline.emr.cluster_request import cluster_request
from fruit_pipeline.emr.states import (
    ALIVE,
    ENDED,
    STEP_ENDED_BADLY,
    cluster_to_use,
    is_of_another_airflow,
    is_of_run,
    is_ours,
    may_be_ours,
    step_to_attach,
)
from fruit_pipeline.settings import Settings

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SETTINGS = Settings(lake_bucket="my-lake")
RUN_ID = "manual__2026-11-22T08:00:00+00:00"
DAG_ID = "fruit_image_pipeline"


def thing(name: str, state: str, minute: int = 0) -> dict[str, Any]:
    status = {"State": state, "Timeline": {"CreationDateTime": START + timedelta(minutes=minute)}}
    return {"Id": f"{name}-{minute}", "Name": name, "Status": status}


def cluster_of(run_id: str, settings: Settings = SETTINGS, airflow_id: str = "") -> dict[str, Any]:
    request = cluster_request(settings, PinnedRelease("r1", "0" * 64), run_id, ["2026-11-22"], airflow_id=airflow_id)
    return {"Name": request["Name"], "Tags": request["Tags"]}


def test_a_cluster_is_recognised_by_the_tags_its_request_had() -> None:
    assert is_of_run(cluster_of(RUN_ID), "my-lake", DAG_ID, RUN_ID)
    assert is_ours(cluster_of(RUN_ID), "my-lake")
    assert may_be_ours(cluster_of(RUN_ID))


@pytest.mark.parametrize(
    "other", ["manual__2026-11-22T08:00:00_00:00", "manual__2026-11-22T08:00:00+00:0", "", "x" * 300]
)
def test_another_runs_cluster_is_not_the_runs_even_if_their_ids_look_alike_in_a_key(other: str) -> None:
    assert not is_of_run(cluster_of(other), "my-lake", DAG_ID, RUN_ID)


def test_a_run_id_that_is_too_long_for_a_tag_is_recognised_by_its_beginning() -> None:
    run_id = "~" * 200
    assert is_of_run(cluster_of(run_id), "my-lake", DAG_ID, run_id)


def test_another_lakes_and_another_products_clusters_are_not_ours() -> None:
    assert not is_ours(cluster_of(RUN_ID, Settings(lake_bucket="their-lake")), "my-lake")
    assert not is_of_run(cluster_of(RUN_ID, Settings(lake_bucket="their-lake")), "my-lake", DAG_ID, RUN_ID)
    assert not is_of_run(cluster_of(RUN_ID), "my-lake", "another_dag", RUN_ID)
    assert not is_ours({"Name": "fruits by hand"}, "my-lake")
    assert not may_be_ours({"Name": "fruitsalad"})


def test_a_cluster_says_which_airflow_asked_for_it_unless_a_former_release_did() -> None:
    assert is_of_another_airflow(cluster_of(RUN_ID, airflow_id="a"), "b")
    assert is_of_another_airflow(cluster_of(RUN_ID, airflow_id="a"), "")
    assert not is_of_another_airflow(cluster_of(RUN_ID, airflow_id="a"), "a")
    assert not is_of_another_airflow(cluster_of(RUN_ID), "a")


def test_the_oldest_living_cluster_is_used_and_the_others_are_surplus() -> None:
    clusters = [
        thing("j", "WAITING", 3),
        thing("j", "TERMINATED", 0),
        thing("j", "STARTING", 2),
        thing("j", "TERMINATING", 1),
    ]
    assert cluster_to_use(clusters) == ("j-2", ["j-3"])
    assert cluster_to_use(clusters[1:2]) == (None, [])


@given(
    st.lists(
        st.tuples(st.sampled_from([*ALIVE, "TERMINATING", *ENDED]), st.integers(0, 99)), unique_by=lambda pair: pair[1]
    )
)
def test_every_living_cluster_is_either_used_or_surplus(drawn: list[tuple[str, int]]) -> None:
    used, surplus = cluster_to_use([thing("j", state, minute) for state, minute in drawn])
    living = {f"j-{minute}" for state, minute in drawn if state in ALIVE}
    assert living == {*surplus, *([used] if used else [])}


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "CANCEL_PENDING", "COMPLETED"])
def test_a_step_that_is_there_is_attached_to(state: str) -> None:
    steps = [
        thing("refresh_pca", "FAILED", 9),
        thing("extract_features", "FAILED", 1),
        thing("extract_features", state, 2),
    ]
    assert step_to_attach(steps, "extract_features") == "extract_features-2"


@pytest.mark.parametrize("state", STEP_ENDED_BADLY)
def test_a_step_that_ended_badly_is_added_again(state: str) -> None:
    steps = [thing("extract_features", "COMPLETED", 1), thing("extract_features", state, 2)]
    assert step_to_attach(steps, "extract_features") is None
    assert step_to_attach([], "extract_features") is None
