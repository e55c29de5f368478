"""Finds and ends processes by a mark in their environment.

A process group is not enough: Python workers of Spark, Airflow's task runners and web workers leave their parent's
group. The environment that a process was started with stays with it and with all the processes that it starts.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Collection

STACK_MARK: Final = "FRUITS_LOCAL_STACK"  # the home of the local cloud that started the process
STEP_MARK: Final = "FRUITS_LOCAL_STEP"  # <cluster>/<step or bootstrap action>

CLEAN_LOOKS: Final = 2
BETWEEN_LOOKS_SECONDS: Final = 0.05
_UNREADABLE: Final = (psutil.NoSuchProcess, psutil.AccessDenied, OSError)


def marked_processes(mark: str, value: str) -> list[psutil.Process]:
    """Returns the user's living processes that were started with `mark=value` in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(mark) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except _UNREADABLE:
            continue
    return found


def is_alive(process_id: int) -> bool:
    """Says whether the process runs, which a zombie does not."""
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end_marked_processes(mark: str, value: str, *, grace_seconds: float, spare: Collection[int] = ()) -> list[str]:
    """Asks every marked process to end, kills what is left after the grace, and returns the names of what was killed.

    It looks again until two looks in a row find nothing: a process may start another one while it is being ended, and
    one that is just turning into another program shows no environment for a moment. Processes whose ids are in `spare`
    are left alone.
    """
    deadline = time.monotonic() + grace_seconds
    asked: set[int] = set()
    killed: list[str] = []
    clean_looks = 0
    while clean_looks < CLEAN_LOOKS:
        alive = [process for process in marked_processes(mark, value) if process.pid not in spare]
        if not alive:
            clean_looks += 1
            time.sleep(BETWEEN_LOOKS_SECONDS)
            continue
        clean_looks = 0
        out_of_time = time.monotonic() >= deadline
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                if out_of_time:
                    killed.append(process.name())
                    process.kill()
                elif process.pid not in asked:
                    asked.add(process.pid)
                    process.terminate()
        psutil.wait_procs(alive, timeout=0.2)
    return killed
