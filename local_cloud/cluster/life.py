"""The life of a cluster and its steps as EMR tells it: states, what may follow what, and why it ended.

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
    """EMR's ClusterStateChangeReasonCode, those that can happen here."""

    USER_REQUEST = "USER_REQUEST"
    ALL_STEPS_COMPLETED = "ALL_STEPS_COMPLETED"
    STEP_FAILURE = "STEP_FAILURE"
    BOOTSTRAP_FAILURE = "BOOTSTRAP_FAILURE"
    INSTANCE_FAILURE = "INSTANCE_FAILURE"
    INTERNAL_ERROR = "INTERNAL_ERROR"


@dataclass(frozen=True)
class Ending:
    """What a terminating cluster will have become, and why."""

    state: ClusterState
    code: ReasonCode
    message: str


@dataclass(frozen=True)
class FailureDetails:
    """EMR's FailureDetails. `log_file` is the full address of the log that holds the cause, if there is one."""

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
        """Its process may be alive. Only a step that has started is ever CANCEL_PENDING here."""
        return self.state in {EmrStepState.RUNNING, EmrStepState.CANCEL_PENDING}


@dataclass(frozen=True)
class CancelAnswer:
    """What CancelSteps says about one step."""

    submitted: bool
    reason: str = ""


_ENDING_STATES: Final = frozenset(
    {ClusterState.TERMINATING, ClusterState.TERMINATED, ClusterState.TERMINATED_WITH_ERRORS}
)


@dataclass
class ClusterLife:
    """One cluster. Every method that changes something takes `now` and leaves the life in a settled state."""

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
        """TERMINATING or beyond: nothing may be added or changed any more."""
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
        """Raises ValueError if the cluster is ending: the caller answers with EMR's own words."""
        if self.is_ending:
            raise ValueError(f"A cluster that is {self.state} takes no steps.")
        self.steps.append(step)
        if self.ready_at:
            self._settle(now)

    def steps_to_start(self) -> list[StepLife]:
        """The pending steps that may start now, oldest first."""
        if self.is_ending or self.ready_at is None:
            return []
        free = self.step_concurrency_level - len(self.active_steps)
        return [step for step in self.steps if step.state is EmrStepState.PENDING][: max(0, free)]

    def step_started(self, step: StepLife, now: datetime) -> None:
        step.state = EmrStepState.RUNNING
        step.started_at = now
        self._settle(now)

    def step_ended(self, step: StepLife, failure: FailureDetails | None, now: datetime) -> None:
        """The step's process is gone. `failure` is None if it ended well; a step that was told to stop counts as
        cancelled.
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
        """A pending step is cancelled at once; of a running one the driver must end the process."""
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
        """Does nothing to a cluster that is ending already. Protection is the caller's to check: it is an API error."""
        self._end(Ending(ClusterState.TERMINATED, ReasonCode.USER_REQUEST, message), now)

    def fail(self, message: str, now: datetime) -> None:
        """Ends a cluster whose own machinery broke."""
        self._end(Ending(ClusterState.TERMINATED_WITH_ERRORS, ReasonCode.INTERNAL_ERROR, message), now)

    def lose_instances(self, now: datetime) -> None:
        """The machines are gone. A running step was not told to stop: it fails when its process is seen to be gone."""
        running = [step for step in self.steps if step.state is EmrStepState.RUNNING]
        self._end(
            Ending(ClusterState.TERMINATED_WITH_ERRORS, ReasonCode.INSTANCE_FAILURE, INSTANCES_LOST), now, spare=running
        )

    def idle_deadline(self) -> datetime | None:
        """When a waiting cluster ends itself, or None if it never will."""
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
        """The last process of a TERMINATING cluster is gone."""
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
        """Pending steps are cancelled, active ones are to be stopped; those in `spare` keep their state."""
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
