from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import httpx
import pytest

from local_cloud.stack.ports import NoLoopbackError, choose_ports, keep_loopback_direct
from local_cloud.stack.state import StackState, why_it_stopped
from local_cloud.stack.supervisor import ManagedProcess, Plan, ReadyCheck, Supervisor, is_ready
from local_cloud.stack.sweep import is_alive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STATE = StackState(0, "http://127.0.0.1:1", "http://127.0.0.1:2", None, "key", "secret", "eu-west-1", "fruits-lake")


def test_a_plan_survives_its_way_to_the_supervisor() -> None:
    check = ReadyCheck("http://127.0.0.1:1", statuses=(200, 403), healthy=("scheduler",))
    plan = Plan(
        "/home",
        STATE,
        (ManagedProcess("s3", ("a", "b"), {"X": "1"}, check, comes_back=True), ManagedProcess("emr", ("c",), {})),
    )
    assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_does_not_show_its_secrets() -> None:
    plan = Plan("/home", STATE, (ManagedProcess("s3", ("a",), {"AWS_SECRET_ACCESS_KEY": "shh"}),))
    assert "shh" not in repr(plan)
    assert "secret" not in repr(plan)


@pytest.fixture
def health() -> Iterator[tuple[str, dict[str, str]]]:
    """Yields an address that answers with the health that the dictionary holds, and the dictionary."""
    from werkzeug.serving import make_server
    from werkzeug.wrappers import Response

    statuses: dict[str, str] = {}

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        import json

        body = json.dumps({name: {"status": status} for name, status in statuses.items()})
        return Response(body, status=404 if environ["PATH_INFO"] == "/none" else 200)(environ, start_response)

    server = make_server("127.0.0.1", 0, answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}", statuses
    server.shutdown()
    thread.join()
    server.server_close()


def test_is_ready_when_every_named_component_is_healthy(health: tuple[str, dict[str, str]]) -> None:
    url, statuses = health
    check = ReadyCheck(url, healthy=("scheduler", "triggerer"))
    statuses["scheduler"] = "healthy"
    assert not is_ready(check)
    statuses["triggerer"] = "unhealthy"
    assert not is_ready(check)
    statuses["triggerer"] = "healthy"
    assert is_ready(check)


def test_is_ready_with_the_statuses_it_expects_only(health: tuple[str, dict[str, str]]) -> None:
    url, _ = health
    assert not is_ready(ReadyCheck(f"{url}/none"))
    assert is_ready(ReadyCheck(f"{url}/none", statuses=(404,)))


def test_is_not_ready_while_nobody_listens() -> None:
    (port,) = choose_ports([0])
    assert not is_ready(ReadyCheck(f"http://127.0.0.1:{port}"))


def test_takes_the_preferred_port_or_another_if_somebody_has_it(health: tuple[str, dict[str, str]]) -> None:
    (free,) = choose_ports([0])
    assert choose_ports([free]) == [free]
    taken = httpx.URL(health[0]).port
    assert taken is not None
    (other,) = choose_ports([taken])
    assert other != taken


def test_says_what_to_do_where_nothing_can_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_cloud.stack.ports.LOOPBACK", "192.0.2.1")  # nobody's address
    with pytest.raises(NoLoopbackError, match="ip link set lo up"):
        choose_ports([0])


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "127.0.0.1,localhost,::1"), ("a.example,::1", "a.example,::1,127.0.0.1,localhost"), ("*", "*")],
)
def test_keeps_proxies_from_this_machine(before: str, after: str) -> None:
    environment = {"NO_PROXY": before, "HTTP_PROXY": "http://proxy.example"}
    keep_loopback_direct(environment)
    assert environment["NO_PROXY"] == after
    assert environment["no_proxy"] == "127.0.0.1,localhost,::1"
    assert environment["HTTP_PROXY"] == "http://proxy.example"


def test_gives_no_port_twice() -> None:
    (port,) = choose_ports([0])
    assert len(set(choose_ports([port, port, 0, 0]))) == 4


