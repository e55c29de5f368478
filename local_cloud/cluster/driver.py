"""Drives the life of a cluster: one thread decides what happens, and one thread for each running step waits for it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from local_cloud.cluster.life import FailureDetails
from local_cloud.cluster.node import FETCH_ERRORS, BootstrapAction, refuse_step
from local_cloud.faults import FaultKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local_cloud.cluster.life import CancelAnswer, ClusterLife, StepLife
    from local_cloud.cluster.node import ClusterNode, StepCommand
    from local_cloud.cluster.step_process import NodeProcess
    from local_cloud.faults import ClusterFaults, Fault

STARTING_SECONDS: Final = 0.3  # EMR takes minutes; long enough here for a poll to see the state
LOOK_AGAIN_SECONDS: Final = 1.0
FAILING_BOOTSTRAP: Final = (
    b"echo 'error: No matching distribution found for ai-edge-litert==9.9.9 (injected)' >&2\nexit 1\n"
)

logger = logging.getLogger(__name__)


def utc_now() -> datetime:
    return datetime.now(UTC)


class ClusterDriver:
    """Makes every change of a cluster's life, under one lock."""

    def __init__(
        self, life: ClusterLife, node: ClusterNode, bootstrap_actions: Sequence[BootstrapAction], faults: ClusterFaults
    ) -> None:
        self.life = life
        self._node = node
        self._bootstrap_actions = bootstrap_actions
        self._faults = faults
        self._commands: dict[str, StepCommand] = {}
        self._processes: dict[str, NodeProcess] = {}
        self._changed = threading.Condition()
        self._is_to_end = threading.Event()
        self._thread = threading.Thread(target=self._drive, name="cluster", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_seconds: float) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def add_steps(self, steps: Sequence[tuple[StepLife, StepCommand]]) -> None:
        """Adds steps to the cluster. Raises ValueError if it is ending."""
        with self._changed:
            for step, command in steps:
                self._commands[step.id] = command
                self.life.add_step(step, utc_now())
            self._changed.notify_all()

    def cancel_step(self, step: StepLife, *, force: bool) -> CancelAnswer:
        with self._changed:
            answer = self.life.cancel_step(step, utc_now())
            if answer.submitted and step.id in self._processes:
                self._processes[step.id].stop(force=force)
            self._changed.notify_all()
            return answer

    def terminate(self) -> None:
        """Asks the cluster to end and returns at once, as the API does. `join` waits for the end."""
        with self._changed:
            self.life.request_termination(utc_now())
            self._is_to_end.set()
            self._stop_processes()
            self._changed.notify_all()

    def set_idle_timeout(self, seconds: float | None) -> None:
        with self._changed:
            self.life.idle_timeout_seconds = seconds
            self._changed.notify_all()

    def set_termination_protected(self, *, protected: bool) -> None:
        with self._changed:
            self.life.termination_protected = protected

    def set_step_concurrency_level(self, level: int) -> None:
        with self._changed:
            self.life.step_concurrency_level = level
            self._changed.notify_all()

    def _drive(self) -> None:
        try:
            self._bring_up()
            while not self._turn():
                pass
        except Exception as error:
            logger.exception("the driver of a cluster broke")
            with self._changed:
                self.life.fail(f"The local EMR broke: {error!r}. Its log has the details.", utc_now())
                self._stop_processes()
            while not self._turn():
                pass

    def _bring_up(self) -> None:
        time.sleep(STARTING_SECONDS)
        slowness = self._faults.of_start()
        if slowness:
            self._faults.outlast(slowness, self._is_to_end)
        with self._changed:
            self.life.start_bootstrapping()
        fault = self._faults.of_bootstrap()
        for number, action in enumerate(self._actions_to_run(fault), start=1):
            failure = self._bootstrap(number, action, fault if number == 1 else None)
            if failure:
                with self._changed:
                    self.life.bootstrap_failed(failure, utc_now())
                return
        with self._changed:
            self.life.bootstrap_done(utc_now())

    def _actions_to_run(self, fault: Fault | None) -> Sequence[BootstrapAction]:
        if fault is None:
            return self._bootstrap_actions
        first, *rest = self._bootstrap_actions or [BootstrapAction(script="", arguments=())]
        return [replace(first, content=FAILING_BOOTSTRAP), *rest]

    def _bootstrap(self, number: int, action: BootstrapAction, fault: Fault | None) -> str | None:
        try:
            process = self._node.bootstrap_process(number, action)
        except FETCH_ERRORS as error:
            return f"Bootstrap action {number} could not be fetched from {action.script}: {error}"
        if fault:
            process.idle = partial(self._faults.outlast, fault)
        name = f"bootstrap-{number}"
        with self._changed:
            if self.life.is_ending:
                return None
            self._processes[name] = process
        try:
            return self._node.run_bootstrap(number, process)
        finally:
            with self._changed:
                self._processes.pop(name, None)

    def _turn(self) -> bool:
        """Does what is due, then waits until something changes. Returns True when the cluster is over."""
        with self._changed:
            self.life.check_idle(utc_now())
            if self.life.is_ending:
                self._stop_processes()
                if not self._processes:
                    self._node.remove_release()
                    self.life.finish(utc_now())
                    return True
            for step in self.life.steps_to_start():
                self._start_step(step)
            self._changed.wait(self._seconds_to_look_again())
            return False

    def _seconds_to_look_again(self) -> float:
        deadline = self.life.idle_deadline()
        if deadline is None:
            return LOOK_AGAIN_SECONDS
        return min(LOOK_AGAIN_SECONDS, max(0.01, (deadline - utc_now()).total_seconds()))

    def _start_step(self, step: StepLife) -> None:
        command = self._commands[step.id]
        failure = refuse_step(command)
        if failure:
            self._refuse(step, failure)
            return
        try:
            process = self._node.step_process(command)
        except OSError as error:
            self._refuse(step, FailureDetails("Unknown Error.", f"The step's folder could not be prepared: {error}"))
            return
        self._processes[step.id] = process
        # Faults come before the step is seen as running, so that whoever sees it running may rely on its fault.
        self._let_faults_strike(command, process)
        self.life.step_started(step, utc_now())
        threading.Thread(target=self._run_step, args=(step, command, process), name=step.id, daemon=True).start()

    def _refuse(self, step: StepLife, failure: FailureDetails) -> None:
        self.life.step_started(step, utc_now())
        self.life.step_ended(step, failure, utc_now())

    def _let_faults_strike(self, command: StepCommand, process: NodeProcess) -> None:
        fault = self._faults.of_step(command.name)
        if fault is None:
            return
        if fault.kind is FaultKind.SLOW_STEP:
            process.idle = partial(self._faults.outlast, fault)
        elif fault.kind is FaultKind.SPOT_LOSS:
            self._faults.after(fault, self._lose_instances)
        else:
            self._faults.after(fault, partial(process.stop, force=True))

    def _run_step(self, step: StepLife, command: StepCommand, process: NodeProcess) -> None:
        failure: FailureDetails | None = FailureDetails(
            "Unknown Error.", "The local EMR broke while it ran the step. Its log has the details."
        )
        try:
            failure = self._node.run_step(command, process)
        except Exception:
            logger.exception("step %s could not be run", step.id)
        finally:
            with self._changed:
                self._processes.pop(step.id, None)
                # As on EMR, the step's end is the end of its process; copying its logs came after it.
                self.life.step_ended(step, failure, process.ended_at or utc_now())
                self._changed.notify_all()

    def _lose_instances(self) -> None:
        with self._changed:
            self.life.lose_instances(utc_now())
            for process in self._processes.values():
                process.stop(force=True)
            self._changed.notify_all()

    def _stop_processes(self) -> None:
        for process in self._processes.values():
            process.stop()
