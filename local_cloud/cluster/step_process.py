"""Runs one command of a cluster in a process group of its own, keeps its output, and leaves no process behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from local_cloud.stack.sweep import STEP_MARK, end_marked_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

POLL_SECONDS: Final = 0.1
LEFTOVER_GRACE_SECONDS: Final = 2.0
COMMAND_NOT_FOUND: Final = 127  # as a shell says it


@dataclass(frozen=True)
class NodeCommand:
    """Says what to run, where, and with which environment. The files stdout, stderr and controller go to `folder`."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path

    @property
    def mark(self) -> str:
        return self.environment[STEP_MARK]


class NodeProcess:
    """Runs one command to its end. `run` blocks; `stop` may be called from another thread, also before `run`.

    `run` calls `idle` first, with an event that `stop` sets.
    """

    def __init__(self, command: NodeCommand, *, stop_grace_seconds: float) -> None:
        self._command = command
        self._stop_grace_seconds = stop_grace_seconds
        self._asked_to_stop = threading.Event()
        self._kill_now = threading.Event()
        self.ended_at: datetime | None = None
        self.idle: Callable[[threading.Event], None] = lambda _: None

    def stop(self, *, force: bool = False) -> None:
        """Ends the process with SIGTERM and, after the grace, SIGKILL; with SIGKILL at once if `force` is set."""
        if force:
            self._kill_now.set()
        self._asked_to_stop.set()

    def run(self) -> int:
        """Runs the command and returns its exit code; a negative one is the signal that ended it (see `subprocess`)."""
        folder = self._command.folder
        folder.mkdir(parents=True, exist_ok=True)
        self.idle(self._asked_to_stop)
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            self._log(f"startExec {shlex.join(self._command.arguments)}")
            try:
                process = subprocess.Popen(
                    list(self._command.arguments),
                    env=dict(self._command.environment),
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                )
            except OSError as error:
                stderr.write(f"{error}\n".encode())
                self._log(f"could not start: {error}")
                return COMMAND_NOT_FOUND
            self._log(f"process id {process.pid}")
            try:
                exit_code = self._wait(process)
            finally:
                self._end_leftovers()
        self.ended_at = datetime.now(UTC)
        self._log(f"ended with exit code {exit_code}")
        return exit_code

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        deadline: float | None = None
        while True:
            try:
                return process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            if not self._asked_to_stop.is_set():
                continue
            if deadline is None:
                deadline = time.monotonic() + self._stop_grace_seconds
                if not self._kill_now.is_set():
                    self._log("asked to stop")
                    _signal_group(process, signal.SIGTERM)
            if self._kill_now.is_set() or time.monotonic() >= deadline:
                self._log("killed")
                _signal_group(process, signal.SIGKILL)

    def _end_leftovers(self) -> None:
        grace_seconds = 0.0 if self._kill_now.is_set() else LEFTOVER_GRACE_SECONDS
        for name in end_marked_processes(STEP_MARK, self._command.mark, grace_seconds=grace_seconds):
            self._log(f"killed a process it left behind: {name}")

    def _log(self, line: str) -> None:
        with (self._command.folder / "controller").open("a", encoding="utf-8") as stream:
            stream.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} INFO {line}\n")


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
