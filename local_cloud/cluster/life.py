"""Describes the life of a cluster and its steps as EMR does: their states, their transitions, and why a cluster ended.

It has no clock, no thread and no process: whoever drives it passes the time in and does what it asks for.

    STARTING -> BOOTSTRAPPING -> RUNNING <-> WAITING -> TERMINATING -> TERMINATED | TERMINATED_WITH_ERRORS
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTANCES_LOST: Final = "All slaves in the job flow were terminated"


class ClusterState(StrEnum):
    STARTING = "STARTING"
    BOOTSTRAPPING = "BOOTSTRAPPING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    TERMINATED_WITH_ERRORS = "TERMINATED_WITH_ERRORS"


class EmrStepState(StrEnum):
    PENDING = "PENDING"
    CANCEL_PENDING = "CANCEL_PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"


class ActionOnFailure(StrEnum):
    CONTINUE = "CONTINUE"
    CANCEL_AND_WAIT = "CANCEL_AND_WAIT"
    TERMINATE_CLUSTER = "TERMINATE_CLUSTER"
    TERMINATE_JOB_FLOW = "TERMINATE_JOB_FLOW"  # the old word for TERMINATE_CLUSTER


class ReasonCode(StrEnum):
    """Lists the values of EMR's ClusterStateChangeReasonCode that can happen here."""

    USER_REQUEST = "USER_REQUEST"
    ALL_STEPS_COMPLETED = "ALL_STEPS_COMPLETED"
    STEP_FAILURE = "STEP_FAILURE"
    BOOTSTRAP_FAILURE = "BOOTSTRAP_FAILURE"
    INSTANCE_FAILURE = "INSTANCE_FAILURE"
    INTERNAL_ERROR = "INTERNAL_ERROR"


@dataclass(frozen=True)
class Ending:
    """Says which state a terminating cluster ends in, and why."""

    state: ClusterState
    code: ReasonCode
    message: str


@dataclass(frozen=True)
class FailureDetails:
    """Holds EMR's FailureDetails. `log_file` is the full address of the log that names the cause, if there is one."""

    reason: str
    message: str
    log_file: str | None = None


@dataclass
class StepLife:
    id: str
    created_at: datetime
    action_on_failure: ActionOnFailure = ActionOnFailure.CONTINUE
    state: EmrStepState = EmrStepState.PENDING
    started_at: datetime | None = None
    ended_at: datetime | None = None
    message: str | None = None
    failure: FailureDetails | None = None

    @property
    def is_active(self) -> bool:
        """Says whether the step's process may be alive. Here, only a step that has started can be CANCEL_PENDING."""
        return self.state in {EmrStepState.RUNNING, EmrStepState.CANCEL_PENDING}


@dataclass(frozen=True)
class CancelAnswer:
    """Holds the answer of CancelSteps about one step."""

    submitted: bool
    reason: str = ""


_ENDING_STATES: Final = frozenset(
    {ClusterState.TERMINATING, ClusterState.TERMINATED, ClusterState.TERMINATED_WITH_ERRORS}
)


