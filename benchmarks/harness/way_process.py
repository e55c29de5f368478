"""Runs a measured way in a process of its own, so that its threads, TensorFlow and Java don't disturb other ways (see
way_worker.py).
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final, Self

import psutil

from benchmarks.harness.memory import JAVA, OWN, WORKER, MemoryWatch, kind_of
from fruit_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_END_SECONDS: Final = 20.0
_CHILDREN_END_SECONDS: Final = 5.0
_LOG_TAIL_LINES: Final = 15


def _is_spark_worker(process: psutil.Process) -> bool:
    try:
        return kind_of(process) == WORKER
    except psutil.NoSuchProcess:
        return False


class WayProcess:
    """Answers one request after the other; between them it waits and costs no CPU."""

    def __init__(self, module: str, environment: Mapping[str, str], log: Path) -> None:
        self._module = module
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.harness.way_worker", module],
                env=dict(environment),
                cwd=log.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                encoding="utf-8",
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Sends a request and returns its answer. Raises CommandError with the process's last words if the process
        breaks.
        """
        self.send(do, **arguments)
        return self.receive()

    def send(self, do: str, **arguments: Any) -> None:
        if self._process.stdin is None:
            raise ValueError("The process was started without a stdin.")
        # If the process has broken, `receive` says so, with its last words.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._process.wait(_END_SECONDS)
            words = "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:])
            raise CommandError(
                f"{self._module} ended with exit code {self._process.returncode}. Its last words:\n{words}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def cpu_seconds(self) -> float:
        """Returns the seconds of CPU that the process and all it has started have used so far."""
        return sum(self.cpu_seconds_by_kind().values())

    def cpu_seconds_by_kind(self) -> dict[str, float]:
        """Returns the same seconds by kind: Java, Spark's Python workers, and this process's own Python."""
        process = psutil.Process(self._process.pid)
        # The four times count the process itself and its children that have ended.
        seconds = {WORKER: 0.0, JAVA: 0.0, OWN: 0.0}
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                seconds[kind_of(member)] += sum(member.cpu_times()[:4])
        return seconds

    def memory(self) -> MemoryWatch:
        """Returns a watch on the memory of the process and all it has started."""
        return MemoryWatch(self._process.pid)

    def spark_workers(self) -> list[psutil.Process]:
        """Returns the Python workers of its Spark that are alive, without the daemon that forks them."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        found = [child for child in children if _is_spark_worker(child)]
        return [worker for worker in found if not worker.children()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the process's stdin, upon which it ends, and kills it if it doesn't; then kills whatever it started
        and left behind.
        """
        started: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(self._process.pid).children(recursive=True)
        with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError, ValueError):
            self._process.communicate(timeout=_END_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        left = psutil.wait_procs(started, timeout=_CHILDREN_END_SECONDS)[1]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
