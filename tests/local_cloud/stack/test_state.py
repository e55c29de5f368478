from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from local_cloud.stack.state import (
    HomeNotOursError,
    StackState,
    make_home,
    read_state,
    remove_state,
    state_path,
    write_state,
)
from local_cloud.stack.sweep import STACK_MARK

if TYPE_CHECKING:
    from pathlib import Path

STATE = StackState(
    os.getpid(), "http://127.0.0.1:1", "http://127.0.0.1:2", None, "key", "secret", "eu-west-1", "fruits-lake"
)


def test_tells_what_is_up_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    write_state(tmp_path, STATE)
    assert read_state(tmp_path) == STATE
    assert stat.S_IMODE(state_path(tmp_path).stat().st_mode) == 0o600
    remove_state(tmp_path)
    assert read_state(tmp_path) is None


def test_a_supervisor_that_died_is_not_up(tmp_path: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    write_state(tmp_path, replace(STATE, supervisor_pid=done.pid))
    assert read_state(tmp_path) is None


def test_a_dead_supervisor_that_nobody_has_buried_is_not_up(tmp_path: Path) -> None:
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    write_state(tmp_path, replace(STATE, supervisor_pid=zombie.pid))
    deadline = time.monotonic() + 10
    while read_state(tmp_path) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert read_state(tmp_path) is None
    zombie.wait()


def test_another_process_with_the_supervisors_id_is_not_it(tmp_path: Path) -> None:
    write_state(tmp_path, STATE)
    before_this_process = time.time() - 7 * 24 * 3600
    os.utime(state_path(tmp_path), (before_this_process, before_this_process))
    assert read_state(tmp_path) is None


def test_the_state_of_another_version_counts_as_nothing(tmp_path: Path) -> None:
    state_path(tmp_path).write_text('{"supervisor_pid": 1, "colour": "red"}')
    assert read_state(tmp_path) is None


def test_a_copy_of_a_folder_that_is_up_is_not_up(tmp_path: Path) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    supervisor = subprocess.Popen(["sleep", "60"], env={**os.environ, STACK_MARK: str(first)})
    try:
        for home in (first, copy):
            home.mkdir()
            write_state(home, replace(STATE, supervisor_pid=supervisor.pid))
        assert read_state(first) is not None
        assert read_state(copy) is None
    finally:
        supervisor.kill()
        supervisor.wait()


@pytest.mark.parametrize("is_there", [False, True])
def test_only_its_owner_sees_into_the_home(tmp_path: Path, is_there: bool) -> None:
    home = tmp_path / "a" / "home"
    if is_there:
        home.mkdir(parents=True, mode=0o755)
    make_home(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_home_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(HomeNotOursError, match="Set FRUITS_LOCAL_HOME to a folder of your own"):
        make_home(tmp_path)
