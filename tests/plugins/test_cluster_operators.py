# ruff: noqa: ARG002, N803  # boto3 names its arguments so

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from fruit_pipeline.claims import claim
from fruit_pipeline.cluster_request import cluster_request
from fruit_pipeline.emr_requests import ask_once
from fruit_pipeline.lake_reader import Lake
from fruit_pipeline.settings import Settings
from tests.plugins.sample_lake import BUCKET, DAY, RUN_ID, MemoryS3

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

DAG_ID = "fruit_image_pipeline"
SETTINGS = Settings(lake_bucket=BUCKET, poll_seconds=1)
REQUEST = cluster_request(SETTINGS, "r1", RUN_ID, [DAY])
STEP = {"Name": "refresh_pca", "ActionOnFailure": "CONTINUE", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["true"]}}
FILES = "fruit_pipeline.operators"


def api_error(code: str, status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": f"{code}!"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "x")


class Emr:
    """An EMR in memory. `lose` are errors that the next requests end in although they were carried out, `refuse` although they were not."""

    def __init__(self) -> None:
        self.clusters: dict[str, dict[str, Any]] = {}
        self.steps: dict[str, list[dict[str, Any]]] = {}
        self.lose: list[Exception] = []
        self.refuse: list[Exception] = []
        self.cancelled: list[str] = []
        self.terminated: list[str] = []
        self.denied: set[str] = set()
        self.clock = 0

    def cluster(self, state: str = "WAITING", run_id: str = RUN_ID, settings: Settings = SETTINGS) -> str:
        request = cluster_request(settings, "r1", run_id, [DAY])
        cluster_id = f"j-{len(self.clusters) + 1}"
        self.clusters[cluster_id] = {
            "Id": cluster_id,
            "Name": request["Name"],
            "Tags": request["Tags"],
            "LogUri": request["LogUri"],
            "Status": {"State": state, "Timeline": {"CreationDateTime": self._now()}},
        }
        self.steps[cluster_id] = []
        return cluster_id

    def step(self, cluster_id: str, state: str, name: str = "refresh_pca", *, started: bool = True) -> str:
        step_id = f"s-{sum(map(len, self.steps.values())) + 1}"
        timeline = {"CreationDateTime": self._now()}
        if started:
            timeline |= {"StartDateTime": self._now(), "EndDateTime": self._now()}
        self.steps[cluster_id].append({"Id": step_id, "Name": name, "Status": {"State": state, "Timeline": timeline}})
        return step_id

    def run_job_flow(self, **request: Any) -> Any:
        self._maybe(self.refuse)
        assert request == REQUEST
        cluster_id = self.cluster("STARTING")
        self._maybe(self.lose)
        return {"JobFlowId": cluster_id}

    def add_job_flow_steps(self, *, JobFlowId: str, Steps: list[Any]) -> Any:
        self._maybe(self.refuse)
        ids = [self.step(JobFlowId, "PENDING", step["Name"], started=False) for step in Steps]
        self._maybe(self.lose)
        return {"StepIds": ids}

    def describe_cluster(self, *, ClusterId: str) -> Any:
        if ClusterId in self.denied:
            raise api_error("AccessDeniedException")
        return {"Cluster": self.clusters[ClusterId]}

    def describe_step(self, *, ClusterId: str, StepId: str) -> Any:
        return {"Step": next(step for step in self.steps[ClusterId] if step["Id"] == StepId)}

    def cancel_steps(self, *, ClusterId: str, StepIds: list[str], StepCancellationOption: str) -> None:
        self.cancelled += StepIds

    def terminate_job_flows(self, *, JobFlowIds: list[str]) -> None:
        self.terminated += JobFlowIds

    def get_paginator(self, name: str) -> Any:
        def clusters(ClusterStates: list[str] | None = None, **_: Any) -> Any:
            found = [cluster for cluster in self.clusters.values() if not ClusterStates or cluster["Status"]["State"] in ClusterStates]
            return [{"Clusters": [{"Id": cluster["Id"], "Name": cluster["Name"]} for cluster in found]}]

        def steps(ClusterId: str, StepStates: list[str] | None = None) -> Any:
            found = [step for step in self.steps[ClusterId] if not StepStates or step["Status"]["State"] in StepStates]
            return [{"Steps": list(reversed(found))}]

        return SimpleNamespace(paginate={"list_clusters": clusters, "list_steps": steps}[name])

    def _maybe(self, errors: list[Exception]) -> None:
        if errors:
            raise errors.pop(0)

    def _now(self) -> datetime:
        self.clock += 1
        return datetime(2026, 11, 22, 8, self.clock, tzinfo=UTC)


@pytest.fixture
def emr() -> Iterator[Emr]:
    emr = Emr()
    with (
        mock.patch(f"{FILES}.create_cluster.emr_client", return_value=emr),
        mock.patch(f"{FILES}.run_step.emr_client", return_value=emr),
        mock.patch(f"{FILES}.terminate_cluster.emr_client", return_value=emr),
        mock.patch(f"{FILES}.create_cluster.ask_once", partial(ask_once, sleep=lambda _: None)),
        mock.patch(f"{FILES}.run_step.ask_once", partial(ask_once, sleep=lambda _: None)),
    ):
        yield emr


@pytest.fixture
def lake() -> Iterator[Lake]:
    lake = Lake(MemoryS3(), BUCKET)
    with mock.patch(f"{FILES}.run_step.lake_of", return_value=lake):
        yield lake


def context(**states: str) -> Any:
    task_instance = mock.Mock()
    task_instance.get_task_states.return_value = {RUN_ID: states}
    return {"dag_run": SimpleNamespace(run_id=RUN_ID), "ti": task_instance}


def of_the_dag(make: Any) -> Any:
    """The operator as the DAG has it: its id is part of a cluster's tags."""
    from airflow.sdk import DAG

    with DAG(DAG_ID, schedule=None):
        operator = make()
    hook = SimpleNamespace(conn=operator_client(), conn_region_name="eu-west-1", conn_partition="aws")
    operator.__dict__["hook"] = hook  # a cached property of the provider's base class
    return operator


def operator_client() -> Any:
    return SimpleNamespace(describe_cluster=lambda **_: {"Cluster": {"LogUri": f"s3://{BUCKET}/logs/"}})


def create_cluster() -> Any:
    from fruit_pipeline.operators.create_cluster import CreateClusterOperator

    return of_the_dag(lambda: CreateClusterOperator(task_id="create_cluster", settings=SETTINGS, job_flow_overrides=REQUEST))


def terminate_cluster() -> Any:
    from fruit_pipeline.operators.terminate_cluster import TerminateClusterOperator

    return of_the_dag(
        lambda: TerminateClusterOperator(
            task_id="terminate_cluster", settings=SETTINGS, asking_task_id="create_cluster", deciding_task_id="publish_report"
        )
    )


def run_step(cluster_id: str, **options: Any) -> Any:
    from fruit_pipeline.operators.run_step import RunStepOperator

    return of_the_dag(lambda: RunStepOperator(task_id="refresh_pca", settings=SETTINGS, job_flow_id=cluster_id, steps=[STEP], **options))


def deferred(operator: Any, **arguments: Any) -> Any:
    """What the operator waits for."""
    from airflow.sdk.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context(), **arguments)
    return caught.value


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


