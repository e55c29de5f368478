from __future__ import annotations

import contextlib
import gzip
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ReadTimeoutError

from fruit_contract.failures.error_text import find_error
from fruit_contract.failures.record import StepFailure
from fruit_contract.lake import failure_key, pca_claims_key
from fruit_pipeline.claims.claim_book import pca_book
from fruit_pipeline.claims.claims import PCA_TURN, Wish
from tests.plugins.memory_emr import api_error, context, deferred, run_step
from tests.plugins.sample_lake import BUCKET, DAY, RUN_ID, hold_dates

if TYPE_CHECKING:
    from fruit_pipeline.lake.store import Lake
    from tests.plugins.memory_emr import Emr

OTHER = "manual__other"
LONG_AGO = "2026-01-01T00:00:00+00:00"
THROTTLED = (
    "botocore.exceptions.ClientError: An error occurred (SlowDown) when calling the GetObject operation: slow down\n"
)

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]


def test_adds_the_step_once_and_waits_for_it_without_a_slot(emr: Emr, lake: Lake) -> None:
    waits = deferred(run_step(emr.cluster()))
    assert [step["Name"] for step in emr.steps["j-1"]] == ["refresh_pca"]
    assert (waits.trigger.cluster_id, waits.trigger.step_id) == ("j-1", "s-1")
    assert waits.kwargs == {"step_id": "s-1", "was_there": False}
    assert waits.timeout.total_seconds() > 6 * 3600


@pytest.mark.parametrize("error", [ReadTimeoutError(endpoint_url="x"), api_error("InternalServerException", 500)])
def test_a_step_whose_id_was_lost_on_the_way_is_found(emr: Emr, lake: Lake, error: Exception) -> None:
    emr.lose = [error]
    assert deferred(run_step(emr.cluster())).trigger.step_id == "s-1"
    assert len(emr.steps["j-1"]) == 1


def failed_step(
    emr: Emr, ended_ago: timedelta = timedelta(hours=1), cluster: str = "WAITING", state: str = "FAILED"
) -> str:
    """Adds a step that ended badly, for a try of its task to find, and returns its id. By default it ended so long ago
    that no more logs will come.
    """
    step_id = emr.step(emr.cluster(cluster), state)
    emr.steps["j-1"][-1]["Status"]["Timeline"]["EndDateTime"] = datetime.now(UTC) - ended_ago
    return step_id


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_task_that_is_tried_again_attaches_to_its_step(emr: Emr, lake: Lake, state: str) -> None:
    step_id = emr.step(emr.cluster(), state)
    assert deferred(run_step("j-1")).trigger.step_id == step_id
    assert len(emr.steps["j-1"]) == 1


def test_a_step_has_the_same_end_for_every_try_that_waits_for_it(emr: Emr, lake: Lake) -> None:
    emr.step(emr.cluster(), "RUNNING")
    timeline = emr.steps["j-1"][-1]["Status"]["Timeline"]
    timeline["CreationDateTime"] = datetime(2026, 11, 20, 3, tzinfo=UTC)
    assert deferred(run_step("j-1")).trigger.waiting.until == "2026-11-20T09:00:00+00:00"


def test_a_task_that_is_tried_again_does_not_wait_for_a_step_that_has_completed(emr: Emr, lake: Lake) -> None:
    step_id = emr.step(emr.cluster(), "COMPLETED")
    assert run_step("j-1", one_at_a_time=True).execute(context()) == [step_id]
    assert len(emr.steps["j-1"]) == 1


def test_a_task_that_is_tried_again_adds_a_step_that_was_cancelled_anew(emr: Emr, lake: Lake) -> None:
    emr.step(emr.cluster(), "CANCELLED")
    assert deferred(run_step("j-1")).trigger.step_id == "s-2"


def test_a_task_that_is_tried_again_adds_a_step_anew_whose_failure_may_pass(emr: Emr, lake: Lake) -> None:
    put_log(lake, failed_step(emr), THROTTLED)
    assert deferred(run_step("j-1")).trigger.step_id == "s-2"


def test_a_failure_that_is_final_stays_so_for_a_try_that_airflow_makes_by_itself(emr: Emr, lake: Lake) -> None:
    """The worker that waited for the step was lost, or Airflow took it for lost, whatever it had to say of the step."""
    from airflow.sdk.exceptions import AirflowFailException

    put_log(lake, failed_step(emr), "java.lang.OutOfMemoryError: Java heap space\n")
    with pytest.raises(AirflowFailException, match=r"(?s)\(s-1\) on cluster j-1 ended as FAILED.*Cause: out_of_memory"):
        run_step("j-1").execute(context())
    assert len(emr.steps["j-1"]) == 1


