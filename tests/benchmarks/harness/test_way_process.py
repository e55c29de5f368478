"""A way answers from a process of its own, and says why when it breaks."""

from __future__ import annotations

import os

import psutil
import pytest

from benchmarks.harness import way_process
from benchmarks.harness.way_process import WayProcess
from fruit_cli.errors import CommandError

WAY = """
import os
def add(some, others):
    print("noise that must not reach the answer")
    os.system("echo more noise")
    return {"sum": some + others}
def fail():
    raise ValueError("the kiwi is a potato")
def leave():
    import subprocess, sys
    return {"pid": subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True).pid}
"""


@pytest.fixture
def start(tmp_path):
    (tmp_path / "trial_way.py").write_text(WAY)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    return lambda: WayProcess("trial_way", environment, tmp_path / "way.log")


def test_answers_one_request_after_the_other_whatever_is_printed(start):
    with start() as way:
        assert way.ask("add", some=1, others=2) == {"sum": 3}
        assert way.ask("add", some="a", others="ä") == {"sum": "aä"}
        assert way.cpu_seconds() > 0
    assert way._process.returncode == 0


def test_a_broken_way_says_its_last_words(start):
    with (
        start() as way,
        pytest.raises(CommandError, match=r"(?s)trial_way ended with exit code 1.*the kiwi is a potato"),
    ):
        way.ask("fail")


def test_what_a_way_leaves_running_ends_with_it(start, monkeypatch):
    monkeypatch.setattr(way_process, "_CHILDREN_END_SECONDS", 0.1)
    with start() as way:
        left = psutil.Process(way.ask("leave")["pid"])
        assert left.is_running()
    left.wait(10)
    assert not left.is_running()