COUNTS_ITS_STARTS = """
import pathlib, subprocess, sys, time
starts = pathlib.Path("starts")
with starts.open("a") as stream:
    stream.write("x")
print("start", len(starts.read_text()), flush=True)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
with open("children", "a") as stream:
    stream.write(f"{child.pid} ")
time.sleep(600 if len(starts.read_text()) > 2 else float(sys.argv[1]))
sys.exit(3)
"""


@contextmanager
def supervised(home: Path, process: ManagedProcess, comes_back_after_seconds: float = 0) -> Iterator[list[str]]:
    """Supervises one process in a thread until the end of the block, and yields what the supervisor says. Where a test
    is the main thread, it also takes the signals that a supervisor heeds.
    """
    (home / "logs").mkdir()
    said: list[str] = []
    supervisor = Supervisor(
        Plan(str(home), STATE, (process,)), say=said.append, comes_back_after_seconds=comes_back_after_seconds
    )
    with patch("local_cloud.stack.supervisor.signal.signal"):
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        try:
            yield said
        finally:
            supervisor._stop(signal.SIGTERM, None)
            thread.join()


def counting(seconds: float, *, comes_back: bool) -> ManagedProcess:
    """Returns a process that ends after so many seconds, but runs on when it is started for the third time."""
    environment = {"PATH": os.environ["PATH"]}
    return ManagedProcess(
        "counter", (sys.executable, "-c", COUNTS_ITS_STARTS, str(seconds)), environment, comes_back=comes_back
    )


def test_a_process_that_comes_back_is_started_again_without_what_it_left_running(tmp_path: Path) -> None:
    with supervised(tmp_path, counting(1, comes_back=True)) as said:
        eventually(lambda: (tmp_path / "children").exists() and len(children_of(tmp_path)) == 3)
        assert [is_alive(child) for child in children_of(tmp_path)] == [False, False, True]
        assert why_it_stopped(tmp_path) is None
    told = [line for line in said if "starts again" in line]
    assert len(told) == 2
    assert "counter ended by itself with exit code 3" in told[0]
    assert "start 1" in told[0]
    assert (tmp_path / "logs" / "counter.log").read_text() == "start 1\nstart 2\nstart 3\n"
    assert not any(map(is_alive, children_of(tmp_path)))


def test_a_process_that_keeps_ending_ends_everything(tmp_path: Path) -> None:
    always = replace(counting(0.1, comes_back=True), arguments=(sys.executable, "-c", "import time; time.sleep(0.1)"))
    with supervised(tmp_path, always) as said:
        eventually(lambda: why_it_stopped(tmp_path) is not None)
    assert len([line for line in said if "starts again" in line]) == 3


def test_a_full_disk_does_not_keep_a_process_from_coming_back(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()

    def say(line: str) -> None:
        raise OSError(errno.ENOSPC, "no space left", line)

    plan = Plan(str(tmp_path), STATE, (counting(0.1, comes_back=True),))
    supervisor = Supervisor(plan, say=say, comes_back_after_seconds=0)
    with patch("local_cloud.stack.supervisor.signal.signal"):
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        try:
            eventually(lambda: (tmp_path / "starts").exists() and (tmp_path / "starts").read_text() == "xxx")
        finally:
            supervisor._stop(signal.SIGTERM, None)
            thread.join()


@pytest.mark.parametrize(("comes_back", "after_seconds"), [(False, 0), (True, 600)])
def test_a_process_that_does_not_come_back_or_ends_at_once_ends_everything(
    tmp_path: Path, comes_back: bool, after_seconds: float
) -> None:
    with supervised(tmp_path, counting(0, comes_back=comes_back), after_seconds):
        eventually(lambda: why_it_stopped(tmp_path) is not None)
    assert (tmp_path / "starts").read_text() == "x"
    assert "counter ended by itself with exit code 3, so everything is stopped" in (why_it_stopped(tmp_path) or "")
    assert not any(map(is_alive, children_of(tmp_path)))


def eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children_of(home: Path) -> list[int]:
    return [int(child) for child in (home / "children").read_text().split()]