def test_a_try_that_finds_a_failed_step_waits_for_its_logs_before_it_judges(emr: Emr, lake: Lake) -> None:
    step_id = failed_step(emr, ended_ago=timedelta(seconds=1))
    operator = run_step("j-1")
    waits = deferred(operator)
    assert (waits.trigger.step_id, waits.method_name) == (step_id, "execute")
    assert len(emr.steps["j-1"]) == 1
    put_log(lake, step_id, THROTTLED)
    put_log(lake, step_id, "", "stdout")
    assert deferred(operator, event={"status": "ended", "state": "FAILED"}).trigger.step_id == "s-2"


def take_turn(lake: Lake, emr: Emr, state: str = "RUNNING", run_id: str = OTHER) -> str:
    """Has another run take the turn at the PCA, with a cluster in that state, and returns the cluster's id."""
    cluster_id = emr.cluster(state, run_id=run_id)
    assert pca_book(lake).take(Wish(run_id, (PCA_TURN,), cluster_id=cluster_id), lambda _: True).held
    return cluster_id


def turn(lake: Lake) -> list[str]:
    """Returns the ids of the runs that have the turn."""
    return [claim.run_id for claim in pca_book(lake).read()]


def test_a_step_waits_without_a_slot_for_its_turn_and_keeps_its_cluster(
    emr: Emr, lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    take_turn(lake, emr)
    mine = emr.cluster()
    operator = run_step(mine, one_at_a_time=True)
    waits = deferred(operator)
    assert (type(waits.trigger).__name__, waits.method_name) == ("ClaimsFreeTrigger", "execute")
    assert (waits.trigger.key, waits.trigger.wish) == (pca_claims_key(), Wish(RUN_ID, (PCA_TURN,)))
    assert emr.steps[mine] == []
    until = datetime.fromisoformat(waits.kwargs["until"])
    assert timedelta(hours=18) < until - datetime.now(UTC) < timedelta(hours=19)
    # EMR must not take the idle cluster away before the turn can have come.
    assert emr.idle_timeouts == [
        pytest.approx((until - datetime.now(UTC) + timedelta(minutes=45)).total_seconds(), abs=5)
    ]
    # It is to look whether the other run still lives, and waits on, until the same moment.
    again = deferred(operator, event={"status": "ended"}, **waits.kwargs)
    assert again.kwargs == waits.kwargs
    assert len(emr.idle_timeouts) == 1
    pca_book(lake).give_back(OTHER)
    assert type(deferred(operator, event={"status": "ended"}, **waits.kwargs).trigger).__name__ == "StepEndTrigger"
    assert (len(emr.steps[mine]), emr.idle_timeouts[1:]) == (1, [1800])
    assert turn(lake) == [RUN_ID]


@pytest.mark.parametrize("end", ["COMPLETED", "FAILED", "CANCELLED"])
def test_the_turn_is_given_back_when_the_step_has_ended_and_not_before(emr: Emr, lake: Lake, end: str) -> None:
    from airflow.sdk.exceptions import AirflowException

    operator = run_step(emr.cluster(), one_at_a_time=True)
    waits = deferred(operator)
    for event in ({"status": "error", "message": "no answer"}, {"status": "time_out"}):
        with pytest.raises(AirflowException):
            operator.execute_complete(context(), event, **waits.kwargs)
        assert turn(lake) == [RUN_ID]  # the step may still run
    operator.on_kill()
    assert turn(lake) == [RUN_ID]
    emr.steps["j-1"][0]["Status"] = {"State": end, "Timeline": {"EndDateTime": datetime(2026, 1, 1, tzinfo=UTC)}}
    with contextlib.suppress(AirflowException):
        operator.execute_complete(context(), {"status": "ended"}, **waits.kwargs)
    assert turn(lake) == []


def test_a_step_that_ended_while_no_try_was_there_does_not_keep_the_turn(emr: Emr, lake: Lake) -> None:
    take_turn(lake, emr, run_id=RUN_ID)
    emr.step("j-1", "COMPLETED")
    run_step("j-1", one_at_a_time=True).execute(context())
    assert turn(lake) == []


@pytest.mark.parametrize(("state", "is_free"), [("RUNNING", False), ("TERMINATING", False), ("TERMINATED", True)])
def test_the_turn_of_a_run_that_has_ended_is_free_when_its_clusters_have(
    emr: Emr, lake: Lake, state: str, is_free: bool
) -> None:
    """A step may run on after its run was given up."""
    take_turn(lake, emr, state)
    trigger = deferred(run_step(emr.cluster(), one_at_a_time=True)).trigger
    assert type(trigger).__name__ == ("StepEndTrigger" if is_free else "ClaimsFreeTrigger")
    assert turn(lake) == [RUN_ID if is_free else OTHER]


def test_the_turn_of_a_run_under_way_is_its_own_also_without_a_cluster(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    take_turn(lake, emr, "TERMINATED")
    under_way = context()
    under_way["ti"].get_dr_count.return_value = 1
    with pytest.raises(TaskDeferred):
        run_step(emr.cluster(), one_at_a_time=True).execute(under_way)
    assert turn(lake) == [OTHER]


def test_a_task_that_was_killed_between_its_turn_and_its_step_goes_on_with_its_turn(emr: Emr, lake: Lake) -> None:
    take_turn(lake, emr, run_id=RUN_ID)
    assert type(deferred(run_step("j-1", one_at_a_time=True)).trigger).__name__ == "StepEndTrigger"
    assert turn(lake) == [RUN_ID]


def test_a_step_that_was_added_already_does_not_wait_for_its_turn_again(emr: Emr, lake: Lake) -> None:
    take_turn(lake, emr)
    mine = emr.cluster()
    step_id = emr.step(mine, "RUNNING")
    assert deferred(run_step(mine, one_at_a_time=True)).trigger.step_id == step_id


@pytest.mark.parametrize(
    "back",
    [("execute", {"event": {"status": "time_out"}, "until": LONG_AGO}), ("__fail__", {"error": "Trigger timeout"})],
)
def test_a_turn_that_does_not_come_fails_the_task_and_names_who_has_it(emr: Emr, lake: Lake, back: Any) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    other = take_turn(lake, emr)
    with pytest.raises(
        AirflowFailException, match=rf"pca \({OTHER}, since .*\), on cluster {other}.*has waited for 18\.5 hours"
    ):
        run_step(emr.cluster(), one_at_a_time=True).resume_execution(*back, context())


@pytest.mark.parametrize(
    "back",
    [("execute", {"event": {"status": "time_out"}, "until": LONG_AGO}), ("__fail__", {"error": "Trigger timeout"})],
)
def test_a_turn_that_is_free_at_the_very_end_is_taken(emr: Emr, lake: Lake, back: Any) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred):
        run_step(emr.cluster(), one_at_a_time=True).resume_execution(*back, context())
    assert len(emr.steps["j-1"]) == 1


def test_a_cluster_that_ends_while_its_step_waits_for_its_turn_ends_the_waiting(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    take_turn(lake, emr)
    mine = emr.cluster("TERMINATED_WITH_ERRORS")
    emr.clusters[mine]["Status"]["StateChangeReason"] = {
        "Code": "INSTANCE_FAILURE",
        "Message": "All slaves were terminated",
    }
    with pytest.raises(AirflowFailException, match="All slaves were terminated"):
        run_step(mine, one_at_a_time=True).execute(context())


def test_an_emr_that_leaves_the_idle_time_out_as_it_is_ends_no_waiting(emr: Emr, lake: Lake) -> None:
    take_turn(lake, emr)
    emr.refuse = [api_error("AccessDeniedException")]
    assert type(deferred(run_step(emr.cluster(), one_at_a_time=True)).trigger).__name__ == "ClaimsFreeTrigger"
    assert emr.idle_timeouts == []


def test_a_try_that_follows_one_that_waited_for_its_turn_puts_the_idle_time_out_back(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    again = context()
    again["ti"].try_number = 2
    with pytest.raises(TaskDeferred):
        run_step(emr.cluster(), one_at_a_time=True).execute(again)
    assert emr.idle_timeouts == [1800]


def test_when_waiting_before_the_step_fails_the_next_try_begins_anew(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowException

    with pytest.raises(AirflowException, match="AccessDenied") as caught:
        run_step(emr.cluster()).execute(context(), event={"status": "error", "message": "AccessDenied"})
    assert is_tried_again(caught.value)


def test_a_step_is_not_added_for_a_run_that_lost_its_dates(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    hold_dates(lake, "another run", DAY)
    operator = run_step(emr.cluster(), needs_claim=True)
    with pytest.raises(AirflowFailException, match=r"The run manual__.* can't be gone on with\. Trigger a new run"):
        operator.execute(context())
    assert emr.steps["j-1"] == []
    hold_dates(lake, RUN_ID, "2026-11-23")
    assert deferred(operator).trigger.step_id == "s-1"


def test_a_completed_step_is_returned(emr: Emr, lake: Lake) -> None:
    step_id = emr.step(emr.cluster(), "COMPLETED")
    assert run_step("j-1").execute_complete(context(), {"status": "ended"}, step_id) == [step_id]


def put_log(lake: Lake, step_id: str, text: str, name: str = "stderr") -> None:
    lake.write(f"logs/j-1/steps/{step_id}/{name}.gz", gzip.compress(text.encode()), "application/gzip")


def failure_of(emr: Emr, lake: Lake, state: str = "FAILED", stderr: str = "", cluster: str = "WAITING") -> Exception:
    from airflow.sdk.exceptions import AirflowException

    step_id = emr.step(emr.cluster(cluster), state)
    if stderr:
        put_log(lake, step_id, stderr)
    with pytest.raises(AirflowException) as caught:
        run_step("j-1").execute_complete(context(), {"status": "ended"}, step_id)
    return caught.value


def is_tried_again(error: Exception) -> bool:
    from airflow.sdk.exceptions import AirflowFailException

    return not isinstance(error, AirflowFailException)


def test_a_step_that_fails_is_explained_from_its_own_log(emr: Emr, lake: Lake) -> None:
    error = failure_of(
        emr, lake, stderr='Traceback (most recent call last):\n  File "job.py", line 7, in main\nValueError: Äpfel\n'
    )
    assert "Step 'refresh_pca' (s-1) on cluster j-1 ended as FAILED" in str(error)
    assert "ValueError: Äpfel" in str(error)
    assert f"s3://{BUCKET}/logs/j-1/steps/s-1/" in str(error)
    assert not is_tried_again(error)


def test_a_failure_that_may_pass_is_tried_again(emr: Emr, lake: Lake) -> None:
    error = failure_of(emr, lake, stderr=THROTTLED)
    assert "added again" in str(error)
    assert is_tried_again(error)


def put_told(lake: Lake, line: str, written_ago: timedelta = timedelta()) -> None:
    """Writes what the step of the operator under test told of its failure."""
    found = find_error({"": f'Traceback (most recent call last):\n  File "job.py", line 7, in main\n{line}\n'})
    assert found
    content = StepFailure.of("refresh_pca", found).to_json()
    lake.client.objects[failure_key(RUN_ID, "refresh_pca")] = (content, datetime.now(UTC) - written_ago)


@pytest.mark.parametrize(
    "error", ["fruit_features.lake.store.LostPlaceError: Another writer", "fruit_features.x.BooksError: Kiwi"]
)
def test_what_the_step_told_itself_decides_and_is_shown_before_any_log_is_there(
    emr: Emr, lake: Lake, error: str
) -> None:
    put_told(lake, error)
    raised = failure_of(emr, lake)
    assert f"The error, in failure.json: {error}" in str(raised)
    assert "The logs have not arrived" not in str(raised)
    assert is_tried_again(raised) == ("LostPlaceError" in error)


def test_what_an_earlier_try_told_is_not_taken_for_this_one_s_failure(emr: Emr, lake: Lake) -> None:
    put_told(lake, "fruit_features.x.BooksError: Kiwi", written_ago=timedelta(days=400))
    error = failure_of(emr, lake, stderr=THROTTLED)
    assert "BooksError" not in str(error)
    assert is_tried_again(error)


def test_a_try_that_finds_a_step_that_told_its_failure_does_not_wait_for_logs(emr: Emr, lake: Lake) -> None:
    failed_step(emr, ended_ago=timedelta(seconds=1))
    put_told(lake, "fruit_features.lake.store.LostPlaceError: Another writer")
    assert deferred(run_step("j-1")).trigger.step_id == "s-2"


def test_nothing_is_tried_again_on_a_cluster_that_is_gone(emr: Emr, lake: Lake) -> None:
    error = failure_of(
        emr,
        lake,
        stderr="An error occurred (SlowDown) when calling the GetObject operation",
        cluster="TERMINATED_WITH_ERRORS",
    )
    assert "clear plan_run with *downstream*, without *only failed* (a new cluster is made)" in str(error)
    assert not is_tried_again(error)


def test_a_step_that_somebody_cancelled_is_not_tried_again(emr: Emr, lake: Lake) -> None:
    error = failure_of(emr, lake, "CANCELLED")
    assert "ended as CANCELLED" in str(error)
    assert not is_tried_again(error)


def test_a_step_that_was_cancelled_with_the_try_before_is_added_again_once(emr: Emr, lake: Lake) -> None:
    """The task was cleared: its first try's trigger cancels the step while the second try finds it."""
    from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

    step_id = emr.step(emr.cluster(), "CANCEL_PENDING")
    operator = run_step("j-1")
    waits = deferred(operator)
    assert waits.kwargs == {"step_id": step_id, "was_there": True}
    emr.steps["j-1"][0]["Status"]["State"] = "CANCELLED"
    with pytest.raises(TaskDeferred) as again:
        operator.execute_complete(context(), {"status": "ended"}, **waits.kwargs)
    assert again.value.kwargs == {"step_id": "s-2", "was_there": False}
    emr.steps["j-1"][1]["Status"]["State"] = "CANCELLED"
    with pytest.raises(AirflowFailException, match="ended as CANCELLED"):
        operator.execute_complete(context(), {"status": "ended"}, **again.value.kwargs)


def test_a_failed_bootstrap_action_is_explained_from_the_nodes_log(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    emr.cluster("TERMINATED_WITH_ERRORS")
    reason = {
        "Code": "BOOTSTRAP_FAILURE",
        "Message": "On the master instance (i-1), bootstrap action 1 returned a non-zero return code",
    }
    emr.clusters["j-1"]["Status"]["StateChangeReason"] = reason
    step_id = emr.step("j-1", "CANCELLED", started=False)
    log = gzip.compress(b"error: No matching distribution found for ai-edge-litert==9.9.9\n")
    lake.write("logs/j-1/node/i-1/bootstrap-actions/1/stderr.gz", log, "application/gzip")
    with pytest.raises(AirflowFailException) as caught:
        run_step("j-1").execute_complete(context(), {"status": "ended"}, step_id)
    for words in ("bootstrap action 1 returned", "No matching distribution found", f"s3://{BUCKET}/logs/j-1/node/"):
        assert words in str(caught.value)


def test_a_cluster_that_ended_before_the_step_was_added_is_explained(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    emr.cluster("TERMINATED_WITH_ERRORS")
    emr.clusters["j-1"]["Status"]["StateChangeReason"] = {
        "Code": "VALIDATION_ERROR",
        "Message": "The subnet does not exist",
    }
    emr.refuse = [api_error("ValidationException")]
    with pytest.raises(AirflowFailException, match=r"(?s)The subnet does not exist.*without \*only failed\*"):
        run_step("j-1").execute(context())


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_a_try_after_one_that_was_lost_says_how_the_step_of_a_dead_cluster_ended(
    emr: Emr, lake: Lake, state: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    failed_step(emr, cluster="TERMINATED_WITH_ERRORS", state=state)
    reason = {"Code": "INSTANCE_FAILURE", "Message": "All slaves in the job flow were terminated"}
    emr.clusters["j-1"]["Status"]["StateChangeReason"] = reason
    emr.refuse = [api_error("ValidationException")]
    with pytest.raises(AirflowFailException, match=rf"\(s-1\) on cluster j-1 ended as {state}") as caught:
        run_step("j-1").execute(context())
    assert "All slaves in the job flow were terminated" in str(caught.value)
    assert "Its cluster is gone" in str(caught.value)


def test_a_step_that_runs_too_long_is_cancelled_and_given_up(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    step_id = emr.step(emr.cluster(), "RUNNING")
    with pytest.raises(AirflowFailException, match="is still RUNNING after 6 hours") as caught:
        run_step("j-1").execute_complete(context(), {"status": "time_out"}, step_id)
    assert "FRUITS_STEP_TIMEOUT_HOURS" in str(caught.value)
    assert emr.cancelled == [step_id]


def test_a_triggerer_that_was_lost_for_too_long_ends_the_same_way(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    step_id = emr.step(emr.cluster(), "RUNNING")
    timed_out = ("__fail__", {"error": "Trigger timeout"})
    with pytest.raises(AirflowFailException, match="is still RUNNING"):
        run_step("j-1").resume_execution(*timed_out, context())
    assert emr.cancelled == [step_id]


@pytest.mark.parametrize("event", [None, {"status": "error", "message": "AccessDenied"}])
def test_when_waiting_fails_the_step_lives_and_the_next_try_attaches(emr: Emr, lake: Lake, event: Any) -> None:
    from airflow.sdk.exceptions import AirflowException

    step_id = emr.step(emr.cluster(), "RUNNING")
    with pytest.raises(AirflowException, match="Waiting for step s-1 of cluster j-1 failed") as caught:
        run_step("j-1").execute_complete(context(), event, step_id)
    assert is_tried_again(caught.value)
    assert emr.cancelled == []


def test_a_task_that_is_killed_cancels_its_step(emr: Emr, lake: Lake) -> None:
    operator = run_step(emr.cluster())
    operator.on_kill()
    assert emr.cancelled == []
    deferred(operator)
    operator.on_kill()
    assert emr.cancelled == ["s-1"]