def test_ends_every_cluster_of_the_run_whatever_tasks_knew_of_it(emr: Emr) -> None:
    emr.cluster("RUNNING", run_id="manual__other")
    for state in ("WAITING", "TERMINATING", "STARTING", "TERMINATED"):
        emr.cluster(state)
    waits = deferred(terminate_cluster())
    assert emr.terminated == ["j-2", "j-4"]
    assert waits.trigger.cluster_ids == waits.kwargs["cluster_ids"] == ["j-2", "j-3", "j-4"]


def test_a_run_without_a_cluster_has_nothing_to_end(emr: Emr) -> None:
    emr.cluster("WAITING", run_id="manual__other")
    emr.cluster("TERMINATED_WITH_ERRORS")
    terminate_cluster().execute(context())
    assert emr.terminated == []


def test_a_cluster_that_was_asked_for_and_is_not_listed_yet_is_looked_for_again(emr: Emr) -> None:
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
def test_a_cluster_that_is_gone_is_ended_whatever_it_died_of(emr: Emr, state: str) -> None:
    terminate_cluster().execute_complete(context(), {"status": "error"}, [emr.cluster(state)])


def test_a_cluster_that_does_not_end_fails_the_teardown_which_tries_again(emr: Emr) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    with pytest.raises(AirflowException, match=r"Not ended within 30 minutes: j-1 \(TERMINATING\)") as caught:
        terminate_cluster().execute_complete(context(), {"status": "time_out"}, [emr.cluster("TERMINATING")])
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("with_cluster", [True, False])
def test_a_run_that_a_person_marked_as_failed_does_not_end_as_successful(emr: Emr, with_cluster: bool) -> None:
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
def test_any_other_run_is_decided_by_its_own_tasks(emr: Emr, states: dict[str, str]) -> None:
    terminate_cluster().execute_complete(context(**states), {"status": "ended"}, [emr.cluster("TERMINATED")])


