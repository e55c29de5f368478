from __future__ import annotations

import os
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from local_cloud.stack.sweep import end_marked_processes, is_alive, marked_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARK = "FRUITS_TEST_MARK"


@pytest.fixture
def value() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def start(value: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Yields a function that runs a shell script with the mark and returns when it has printed a line."""
    started: list[subprocess.Popen[str]] = []

    def run(script: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["bash", "-c", script], env=os.environ | {MARK: value}, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_ends_what_left_its_process_group(value: str, start: Callable[[str], subprocess.Popen[str]]) -> None:
    # The one that left speaks itself, and stays the program it is: one that is just turning into another shows no
    # environment.
    start("setsid bash -c 'echo ready; while true; do sleep 0.05; done' & wait")
    assert "bash" in [
        process.name() for process in marked_processes(MARK, value) if os.getsid(process.pid) == process.pid
    ]
    assert end_marked_processes(MARK, value, grace_seconds=5) == []
    assert marked_processes(MARK, value) == []


def test_kills_what_does_not_end_and_names_it(value: str, start: Callable[[str], subprocess.Popen[str]]) -> None:
    start("trap '' TERM; echo ready; while true; do sleep 0.05; done")
    assert "bash" in end_marked_processes(MARK, value, grace_seconds=0.3)
    assert marked_processes(MARK, value) == []


def test_leaves_what_bears_another_mark_or_is_spared(value: str, start: Callable[[str], subprocess.Popen[str]]) -> None:
    spared = start("echo ready; sleep 300")
    end_marked_processes(MARK, value[::-1], grace_seconds=0)
    end_marked_processes(MARK, value, grace_seconds=0, spare={process.pid for process in marked_processes(MARK, value)})
    assert spared.poll() is None
    assert is_alive(spared.pid)


def test_a_process_that_ended_and_was_not_buried_is_not_alive() -> None:
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(zombie.pid)
    zombie.wait()
