from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from botocore.exceptions import ReadTimeoutError

from fruit_pipeline.planning.claim_book import pca_book
from fruit_pipeline.planning.claims import PCA_TURN, Wish
from fruit_pipeline.settings import Settings
from tests.plugins.memory_emr import SETTINGS, api_error, context, create_cluster, deferred, of_the_dag, run_step
from tests.plugins.sample_lake import RUN_ID

if TYPE_CHECKING:
    from fruit_pipeline.lake.store import Lake
    from tests.plugins.memory_emr import Emr

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]


def terminate_cluster() -> Any:
    from fruit_pipeline.operators.terminate_cluster import TerminateClusterOperator

    return of_the_dag(
        lambda: TerminateClusterOperator(
            task_id="terminate_cluster", settings=SETTINGS, asking_task_id="create_cluster", deciding_task_id="publish_report"
        )
    )


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
    assert deferred(terminate_cluster()).kwargs["cluster_ids"] == [mine]


# --- ending clusters


def test_ends_every_cluster_of_the_run_whatever_tasks_knew_of_it(emr: Emr, lake: Lake) -> None:
    emr.cluster("RUNNING", run_id="manual__other")
    for state in ("WAITING", "TERMINATING", "STARTING", "TERMINATED"):
        emr.cluster(state)
    waits = deferred(terminate_cluster())
    assert emr.terminated == ["j-2", "j-4"]
    assert waits.trigger.cluster_ids == waits.kwargs["cluster_ids"] == ["j-2", "j-3", "j-4"]


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
    terminate_cluster().execute_complete(context(), {"status": "error"}, [emr.cluster(state)])


def test_a_cluster_that_does_not_end_fails_the_teardown_which_tries_again(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    with pytest.raises(AirflowException, match=r"Not ended within 30 minutes: j-1 \(TERMINATING\)") as caught:
        terminate_cluster().execute_complete(context(), {"status": "time_out"}, [emr.cluster("TERMINATING")])
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("with_cluster", [True, False])
def test_a_run_that_a_person_marked_as_failed_does_not_end_as_successful(emr: Emr, lake: Lake, with_cluster: bool) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    marked = context(extract_features="failed", check_output="skipped", publish_report="skipped")
    operator = terminate_cluster()
    end = partial(operator.execute_complete, event={"status": "ended"}, cluster_ids=[emr.cluster("TERMINATED")])
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
    terminate_cluster().execute_complete(context(**states), {"status": "ended"}, [emr.cluster("TERMINATED")])


@pytest.mark.parametrize("with_cluster", [True, False])
def test_a_run_whose_clusters_have_ended_gives_back_its_turn_at_the_pca(emr: Emr, lake: Lake, with_cluster: bool) -> None:
    operator, book = terminate_cluster(), pca_book(lake)
    book.take(Wish(RUN_ID, (PCA_TURN,)), lambda _: True)
    mine = emr.cluster("TERMINATING")
    with pytest.raises(Exception, match="Not ended"):
        operator.execute_complete(context(), {"status": "time_out"}, [mine])
    assert book.read()  # its step may still be at work
    emr.clusters[mine]["Status"]["State"] = "TERMINATED"
    operator.execute_complete(context(), {"status": "ended"}, [mine]) if with_cluster else operator.execute(context())
    assert book.read() == ()