# --- running a step


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


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETED"])
def test_a_task_that_is_tried_again_attaches_to_its_step(emr: Emr, lake: Lake, state: str) -> None:
    step_id = emr.step(emr.cluster(), state)
    assert deferred(run_step("j-1")).trigger.step_id == step_id
    assert len(emr.steps["j-1"]) == 1


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_a_task_that_is_tried_again_adds_a_step_that_ended_badly_anew(emr: Emr, lake: Lake, state: str) -> None:
    emr.step(emr.cluster(), state)
    assert deferred(run_step("j-1")).trigger.step_id == "s-2"


def test_a_step_waits_for_its_turn_while_another_run_has_one_under_way(emr: Emr, lake: Lake) -> None:
    other = emr.cluster("RUNNING", run_id="manual__other")
    emr.step(other, "RUNNING")
    mine = emr.cluster()
    operator = run_step(mine, one_at_a_time=True)
    waits = deferred(operator)
    assert (type(waits.trigger).__name__, waits.method_name) == ("StepTurnTrigger", "execute")
    assert emr.steps[mine] == []
    # Its turn has come, it seems, but a third run was quicker.
    assert type(deferred(operator, event={"status": "ended"}).trigger).__name__ == "StepTurnTrigger"
    emr.steps[other][0]["Status"]["State"] = "COMPLETED"
    assert type(deferred(operator, event={"status": "ended"}).trigger).__name__ == "StepEndTrigger"
    assert len(emr.steps[mine]) == 1


def test_a_step_that_was_added_already_does_not_wait_for_its_turn_again(emr: Emr, lake: Lake) -> None:
    emr.step(emr.cluster("RUNNING", run_id="manual__other"), "RUNNING")
    mine = emr.cluster()
    step_id = emr.step(mine, "RUNNING")
    assert deferred(run_step(mine, one_at_a_time=True)).trigger.step_id == step_id


