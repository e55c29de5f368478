from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from local_cloud.stack.ports import NoLoopbackError, choose_ports, keep_loopback_direct
from local_cloud.stack.state import StackState
from local_cloud.stack.supervisor import ManagedProcess, Plan, ReadyCheck, is_ready

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE = StackState(0, "http://127.0.0.1:1", "http://127.0.0.1:2", None, "key", "secret", "eu-west-1", "fruits-lake")


def test_a_plan_survives_its_way_to_the_supervisor() -> None:
    check = ReadyCheck("http://127.0.0.1:1", statuses=(200, 403), healthy=("scheduler",))
    plan = Plan(
        "/home", STATE, (ManagedProcess("s3", ("a", "b"), {"X": "1"}, check), ManagedProcess("emr", ("c",), {}))
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
