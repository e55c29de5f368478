"""Keeps the processes of the local cloud together: all of them run, or none.

`python -m local_cloud.stack.supervisor` reads a plan (JSON, see `Plan`) from its standard input, because a plan holds
credentials. It goes to the background, prints its process id, starts every process, writes the state when all answer,
and waits. When it is told to stop or when one process ends by itself, it ends all of them. A process that comes back is
started again instead, up to three times, unless it ends within a minute.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from local_cloud.stack.state import StackState, failure_path, remove_state, write_state
from local_cloud.stack.sweep import STACK_MARK, end_marked_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

# Airflow's scheduler would wait for its tasks however long they take. Nothing is lost when it is killed.
STOP_GRACE_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.25
ANSWER_SECONDS: Final = 30.0
LOG_TAIL_LINES: Final = 20
# What ends sooner than this, or for the fourth time, would end again and again.
COMES_BACK_AFTER_SECONDS: Final = 60.0
COMES_BACK_TIMES: Final = 3
# The supervisor's process that this one belongs to, as <home>/<name>.
PROCESS_MARK: Final = "FRUITS_LOCAL_PROCESS"


class StackError(Exception):
    """Raised if a process died or did not answer. The message names it and ends with the tail of its log."""


@dataclass(frozen=True)
class ReadyCheck:
    """Says when a process is ready: `url` answers with one of `statuses` and calls all of `healthy` healthy."""

    url: str
    statuses: tuple[int, ...] = (200,)
    healthy: tuple[str, ...] = ()
    timeout_seconds: float = 60.0


@dataclass(frozen=True)
class ManagedProcess:
    """Says how to start a process, and when it is ready. If it `comes_back`, it is started again should it end by
    itself.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    ready: ReadyCheck | None = None
    comes_back: bool = False


@dataclass(frozen=True)
class Plan:
    """Says what to run. `state` is written when all of it answers, with the supervisor's process id put in."""

    home: str
    state: StackState = field(repr=False)
    processes: tuple[ManagedProcess, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        content = json.loads(text)
        processes = tuple(
            ManagedProcess(
                name=process["name"],
                arguments=tuple(process["arguments"]),
                environment=process["environment"],
                ready=_ready_check(process["ready"]) if process["ready"] else None,
                comes_back=process["comes_back"],
            )
            for process in content["processes"]
        )
        return cls(home=content["home"], state=StackState(**content["state"]), processes=processes)


def log_path(home: Path, name: str) -> Path:
    return home / "logs" / f"{name}.log"


def log_tail(home: Path, name: str) -> str:
    try:
        text = log_path(home, name).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])


