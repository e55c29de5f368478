from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from fruit_pipeline.claims.claim_book import pca_book
from fruit_pipeline.claims.claims import PCA_TURN, Wish
from fruit_pipeline.emr.airflow_id import AIRFLOW_VARIABLE
from fruit_pipeline.lake.store import Lake
from fruit_pipeline.places import Place, remember, remembered_places
from fruit_pipeline.planning.earlier_clusters import end_clusters_from_before, give_back_elsewhere
from fruit_pipeline.settings import Settings
from tests.plugins.memory_emr import (
    AIRFLOW_ID,
    DAG_ID,
    PLACE,
    SETTINGS,
    Emr,
    api_error,
    context,
    create_cluster,
    deferred,
    of_the_dag,
    run_step,
)
from tests.plugins.sample_lake import DAY, RUN_ID, MemoryS3, held_dates, hold_dates

if TYPE_CHECKING:
    from tests.plugins.memory_variables import MemoryVariables

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]


ANOTHER = "the-id-of-another-airflow"
# What is set when somebody has changed it after the run was planned.
CHANGED = Settings(lake_bucket="another-lake", region="eu-central-1", aws_conn_id="another")


def terminate_cluster(settings: Settings = SETTINGS) -> Any:
    from fruit_pipeline.operators.terminate_cluster import TerminateClusterOperator

    return of_the_dag(
        lambda: TerminateClusterOperator(
            task_id="terminate_cluster",
            settings=settings,
            asking_task_id="create_cluster",
            deciding_task_id="publish_report",
        )
    )


def waited_for(*cluster_ids: str) -> Any:
    """Returns what the task remembers while it waits for the end of clusters in the run's own place."""
    return {"clusters": [[PLACE.as_dict(), list(cluster_ids)]]}


# --- asking for a cluster


def test_a_run_gets_a_cluster(emr: Emr) -> None:
    assert create_cluster().execute(context()) == "j-1"


@pytest.mark.parametrize("error", [ReadTimeoutError(endpoint_url="x"), api_error("InternalServerException", 500)])
def test_a_cluster_whose_id_was_lost_on_the_way_is_found(emr: Emr, error: Exception) -> None:
    emr.lose = [error]
    assert create_cluster().execute(context()) == "j-1"
    assert list(emr.clusters) == ["j-1"]


def test_a_task_that_is_tried_again_uses_the_runs_cluster_and_no_other_runs(emr: Emr) -> None:
    emr.cluster("RUNNING", run_id="manual__other")
    emr.cluster("RUNNING", settings=Settings(lake_bucket="their-lake"))
    emr.cluster("TERMINATED")
    emr.cluster("RUNNING")
    assert create_cluster().execute(context()) == "j-4"
    assert len(emr.clusters) == 4


def test_a_run_of_the_same_id_in_another_airflow_has_a_cluster_of_its_own(
    emr: Emr, caplog: pytest.LogCaptureFixture
) -> None:
    emr.cluster("RUNNING", airflow_id=ANOTHER)
    assert create_cluster().execute(context()) == "j-2"
    assert create_cluster().execute(context()) == "j-2"
    assert emr.terminated == []
    assert "Cluster j-1 is of a run of this id in another Airflow" in caplog.text


def test_a_run_that_a_former_release_planned_goes_on_with_its_cluster(emr: Emr) -> None:
    emr.cluster("RUNNING")
    assert create_cluster(airflow_id="").execute(context()) == "j-1"


def test_throttling_is_waited_out(emr: Emr) -> None:
    emr.refuse = [api_error("ThrottlingException")] * 3
    assert create_cluster().execute(context()) == "j-1"


def test_a_request_that_emr_will_never_take_fails_at_once_with_its_words(emr: Emr) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    emr.refuse = [api_error("ValidationException")] * 2
    with pytest.raises(AirflowFailException, match="ValidationException!"):
        create_cluster().execute(context())
    assert len(emr.refuse) == 1


def test_clusters_that_a_run_has_twice_are_ended_down_to_one(emr: Emr) -> None:
    for _ in range(3):
        emr.cluster("WAITING")
    assert create_cluster().execute(context()) == "j-1"
    assert emr.terminated == ["j-2", "j-3"]


def test_a_link_that_can_not_be_made_does_not_lose_the_cluster(emr: Emr) -> None:
    operator = create_cluster()
    operator.hook.conn = SimpleNamespace(describe_cluster=mock.Mock(side_effect=api_error("AccessDeniedException")))
    assert operator.execute(context()) == "j-1"


