from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local_cloud.cluster.life import (
    ActionOnFailure,
    ClusterLife,
    ClusterState,
    EmrStepState,
    FailureDetails,
    ReasonCode,
    StepLife,
)

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
FAILURE = FailureDetails("Unknown Error.", "exit code 1")


def a_step(name: str, action: ActionOnFailure = ActionOnFailure.CONTINUE) -> StepLife:
    return StepLife(id=name, created_at=NOW, action_on_failure=action)


def a_cluster(*steps: StepLife, ready: bool = True, **options: Any) -> ClusterLife:
    life = ClusterLife(created_at=NOW, **options)
    for step in steps:
        life.add_step(step, NOW)
    if ready:
        life.start_bootstrapping()
        life.bootstrap_done(NOW)
    return life


def run_next(life: ClusterLife, failure: FailureDetails | None = None) -> StepLife:
    (step,) = life.steps_to_start()
    life.step_started(step, NOW)
    life.step_ended(step, failure, NOW)
    return step


def test_goes_from_starting_over_bootstrapping_to_running_and_waiting() -> None:
    life = a_cluster(a_step("a"), ready=False, keep_alive=True)
    assert life.state is ClusterState.STARTING
    life.start_bootstrapping()
    assert life.state is ClusterState.BOOTSTRAPPING
    assert life.steps_to_start() == []
    life.bootstrap_done(NOW)
    assert life.state is ClusterState.RUNNING
    run_next(life)
    assert life.state is ClusterState.WAITING


def test_runs_steps_in_order_one_at_a_time() -> None:
    first, second = a_step("a"), a_step("b")
    life = a_cluster(first, second, keep_alive=True)
    assert life.steps_to_start() == [first]
    life.step_started(first, NOW)
    assert life.steps_to_start() == []
    life.step_ended(first, None, NOW)
    assert life.steps_to_start() == [second]


def test_runs_as_many_steps_at_once_as_its_concurrency_level_says() -> None:
    life = a_cluster(a_step("a"), a_step("b"), a_step("c"), keep_alive=True, step_concurrency_level=2)
    assert [step.id for step in life.steps_to_start()] == ["a", "b"]


def test_ends_after_its_last_step_unless_it_is_kept_alive() -> None:
    life = a_cluster(a_step("a"))
    run_next(life)
    assert life.state is ClusterState.TERMINATING
    life.finish(NOW)
    assert life.state is ClusterState.TERMINATED
    assert life.ending is not None
    assert (life.ending.code, life.ending.message) == (ReasonCode.ALL_STEPS_COMPLETED, "Steps completed")


def test_continue_runs_the_next_step_and_the_end_names_the_errors() -> None:
    life = a_cluster(a_step("a"), a_step("b"))
    failed = run_next(life, FAILURE)
    assert (failed.state, failed.failure) == (EmrStepState.FAILED, FAILURE)
    assert run_next(life).state is EmrStepState.COMPLETED
    assert life.ending is not None
    assert life.ending.message == "Steps completed with errors"


def test_cancel_and_wait_cancels_what_is_pending_and_keeps_the_cluster() -> None:
    pending = a_step("b")
    life = a_cluster(a_step("a", ActionOnFailure.CANCEL_AND_WAIT), pending, keep_alive=True)
    run_next(life, FAILURE)
    assert pending.state is EmrStepState.CANCELLED
    assert life.state is ClusterState.WAITING


@pytest.mark.parametrize("action", [ActionOnFailure.TERMINATE_CLUSTER, ActionOnFailure.TERMINATE_JOB_FLOW])
def test_terminate_cluster_ends_it_with_errors(action: ActionOnFailure) -> None:
    pending = a_step("b")
    life = a_cluster(a_step("a", action), pending, keep_alive=True)
    run_next(life, FAILURE)
    life.finish(NOW)
    assert pending.state is EmrStepState.CANCELLED
    assert life.state is ClusterState.TERMINATED_WITH_ERRORS
    assert life.ending is not None
    assert life.ending.code is ReasonCode.STEP_FAILURE


def test_a_protected_cluster_survives_a_step_that_would_end_it() -> None:
    pending = a_step("b")
    life = a_cluster(
        a_step("a", ActionOnFailure.TERMINATE_CLUSTER), pending, keep_alive=True, termination_protected=True
    )
    run_next(life, FAILURE)
    assert life.state is ClusterState.WAITING
    assert pending.state is EmrStepState.CANCELLED