class Supervisor:
    """Runs a plan until it is told to stop. `comes_back_after_seconds` is there for tests."""

    def __init__(
        self,
        plan: Plan,
        *,
        say: Callable[[str], None] = print,
        comes_back_after_seconds: float = COMES_BACK_AFTER_SECONDS,
    ) -> None:
        self._plan = plan
        self._home = Path(plan.home)
        self._say = say
        self._comes_back_after_seconds = comes_back_after_seconds
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started_at: dict[str, float] = {}
        self._came_back: Counter[str] = Counter()
        self._told_to_stop = threading.Event()

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        failure_path(self._home).unlink(missing_ok=True)
        try:
            self._start_all()
            self._wait_until_ready()
            if not self._told_to_stop.is_set():
                write_state(self._home, _with_pid(self._plan.state))
                self._tell("Everything answers.")
            self._watch()
        except StackError as failure:
            failure_path(self._home).write_text(f"{failure}\n", encoding="utf-8")
            self._tell(f"Something failed, so everything is ended: {failure_path(self._home)} says what.")
            return 1
        finally:
            remove_state(self._home)
            self._end_all()
            self._tell("Everything has ended.")
        return 0

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._told_to_stop.set()

    def _start_all(self) -> None:
        for process in self._plan.processes:
            self._tell(f"Starting {process.name}")
            log_path(self._home, process.name).unlink(missing_ok=True)
            self._start(process)

    def _start(self, process: ManagedProcess) -> None:
        with log_path(self._home, process.name).open("ab") as log:
            try:
                self._running[process.name] = subprocess.Popen(
                    process.arguments,
                    env={**process.environment, STACK_MARK: self._plan.home, PROCESS_MARK: self._mark_of(process.name)},
                    cwd=self._home,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{process.name} could not be started: {error}") from error
        self._started_at[process.name] = time.monotonic()

    def _tell(self, line: str) -> None:
        with suppress(OSError):  # the disk is full, which must not end anything without a reason
            self._say(line)

    def _mark_of(self, name: str) -> str:
        return f"{self._plan.home}/{name}"

    def _wait_until_ready(self) -> None:
        started = time.monotonic()
        waiting = {process.name: process.ready for process in self._plan.processes if process.ready}
        while waiting and not self._told_to_stop.wait(POLL_SECONDS):
            self._check_alive()
            for name, check in list(waiting.items()):
                if is_ready(check):
                    self._tell(f"{name} answers")
                    del waiting[name]
                elif time.monotonic() - started > check.timeout_seconds:
                    raise StackError(
                        f"{name} did not answer on {check.url} within {check.timeout_seconds:g} "
                        f"seconds.{self._tail(name)}"
                    )

    def _watch(self) -> None:
        while not self._told_to_stop.wait(POLL_SECONDS):
            self._check_alive(may_come_back=True)

    def _check_alive(self, *, may_come_back: bool = False) -> None:
        for process in self._plan.processes:
            exit_code = self._running[process.name].poll()
            if exit_code is None:
                continue
            ended = f"{process.name} ended by itself with exit code {exit_code}"
            ran_seconds = time.monotonic() - self._started_at[process.name]
            comes_back = (
                ran_seconds >= self._comes_back_after_seconds and self._came_back[process.name] < COMES_BACK_TIMES
            )
            if not (may_come_back and process.comes_back and comes_back):
                raise StackError(f"{ended}, so everything is stopped.{self._tail(process.name)}")
            self._tell(f"{ended} and starts again.{self._tail(process.name)}")
            end_marked_processes(PROCESS_MARK, self._mark_of(process.name), grace_seconds=0)
            self._came_back[process.name] += 1
            self._start(process)

    def _tail(self, name: str) -> str:
        tail = log_tail(self._home, name)
        return (
            f" The end of {log_path(self._home, name)}:\n{tail}"
            if tail
            else f" Its log {log_path(self._home, name)} is empty."
        )

    def _end_all(self) -> None:
        """Ends every process with this stack's mark.

        They include processes that have left their parent's process group, and those that an earlier crash has left.
        """
        for name in end_marked_processes(
            STACK_MARK, self._plan.home, grace_seconds=STOP_GRACE_SECONDS, spare={os.getpid()}
        ):
            self._tell(f"Killed {name}, which did not end in {STOP_GRACE_SECONDS:g} seconds")
        for process in self._running.values():
            process.wait()


def is_ready(check: ReadyCheck) -> bool:
    try:
        with urllib.request.urlopen(check.url, timeout=ANSWER_SECONDS) as answer:  # noqa: S310  # an address of our own, on the loopback
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, b"{}"
    except (OSError, TimeoutError):
        return False
    if status not in check.statuses:
        return False
    components = json.loads(body) if check.healthy else {}
    return all((components.get(name) or {}).get("status") == "healthy" for name in check.healthy)


def go_to_background(log: Path) -> int:
    """Forks. Returns the child's process id in the parent, and 0 in the child.

    The child has a session of its own and writes its output to `log`.
    """
    child = os.fork()
    if child:
        return child
    os.setsid()
    log.parent.mkdir(parents=True, exist_ok=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    return 0


def main() -> int:
    plan = Plan.from_json(sys.stdin.read())
    supervisor = go_to_background(log_path(Path(plan.home), "supervisor"))
    if supervisor:
        print(supervisor)
        return 0
    return Supervisor(plan, say=lambda line: print(line, flush=True)).run()


def _with_pid(state: StackState) -> StackState:
    return StackState(**(asdict(state) | {"supervisor_pid": os.getpid()}))


def _ready_check(content: dict[str, Any]) -> ReadyCheck:
    """Returns a check from its JSON, whose lists become tuples."""
    return ReadyCheck(**(content | {"statuses": tuple(content["statuses"]), "healthy": tuple(content["healthy"])}))


if __name__ == "__main__":
    raise SystemExit(main())
