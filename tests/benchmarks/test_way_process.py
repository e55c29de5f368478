"""A way answers from a process of its own, and says why when it breaks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.way_process import WayProcess
from fruit_cli.errors import CommandError

WAY = """
import os
def add(some, others):
    print("noise that must not reach the answer")
    os.system("echo more noise")
    return {"sum": some + others}
def fail():
    raise ValueError("the kiwi is a potato")
HANDLERS = {"add": add, "fail": fail}
"""


@pytest.fixture
def start(tmp_path):
    (tmp_path / "trial_way.py").write_text(WAY)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(tmp_path)])}
    return lambda: WayProcess("trial_way", environment, tmp_path / "way.log")


def test_answers_one_request_after_the_other_whatever_is_printed(start):
    with start() as way:
        assert way.ask("add", some=1, others=2) == {"sum": 3}
        assert way.ask("add", some="a", others="ä") == {"sum": "aä"}
        assert way.cpu_seconds() > 0
    assert way._process.returncode == 0


def test_a_broken_way_says_its_last_words(start):
    with start() as way, pytest.raises(CommandError, match=r"(?s)trial_way ended with exit code 1.*the kiwi is a potato"):
        way.ask("fail")