def test_termination_cancels_running_and_pending_steps() -> None:
    running, pending = a_step("a"), a_step("b")
    life = a_cluster(running, pending, keep_alive=True)
    life.step_started(running, NOW)
    life.request_termination(NOW)
    assert (running.state, pending.state) == (EmrStepState.CANCEL_PENDING, EmrStepState.CANCELLED)
    with pytest.raises(ValueError, match="none of its steps is active"):
        life.finish(NOW)
    life.step_ended(running, FAILURE, NOW)
    life.finish(NOW)
    assert running.state is EmrStepState.CANCELLED
    assert running.failure is None
    assert life.state is ClusterState.TERMINATED
    assert life.ending is not None
    assert life.ending.code is ReasonCode.USER_REQUEST


def test_the_first_reason_to_end_is_kept() -> None:
    life = a_cluster(keep_alive=True, ready=False)
    life.start_bootstrapping()
    life.bootstrap_failed("bootstrap action 1 returned a non-zero return code", NOW)
    life.request_termination(NOW)
    life.finish(NOW)
    assert life.state is ClusterState.TERMINATED_WITH_ERRORS
    assert life.ending is not None
    assert life.ending.code is ReasonCode.BOOTSTRAP_FAILURE


def test_an_ending_cluster_takes_no_steps() -> None:
    life = a_cluster(keep_alive=True)
    life.request_termination(NOW)
    with pytest.raises(ValueError, match="TERMINATING takes no steps"):
        life.add_step(a_step("late"), NOW)


def test_cancelling_a_step_neither_fails_it_nor_ends_the_cluster() -> None:
    running, pending = a_step("a", ActionOnFailure.TERMINATE_CLUSTER), a_step("b", ActionOnFailure.TERMINATE_CLUSTER)
    life = a_cluster(running, pending, keep_alive=True)
    life.step_started(running, NOW)
    assert life.cancel_step(pending, NOW).submitted
    assert pending.state is EmrStepState.CANCELLED
    assert life.cancel_step(running, NOW).submitted
    assert running.state is EmrStepState.CANCEL_PENDING
    life.step_ended(running, FAILURE, NOW)
    assert running.state is EmrStepState.CANCELLED
    assert life.state is ClusterState.WAITING


def test_cancelling_a_finished_step_is_refused_with_its_state() -> None:
    life = a_cluster(a_step("a"), keep_alive=True)
    answer = life.cancel_step(run_next(life), NOW)
    assert not answer.submitted
    assert "COMPLETED" in answer.reason


def test_a_cancelled_step_that_still_ended_well_is_completed() -> None:
    life = a_cluster(a_step("a"), keep_alive=True)
    (step,) = life.steps_to_start()
    life.step_started(step, NOW)
    life.cancel_step(step, NOW)
    life.step_ended(step, None, NOW)
    assert step.state is EmrStepState.COMPLETED


def test_idles_out_only_while_it_waits() -> None:
    life = a_cluster(keep_alive=True, idle_timeout_seconds=60)
    life.check_idle(NOW + timedelta(seconds=59))
    assert life.state is ClusterState.WAITING
    step = a_step("a")
    life.add_step(step, NOW + timedelta(seconds=59))
    assert life.idle_deadline() is None
    life.check_idle(NOW + timedelta(seconds=100))
    assert life.state is ClusterState.RUNNING
    life.step_started(step, NOW + timedelta(seconds=100))
    life.step_ended(step, None, NOW + timedelta(seconds=110))
    life.check_idle(NOW + timedelta(seconds=169))
    assert life.state is ClusterState.WAITING
    life.check_idle(NOW + timedelta(seconds=170))
    assert life.state is ClusterState.TERMINATING
    assert life.ending is not None
    assert "idle for 60 seconds" in life.ending.message


def test_never_idles_out_without_a_policy() -> None:
    life = a_cluster(keep_alive=True)
    life.check_idle(NOW + timedelta(days=30))
    assert life.state is ClusterState.WAITING


def test_losing_its_instances_ends_it_with_errors_and_fails_what_ran() -> None:
    running, pending = a_step("a"), a_step("b")
    life = a_cluster(running, pending, keep_alive=True)
    life.step_started(running, NOW)
    life.lose_instances(NOW)
    assert (running.state, pending.state) == (EmrStepState.RUNNING, EmrStepState.CANCELLED)
    life.step_ended(running, FAILURE, NOW)
    life.finish(NOW)
    assert running.state is EmrStepState.FAILED
    assert life.state is ClusterState.TERMINATED_WITH_ERRORS
    assert life.ending is not None
    assert (life.ending.code, life.ending.message) == (
        ReasonCode.INSTANCE_FAILURE,
        "All slaves in the job flow were terminated",
    )


def test_a_cluster_that_ends_already_loses_nothing_by_its_instances() -> None:
    running = a_step("a")
    life = a_cluster(running)
    life.step_started(running, NOW)
    life.request_termination(NOW)
    life.lose_instances(NOW)
    assert running.state is EmrStepState.CANCEL_PENDING
    assert life.ending is not None
    assert life.ending.code is ReasonCode.USER_REQUEST
