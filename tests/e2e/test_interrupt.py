"""Ctrl-C ends what the demo has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from local_cloud.stack.state import HOME_VARIABLE, read_state
from local_cloud.stack.sweep import STACK_MARK, marked_processes
from tests.e2e.conftest import copy_database

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_ctrl_c_leaves_no_process_of_the_demo(tmp_path: Path, airflow_database: Path) -> None:
    copy_database(airflow_database, tmp_path)
    environment = os.environ | {HOME_VARIABLE: str(tmp_path)}
    environment |= {f"FRUITS_LOCAL_{name}_PORT": "0" for name in ("UI", "S3", "EMR")}
    # Where the tests themselves do not hear Ctrl-C (started in the background by a script), the demo would not either.
    as_before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        demo = subprocess.Popen(
            [sys.executable, "-m", "fruit_cli", "demo", "--images-per-category", "2", "--days", "1"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, as_before)
    deadline = time.monotonic() + 200
    while read_state(tmp_path) is None:
        assert demo.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert len(marked_processes(STACK_MARK, str(tmp_path))) >= 6

    # As a terminal does: to everything in the foreground at once.
    os.killpg(demo.pid, signal.SIGINT)
    said, _ = demo.communicate(timeout=60)

    assert demo.returncode == 130, said
    # The first where the stack was up; the second where it was just coming up, and ended itself.
    assert "Everything has stopped." in said or "Nothing was up." in said
    assert marked_processes(STACK_MARK, str(tmp_path)) == []
    assert read_state(tmp_path) is None