def test_a_turn_that_never_comes_is_an_error(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowException

    with pytest.raises(AirflowException, match="time_out"):
        run_step(emr.cluster(), one_at_a_time=True).execute(context(), event={"status": "time_out"})


def test_a_step_is_not_added_for_a_run_that_lost_its_dates(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    claim(lake, "another run", [DAY])
    operator = run_step(emr.cluster(), needs_claim=True)
    with pytest.raises(AirflowFailException, match=r"The run manual__.* can't be gone on with\. Trigger a new run"):
        operator.execute(context())
    assert emr.steps["j-1"] == []
    claim(lake, RUN_ID, [DAY])
    assert deferred(operator).trigger.step_id == "s-1"


def test_a_completed_step_is_returned(emr: Emr, lake: Lake) -> None:
    step_id = emr.step(emr.cluster(), "COMPLETED")
    assert run_step("j-1").execute_complete(context(), {"status": "ended"}, step_id) == [step_id]


def failure_of(emr: Emr, lake: Lake, state: str = "FAILED", stderr: str = "", cluster: str = "WAITING") -> Exception:
    from airflow.sdk.exceptions import AirflowException

    step_id = emr.step(emr.cluster(cluster), state)
    if stderr:
        lake.write(f"logs/j-1/steps/{step_id}/stderr.gz", gzip.compress(stderr.encode()), "application/gzip")
    with pytest.raises(AirflowException) as caught:
        run_step("j-1").execute_complete(context(), {"status": "ended"}, step_id)
    return caught.value


def is_tried_again(error: Exception) -> bool:
    from airflow.sdk.exceptions import AirflowFailException

    return not isinstance(error, AirflowFailException)


def test_a_step_that_fails_is_explained_from_its_own_log(emr: Emr, lake: Lake) -> None:
    error = failure_of(emr, lake, stderr='Traceback (most recent call last):\n  File "job.py", line 7, in main\nValueError: Äpfel\n')
    assert "Step 'refresh_pca' (s-1) on cluster j-1 ended as FAILED" in str(error)
    assert "ValueError: Äpfel" in str(error)
    assert f"s3://{BUCKET}/logs/j-1/steps/s-1/" in str(error)
    assert not is_tried_again(error)


def test_a_failure_that_may_pass_is_tried_again(emr: Emr, lake: Lake) -> None:
    error = failure_of(
        emr, lake, stderr="botocore.exceptions.ClientError: An error occurred (SlowDown) when calling the GetObject operation: slow down\n"
    )
    assert "added again" in str(error)
    assert is_tried_again(error)


def test_nothing_is_tried_again_on_a_cluster_that_is_gone(emr: Emr, lake: Lake) -> None:
    error = failure_of(
        emr, lake, stderr="An error occurred (SlowDown) when calling the GetObject operation", cluster="TERMINATED_WITH_ERRORS"
    )
    assert "clear it (a new cluster is made)" in str(error)
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
    reason = {"Code": "BOOTSTRAP_FAILURE", "Message": "On the master instance (i-1), bootstrap action 1 returned a non-zero return code"}
    emr.clusters["j-1"]["Status"]["StateChangeReason"] = reason
    step_id = emr.step("j-1", "CANCELLED", started=False)
    log = gzip.compress(b"error: No matching distribution found for onnxruntime==9.9.9\n")
    lake.write("logs/j-1/node/i-1/bootstrap-actions/1/stderr.gz", log, "application/gzip")
    with pytest.raises(AirflowFailException) as caught:
        run_step("j-1").execute_complete(context(), {"status": "ended"}, step_id)
    for words in ("bootstrap action 1 returned", "No matching distribution found", f"s3://{BUCKET}/logs/j-1/node/"):
        assert words in str(caught.value)


def test_a_cluster_that_ended_before_the_step_was_added_is_explained(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    emr.cluster("TERMINATED_WITH_ERRORS")
    emr.clusters["j-1"]["Status"]["StateChangeReason"] = {"Code": "VALIDATION_ERROR", "Message": "The subnet does not exist"}
    emr.refuse = [api_error("ValidationException")]
    with pytest.raises(AirflowFailException, match="The subnet does not exist"):
        run_step("j-1").execute(context())


def test_a_try_after_one_that_was_lost_says_how_the_step_of_a_dead_cluster_ended(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    emr.step(emr.cluster("TERMINATED_WITH_ERRORS"), "FAILED")
    reason = {"Code": "INSTANCE_FAILURE", "Message": "All slaves in the job flow were terminated"}
    emr.clusters["j-1"]["Status"]["StateChangeReason"] = reason
    emr.refuse = [api_error("ValidationException")]
    with pytest.raises(AirflowFailException, match=r"\(s-1\) on cluster j-1 ended as FAILED") as caught:
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