def test_somebody_elses_cluster_with_a_name_like_ours_is_in_nobodys_way(emr: Emr, lake: Lake) -> None:
    theirs = emr.cluster("RUNNING", run_id="manual__other")
    emr.step(theirs, "RUNNING")
    emr.denied.add(theirs)
    mine = create_cluster().execute(context())
    assert type(deferred(run_step(mine, one_at_a_time=True)).trigger).__name__ == "StepEndTrigger"
    assert deferred(terminate_cluster()).kwargs == waited_for(mine)


def test_a_cluster_is_asked_for_where_the_run_was_planned_whatever_is_set_by_now(emr: Emr) -> None:
    there = emr.elsewhere["eu-central-1"] = Emr()
    operator = create_cluster(CHANGED)
    assert operator.execute(context()) == "j-1"
    assert (list(emr.clusters), there.clusters) == (["j-1"], {})
    assert (operator._hook_parameters["region_name"], operator._hook_parameters["aws_conn_id"]) == (
        "eu-west-1",
        "aws_default",
    )
    assert deferred(run_step("j-1", CHANGED)).trigger.waiting.lake_bucket == SETTINGS.lake_bucket


def test_a_place_is_remembered_before_there_is_a_cluster_in_it(emr: Emr) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    emr.refuse = [api_error("ValidationException")]
    with pytest.raises(AirflowFailException):
        create_cluster(CHANGED).execute(context())
    assert set(remembered_places()) == {PLACE}


@pytest.mark.parametrize("state", ["success", "failed", "skipped"])
def test_no_cluster_is_asked_for_that_the_teardown_would_not_end(
    emr: Emr, variables: MemoryVariables, state: str
) -> None:
    """As it is when somebody clears *only failed* tasks, of which the teardown is none."""
    from airflow.sdk.exceptions import AirflowFailException

    cleared = context(plan_run="success", create_cluster="running", terminate_cluster=state, write_receipt="success")
    with pytest.raises(AirflowFailException, match=r"clear plan_run with \*downstream\*, without \*only failed\*"):
        create_cluster().execute(cleared)
    assert not emr.clusters
    assert not remembered_places()


@pytest.mark.parametrize("state", [None, "scheduled"])
def test_a_cluster_is_asked_for_again_when_the_teardown_was_cleared_too(emr: Emr, state: str | None) -> None:
    assert (
        create_cluster().execute(context(plan_run="success", create_cluster="running", terminate_cluster=state))
        == "j-1"
    )


# --- ending clusters


def test_ends_every_cluster_of_the_run_whatever_tasks_knew_of_it(emr: Emr, lake: Lake) -> None:
    emr.cluster("RUNNING", run_id="manual__other")
    for state in ("WAITING", "TERMINATING", "STARTING", "TERMINATED"):
        emr.cluster(state)
    waits = deferred(terminate_cluster())
    assert emr.terminated == ["j-2", "j-4"]
    assert waits.trigger.cluster_ids == ["j-2", "j-3", "j-4"]
    assert waits.kwargs == waited_for("j-2", "j-3", "j-4")


def test_clusters_that_end_within_seconds_are_not_waited_for_elsewhere(emr: Emr, lake: Lake) -> None:
    mine, emr.seconds_to_end = emr.cluster("STARTING"), 3
    terminate_cluster().execute(context())
    assert emr.clusters[mine]["Status"]["State"] == "TERMINATED"


def test_clusters_that_emr_does_not_tell_of_at_once_are_waited_for(emr: Emr, lake: Lake) -> None:
    mine = emr.cluster("STARTING")

    unanswered = ReadTimeoutError(endpoint_url="x")
    with mock.patch("fruit_pipeline.operators.terminate_cluster.have_ended_soon", side_effect=unanswered):
        assert deferred(terminate_cluster()).kwargs == waited_for(mine)


@pytest.mark.parametrize("plan_is_there", [True, False])
def test_ends_no_cluster_of_another_airflow(
    emr: Emr, lake: Lake, variables: MemoryVariables, *, plan_is_there: bool
) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    for airflow_id in (ANOTHER, AIRFLOW_ID, ""):
        emr.cluster("WAITING", airflow_id=airflow_id)
    variables.values[AIRFLOW_VARIABLE] = "changed by hand" if plan_is_there else AIRFLOW_ID
    with pytest.raises(TaskDeferred):
        terminate_cluster().execute(context(PLACE.as_dict() if plan_is_there else None))
    assert emr.terminated == ["j-2", "j-3"]