@dataclass
class ClusterLife:
    """Holds the state of one cluster. Methods that change it are passed `now` and also make the changes that follow."""

    created_at: datetime
    keep_alive: bool = False
    termination_protected: bool = False
    step_concurrency_level: int = 1
    idle_timeout_seconds: float | None = None
    state: ClusterState = ClusterState.STARTING
    steps: list[StepLife] = field(default_factory=list)
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    idle_since: datetime | None = None
    ending: Ending | None = None

    @property
    def is_ending(self) -> bool:
        """Says whether the cluster is terminating or over, so that nothing may be added or changed."""
        return self.state in _ENDING_STATES

    @property
    def is_over(self) -> bool:
        return self.state in {ClusterState.TERMINATED, ClusterState.TERMINATED_WITH_ERRORS}

    @property
    def active_steps(self) -> list[StepLife]:
        return [step for step in self.steps if step.is_active]

    @property
    def unfinished_steps(self) -> list[StepLife]:
        return [step for step in self.steps if step.is_active or step.state is EmrStepState.PENDING]

    def start_bootstrapping(self) -> None:
        if not self.is_ending:
            self.state = ClusterState.BOOTSTRAPPING

    def bootstrap_done(self, now: datetime) -> None:
        if not self.is_ending:
            self.ready_at = now
            self._settle(now)

    def bootstrap_failed(self, message: str, now: datetime) -> None:
        self._end(Ending(ClusterState.TERMINATED_WITH_ERRORS, ReasonCode.BOOTSTRAP_FAILURE, message), now)

    def add_step(self, step: StepLife, now: datetime) -> None:
        """Adds a step. Raises ValueError if the cluster is ending; the caller puts that into EMR's own words."""
        if self.is_ending:
            raise ValueError(f"A cluster that is {self.state} takes no steps.")
        self.steps.append(step)
        if self.ready_at:
            self._settle(now)

    def steps_to_start(self) -> list[StepLife]:
        """Returns the pending steps that may start now, oldest first."""
        if self.is_ending or self.ready_at is None:
            return []
        free = self.step_concurrency_level - len(self.active_steps)
        return [step for step in self.steps if step.state is EmrStepState.PENDING][: max(0, free)]

    def step_started(self, step: StepLife, now: datetime) -> None:
        step.state = EmrStepState.RUNNING
        step.started_at = now
        self._settle(now)

    def step_ended(self, step: StepLife, failure: FailureDetails | None, now: datetime) -> None:
        """Records that the step's process has ended.

        `failure` is None if it ended well. A step that was told to stop and did not end well counts as cancelled.
        """
        step.ended_at = now
        if failure is None:
            step.state = EmrStepState.COMPLETED
        elif step.state is EmrStepState.CANCEL_PENDING:
            step.state = EmrStepState.CANCELLED
            step.message = step.message or "Job terminated"
        else:
            step.state = EmrStepState.FAILED
            step.failure = failure
            self._obey(step, now)
        self._settle(now)

    def cancel_step(self, step: StepLife, now: datetime) -> CancelAnswer:
        """Cancels a pending step at once, or marks a running one, whose process the driver must then end."""
        if step.state is EmrStepState.PENDING:
            self._cancel_pending(step, "Cancelled by user", now)
            self._settle(now)
            return CancelAnswer(submitted=True)
        if step.is_active:
            step.state = EmrStepState.CANCEL_PENDING
            step.message = "Cancelled by user"
            return CancelAnswer(submitted=True)
        return CancelAnswer(submitted=False, reason=f"The step is already {step.state}.")

    def request_termination(self, now: datetime, message: str = "Terminated by user request") -> None:
        """Starts the end of a cluster that is not ending yet.

        The caller must check the termination protection, because the API answers a protected cluster with an error.
        """
        self._end(Ending(ClusterState.TERMINATED, ReasonCode.USER_REQUEST, message), now)

    def fail(self, message: str, now: datetime) -> None:
        """Ends a cluster whose own machinery broke."""
        self._end(Ending(ClusterState.TERMINATED_WITH_ERRORS, ReasonCode.INTERNAL_ERROR, message), now)

    def lose_instances(self, now: datetime) -> None:
        """Ends a cluster that has lost its machines.

        Running steps keep their state: they were not told to stop, and fail when their process is found to be gone.
        """
        running = [step for step in self.steps if step.state is EmrStepState.RUNNING]
        self._end(
            Ending(ClusterState.TERMINATED_WITH_ERRORS, ReasonCode.INSTANCE_FAILURE, INSTANCES_LOST), now, spare=running
        )

    def idle_deadline(self) -> datetime | None:
        """Returns when a waiting cluster ends itself, or None if it never will."""
        if self.idle_since is None or self.idle_timeout_seconds is None:
            return None
        return self.idle_since + timedelta(seconds=self.idle_timeout_seconds)

    def check_idle(self, now: datetime) -> None:
        deadline = self.idle_deadline()
        if deadline is not None and now >= deadline and not self.is_ending:
            self.request_termination(
                now, f"Auto-terminated: the cluster was idle for {self.idle_timeout_seconds:g} seconds"
            )

    def finish(self, now: datetime) -> None:
        """Puts a TERMINATING cluster into its last state.

        Raises ValueError if the cluster was not told to end or if a step is active.
        """
        if self.ending is None or self.active_steps:
            raise ValueError("A cluster ends when it was told to and none of its steps is active.")
        self.state = self.ending.state
        self.ended_at = now

    def _settle(self, now: datetime) -> None:
        if self.is_ending or self.ready_at is None:
            return
        if self.unfinished_steps:
            self.state = ClusterState.RUNNING
            self.idle_since = None
            return
        # EMR ignores protection here: a cluster that was asked to end after its last step does, protected or not.
        if not self.keep_alive:
            self._end(_steps_done(self.steps), now)
            return
        self.state = ClusterState.WAITING
        self.idle_since = self.idle_since or now

    def _obey(self, failed: StepLife, now: datetime) -> None:
        action = failed.action_on_failure
        if action is ActionOnFailure.CONTINUE:
            return
        for step in self.steps:
            if step.state is EmrStepState.PENDING:
                self._cancel_pending(step, f"Cancelled because step {failed.id} failed", now)
        # Protection turns TERMINATE_CLUSTER into CANCEL_AND_WAIT.
        if action is not ActionOnFailure.CANCEL_AND_WAIT and not self.termination_protected:
            self._end(
                Ending(ClusterState.TERMINATED_WITH_ERRORS, ReasonCode.STEP_FAILURE, "Shut down as step failed"), now
            )

    def _cancel_pending(self, step: StepLife, message: str, now: datetime) -> None:
        step.state = EmrStepState.CANCELLED
        step.message = message
        step.ended_at = now

    def _end(self, ending: Ending, now: datetime, *, spare: Sequence[StepLife] = ()) -> None:
        """Cancels pending steps and marks active ones as to be stopped. Those in `spare` keep their state."""
        if self.is_ending:
            return
        self.state = ClusterState.TERMINATING
        self.ending = ending
        self.idle_since = None
        for step in self.steps:
            if step.state is EmrStepState.PENDING:
                self._cancel_pending(step, "Cancelled because the cluster is terminating", now)
            elif step.is_active and step not in spare:
                step.state = EmrStepState.CANCEL_PENDING
                step.message = "Job terminated"


def _steps_done(steps: list[StepLife]) -> Ending:
    failed = any(step.state is EmrStepState.FAILED for step in steps)
    message = "Steps completed with errors" if failed else "Steps completed"
    return Ending(ClusterState.TERMINATED, ReasonCode.ALL_STEPS_COMPLETED, message)