def test_a_run_without_a_cluster_has_nothing_to_end(emr: Emr, lake: Lake) -> None:
    emr.cluster("WAITING", run_id="manual__other")
    emr.cluster("TERMINATED_WITH_ERRORS")
    terminate_cluster().execute(context())
    assert emr.terminated == []


def test_a_cluster_that_was_asked_for_and_is_not_listed_yet_is_looked_for_again(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    killed = context(create_cluster="failed")
    for number in (1, 2):
        killed["ti"].try_number = number
        with pytest.raises(AirflowException, match="looked for again") as caught:
            terminate_cluster().execute(killed)
        assert not isinstance(caught.value, AirflowFailException)
    killed["ti"].try_number = 3
    terminate_cluster().execute(killed)


@pytest.mark.parametrize("state", ["TERMINATED", "TERMINATED_WITH_ERRORS"])
def test_a_cluster_that_is_gone_is_ended_whatever_it_died_of(emr: Emr, lake: Lake, state: str) -> None:
    terminate_cluster().execute_complete(context(), {"status": "error"}, **waited_for(emr.cluster(state)))


def test_a_cluster_that_does_not_end_fails_the_teardown_which_tries_again(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    with pytest.raises(AirflowException, match=r"Not ended within 30 minutes: j-1 \(TERMINATING\)") as caught:
        terminate_cluster().execute_complete(
            context(), {"status": "time_out"}, **waited_for(emr.cluster("TERMINATING"))
        )
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("with_cluster", [True, False])
def test_a_run_that_a_person_marked_as_failed_does_not_end_as_successful(
    emr: Emr, lake: Lake, with_cluster: bool
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    marked = context(extract_features="failed", check_output="skipped", publish_report="skipped")
    operator = terminate_cluster()
    end = partial(operator.execute_complete, event={"status": "ended"}, **waited_for(emr.cluster("TERMINATED")))
    with pytest.raises(AirflowFailException, match="marked as failed while extract_features was under way"):
        (end if with_cluster else operator.execute)(marked)


@pytest.mark.parametrize(
    "states",
    [
        {"extract_features": "success", "publish_report": "running"},
        {"extract_features": "failed", "publish_report": "upstream_failed"},  # the run fails by itself
        {"plan_run": "skipped", "publish_report": "skipped"},
    ],
)
def test_any_other_run_is_decided_by_its_own_tasks(emr: Emr, lake: Lake, states: dict[str, str]) -> None:
    terminate_cluster().execute_complete(
        context(**states), {"status": "ended"}, **waited_for(emr.cluster("TERMINATED"))
    )


def test_ends_the_cluster_of_a_run_whose_region_and_lake_are_no_longer_set(emr: Emr) -> None:
    emr.elsewhere["eu-central-1"] = Emr()
    mine = emr.cluster("WAITING")
    waits = deferred(terminate_cluster(CHANGED))
    assert emr.terminated == [mine]
    assert (waits.trigger.waiting.region, waits.trigger.waiting.lake_bucket) == (PLACE.region, PLACE.lake_bucket)


@pytest.mark.parametrize("place", [None, PLACE.as_dict(), {"lake_bucket": "?"}])
def test_ends_the_clusters_of_every_known_place_one_wait_after_the_other(emr: Emr, lake: Lake, place: Any) -> None:
    """Whether the plan is gone, or another than the one that asked for the first cluster."""
    from airflow.sdk.exceptions import TaskDeferred

    there = emr.elsewhere["eu-central-1"] = Emr()
    emr.cluster("WAITING")
    there.cluster("WAITING", settings=CHANGED)
    there.cluster("WAITING", run_id="manual__other", settings=CHANGED)
    remember(PLACE)
    operator, run = terminate_cluster(CHANGED), context(place)
    regions = []
    come_back: Any = operator.execute
    for _ in range(2):
        with pytest.raises(TaskDeferred) as caught:
            come_back(run)
        regions.append(caught.value.trigger.waiting.region)
        come_back = partial(operator.execute_complete, event={"status": "ended"}, **caught.value.kwargs)
        for cluster in (emr.clusters["j-1"], there.clusters["j-1"]):
            cluster["Status"]["State"] = "TERMINATED"
    come_back(run)
    assert sorted(regions) == ["eu-central-1", "eu-west-1"]
    assert (emr.terminated, there.terminated) == (["j-1"], ["j-1"])


def test_a_place_out_of_reach_fails_only_the_teardown_of_a_run_that_may_have_worked_there(emr: Emr) -> None:
    emr.elsewhere["eu-central-1"] = OutOfReach()
    mine = emr.cluster("WAITING")
    assert deferred(terminate_cluster(CHANGED)).kwargs == waited_for(mine)
    remember(PLACE)
    emr.terminated.clear()
    with pytest.raises(ClientError, match="AccessDenied"):
        terminate_cluster(CHANGED).execute(context(place=None))
    assert emr.terminated == [mine]


class OutOfReach(Emr):
    def get_paginator(self, name: str) -> Any:  # noqa: ARG002  # as EMR has it
        raise api_error("AccessDenied")


@pytest.mark.parametrize("with_cluster", [True, False])
def test_a_run_whose_clusters_have_ended_gives_back_its_turn_at_the_pca(
    emr: Emr, lake: Lake, with_cluster: bool
) -> None:
    operator, book = terminate_cluster(), pca_book(lake)
    book.take(Wish(RUN_ID, (PCA_TURN,)), lambda _: True)
    mine = emr.cluster("TERMINATING")
    with pytest.raises(Exception, match="Not ended"):
        operator.execute_complete(context(), {"status": "time_out"}, **waited_for(mine))
    assert book.read()  # its step may still be at work
    emr.clusters[mine]["Status"]["State"] = "TERMINATED"
    operator.execute_complete(context(), {"status": "ended"}, **waited_for(mine)) if with_cluster else operator.execute(
        context()
    )
    assert book.read() == ()


# --- planning anew


def test_a_run_that_is_planned_anew_in_another_place_ends_its_cluster_in_the_one_before(emr: Emr) -> None:
    emr.elsewhere["eu-central-1"] = Emr()
    mine = emr.cluster("WAITING")
    remember(PLACE)
    assert end_clusters_from_before(CHANGED, DAG_ID, RUN_ID, AIRFLOW_ID) == {PLACE: {mine: "WAITING"}}
    assert emr.terminated == [mine]


def test_a_run_that_is_planned_anew_ends_no_cluster_of_another_airflow(emr: Emr) -> None:
    emr.cluster("WAITING", airflow_id=ANOTHER)
    mine = emr.cluster("WAITING", airflow_id=AIRFLOW_ID)
    assert end_clusters_from_before(SETTINGS, DAG_ID, RUN_ID, AIRFLOW_ID) == {PLACE: {mine: "WAITING"}}
    assert emr.terminated == [mine]


def test_a_place_before_that_is_out_of_reach_holds_no_plan_up_but_the_new_one_does(
    emr: Emr, caplog: pytest.LogCaptureFixture
) -> None:
    emr.elsewhere["eu-central-1"] = OutOfReach()
    remember(Place.of(CHANGED))
    assert end_clusters_from_before(SETTINGS, DAG_ID, RUN_ID, AIRFLOW_ID) == {}
    assert f"{Place.of(CHANGED)} can't be asked" in caplog.text
    with pytest.raises(ClientError, match="AccessDenied"):
        end_clusters_from_before(CHANGED, DAG_ID, RUN_ID, AIRFLOW_ID)


def test_a_run_that_is_planned_anew_in_another_lake_gives_back_what_it_holds_in_the_one_before(
    variables: MemoryVariables,
) -> None:
    lakes = {bucket: Lake(MemoryS3(), bucket) for bucket in (SETTINGS.lake_bucket, CHANGED.lake_bucket)}
    for lake in lakes.values():
        hold_dates(lake, RUN_ID, DAY)
        hold_dates(lake, "manual__other", "2026-11-23")
        pca_book(lake).take(Wish(RUN_ID, (PCA_TURN,)), lambda _: True)
    remember(PLACE)
    with mock.patch("fruit_pipeline.planning.earlier_clusters.lake_of", lambda settings: lakes[settings.lake_bucket]):
        give_back_elsewhere(CHANGED, RUN_ID)
    assert held_dates(lakes[SETTINGS.lake_bucket]) == {"manual__other": ["2026-11-23"]}
    assert held_dates(lakes[CHANGED.lake_bucket]) == {"manual__other": ["2026-11-23"], RUN_ID: [DAY]}
    assert [bool(pca_book(lake).read()) for lake in lakes.values()] == [False, True]
