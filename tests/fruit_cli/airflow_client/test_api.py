from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest

from fruit_cli.airflow_client import http as airflow_http
from fruit_cli.airflow_client.api import AirflowApi
from fruit_cli.airflow_client.http import (
    AirflowAddress,
    AirflowError,
    AirflowHttp,
    Login,
    current_airflow,
    local_airflow,
)
from fruit_cli.lake.target import Target
from local_cloud.stack.state import StackState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fruit_cli.conftest import FakeAirflow

RUN = {
    "dag_run_id": "manual__1",
    "state": "running",
    "run_type": "manual",
    "logical_date": None,
    "run_after": "2026-11-22T08:00:00Z",
    "duration": None,
}


@pytest.fixture(autouse=True)
def nothing_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_LOCAL_HOME", str(tmp_path))


def test_without_a_local_stack_no_other_airflow_is_taken_in_its_place() -> None:
    with pytest.raises(AirflowError, match=r"No local Airflow is up.*make up"):
        current_airflow(Target.LOCAL, {"AIRFLOW_API_URL": "https://airflow.example", "AIRFLOW_API_TOKEN": "secret"})
    with pytest.raises(AirflowError, match="Set AIRFLOW_API_URL"):
        current_airflow(Target.AWS, {})


def test_uses_the_airflow_of_the_environment() -> None:
    address = current_airflow(
        Target.AWS, {"AIRFLOW_API_URL": "https://airflow.example/", "AIRFLOW_API_TOKEN": "secret"}
    )
    assert address == AirflowAddress("https://airflow.example", "secret")
    assert not address.is_local
    assert "secret" not in repr(address)


def test_asks_for_the_token_that_is_missing() -> None:
    with pytest.raises(AirflowError, match="AIRFLOW_API_TOKEN is not"):
        current_airflow(Target.AWS, {"AIRFLOW_API_URL": "https://airflow.example"})


@pytest.mark.parametrize("url", ["http://airflow.example", "airflow.example", "http://127.0.0.1.example"])
def test_sends_no_token_in_the_clear(url: str) -> None:
    with pytest.raises(AirflowError, match="https://"):
        current_airflow(Target.AWS, {"AIRFLOW_API_URL": url, "AIRFLOW_API_TOKEN": "secret"})


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"])
def test_allows_plain_http_on_this_machine(url: str) -> None:
    assert current_airflow(Target.AWS, {"AIRFLOW_API_URL": url, "AIRFLOW_API_TOKEN": "secret"}).url == url


def test_logs_in_as_a_user_and_again_when_the_token_has_run_out(fake_airflow: FakeAirflow) -> None:
    environment = {
        "AIRFLOW_API_URL": "https://airflow.example",
        "AIRFLOW_API_USER": "ada",
        "AIRFLOW_API_PASSWORD": "pass word",
    }
    address = current_airflow(Target.AWS, environment)
    assert "pass word" not in repr(address)
    fake_airflow.on(
        "GET",
        f"/dags/fruit_image_pipeline/dagRuns/{RUN['dag_run_id']}",
        httpx.Response(401, json={"detail": "ended"}),
        RUN,
    )
    with AirflowHttp(address, transport=httpx.MockTransport(fake_airflow), sleep=fake_airflow.sleep) as http:
        assert AirflowApi(http).dag_run("manual__1").state == "running"
    logins = [request for request in fake_airflow.requests if request.url.path == "/auth/token"]
    assert [request.method for request in logins] == ["POST", "POST"]
    assert json.loads(logins[0].content) == {"username": "ada", "password": "pass word"}


def test_a_password_that_is_refused_is_told_and_not_shown() -> None:
    refuses = httpx.MockTransport(lambda _: httpx.Response(401, json={"detail": "Invalid credentials"}))
    address = AirflowAddress("https://airflow.example", login=Login("ada", "wrong"))
    with (
        AirflowHttp(address, transport=refuses) as http,
        pytest.raises(AirflowError, match=r"Invalid credentials.*AIRFLOW_API_PASSWORD") as caught,
    ):
        AirflowApi(http).dag()
    assert "wrong" not in str(caught.value)


def test_logs_in_to_the_local_airflow_with_its_password_if_it_has_one() -> None:
    state = StackState(
        1, "http://s3", "http://emr", "http://127.0.0.1:8080", "key", "secret", "eu-west-1", "fruits-lake", "sesame"
    )
    assert local_airflow(state) == AirflowAddress(
        "http://127.0.0.1:8080", login=Login("admin", "sesame"), is_local=True
    )
    assert local_airflow(replace(state, airflow_password=None)) == AirflowAddress(
        "http://127.0.0.1:8080", is_local=True
    )


def test_the_airflow_of_a_compose_project_is_ours_and_its_links_lead_to_the_host() -> None:
    environment = {
        "AIRFLOW_API_URL": "http://airflow-apiserver:8080",
        "AIRFLOW_API_USER": "admin",
        "AIRFLOW_API_PASSWORD": "secret",
    }
    with pytest.raises(AirflowError, match="https://"):
        current_airflow(Target.AWS, environment)
    address = current_airflow(
        Target.LOCAL, environment | {"AIRFLOW_API_IS_LOCAL": "1", "AIRFLOW_UI_URL": "http://127.0.0.1:18080"}
    )
    assert address.is_local
    with AirflowHttp(address) as http:
        assert (
            AirflowApi(http).run_link("manual__1") == "http://127.0.0.1:18080/dags/fruit_image_pipeline/runs/manual__1"
        )


def test_triggers_with_params_and_no_logical_date(api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow) -> None:
    fake_airflow.on("POST", "/dags/fruit_image_pipeline/dagRuns", RUN)
    assert api_of().trigger({"ingest_date": "2026-11-22", "categories": ["Äpfel 50%"]}) == "manual__1"
    [sent] = fake_airflow.bodies("POST", "/dags/fruit_image_pipeline/dagRuns")
    assert str(sent.pop("dag_run_id")).startswith("manual__")
    assert sent == {"logical_date": None, "conf": {"ingest_date": "2026-11-22", "categories": ["Äpfel 50%"]}}


def test_triggers_one_run_through_a_busy_database_and_a_lost_answer(fake_airflow: FakeAirflow) -> None:
    """Airflow began the second try's run, and nobody heard of it: the third is refused as a conflict, which is the
    wanted end.
    """
    troubles: Iterator[httpx.Response | Exception] = iter(
        [httpx.Response(500, json={"detail": {"reason": "Database error"}}), httpx.ReadTimeout("timed out")]
    )

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return fake_airflow(request)
        fake_airflow.requests.append(request)
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "local-token"})
        trouble = next(troubles, httpx.Response(409, json={"detail": {"reason": "Unique constraint violation"}}))
        if isinstance(trouble, httpx.Response):
            return trouble
        raise trouble

    with AirflowHttp(
        AirflowAddress("http://127.0.0.1:1"), transport=httpx.MockTransport(answer), sleep=fake_airflow.sleep
    ) as http:
        run_id = AirflowApi(http).trigger({})
    sent = fake_airflow.bodies("POST", "/dags/fruit_image_pipeline/dagRuns")
    assert [body["dag_run_id"] for body in sent] == [run_id] * 3


def test_a_conflict_at_the_first_try_is_a_refusal(api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow) -> None:
    fake_airflow.on("POST", "/dags/fruit_image_pipeline/dagRuns", {"detail": "already there"}, status=409)
    with pytest.raises(AirflowError, match="already there"):
        api_of().trigger({})


def test_gets_a_token_from_the_local_airflow_once(api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow) -> None:
    fake_airflow.on("GET", "/dags/fruit_image_pipeline/dagRuns/manual__1", RUN)
    api = api_of()
    api.dag_run("manual__1")
    api.dag_run("manual__1")
    assert [request.url.path for request in fake_airflow.requests].count("/auth/token") == 1
    assert fake_airflow.requests[-1].headers["authorization"] == "Bearer local-token"


def test_gets_a_new_local_token_when_the_old_one_has_run_out(
    api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow
) -> None:
    fake_airflow.on(
        "GET", "/dags/fruit_image_pipeline/dagRuns/manual__1", httpx.Response(401, json={"detail": "expired"}), RUN
    )
    assert api_of().dag_run("manual__1").run_id == "manual__1"


def test_never_asks_an_airflow_elsewhere_for_a_token(
    api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow
) -> None:
    fake_airflow.on("GET", "/dags/fruit_image_pipeline/dagRuns/manual__1", {"detail": "no"}, status=401)
    with pytest.raises(AirflowError, match="refuses AIRFLOW_API_TOKEN"):
        api_of("given", "https://airflow.example").dag_run("manual__1")
    assert [request.headers["authorization"] for request in fake_airflow.requests] == ["Bearer given"]


def test_is_patient_while_airflow_is_busy(api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow) -> None:
    busy = [httpx.Response(status, json={"detail": "database is locked"}) for status in (500, 502, 503, 429)]
    fake_airflow.on("GET", "/dags/fruit_image_pipeline/dagRuns/manual__1", *busy, RUN)
    assert api_of().dag_run("manual__1").state == "running"
    assert fake_airflow.slept == len(busy)


def test_gives_up_on_an_airflow_that_never_answers(
    api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow
) -> None:
    fake_airflow.on("GET", "/dags/fruit_image_pipeline", {"detail": "starting"}, status=503)
    with pytest.raises(AirflowError, match=r"doesn't answer \(503: starting\)"):
        api_of().dag()
    assert fake_airflow.slept == airflow_http.PATIENCE_SECONDS


def test_a_post_that_names_nothing_is_sent_only_once_when_its_answer_is_lost(fake_airflow: FakeAirflow) -> None:
    def lose(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            fake_airflow.requests.append(request)
            raise httpx.ReadTimeout("timed out")
        return fake_airflow(request)

    http = AirflowHttp(
        AirflowAddress("http://127.0.0.1:1"), transport=httpx.MockTransport(lose), sleep=fake_airflow.sleep
    )
    with http, pytest.raises(AirflowError, match="its answer was lost"):
        http.send("POST", "/backfills", json={})
    assert [request.method for request in fake_airflow.requests].count("POST") == 1


def test_repeats_a_refusal_in_airflows_own_words(api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow) -> None:
    fake_airflow.on(
        "POST", "/dags/fruit_image_pipeline/dagRuns", {"detail": [{"msg": "ingest_date is not a date"}]}, status=422
    )
    with pytest.raises(AirflowError, match="Airflow refuses: ingest_date is not a date"):
        api_of().trigger({})


def test_does_not_know_a_dag_that_is_missing_or_stale(
    api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow
) -> None:
    assert api_of().dag() is None
    fake_airflow.on(
        "GET", "/dags/fruit_image_pipeline", {"is_paused": False, "is_stale": True, "next_dagrun_run_after": None}
    )
    assert api_of().dag() is None


def test_reads_every_page_of_runs(api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow) -> None:
    pages = [{"dag_runs": [{**RUN, "dag_run_id": str(number)}] * 100, "total_entries": 150} for number in (1, 2)]
    pages[1]["dag_runs"] = pages[1]["dag_runs"][:50]  # type: ignore[index]
    fake_airflow.on("GET", "/dags/fruit_image_pipeline/dagRuns", *pages)
    assert len(api_of().dag_runs({"run_type": "backfill"})) == 150
    assert [request.url.params["offset"] for request in fake_airflow.requests[1:]] == ["0", "100"]


def test_reads_logs_with_the_errors_they_carry(api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow) -> None:
    error = {
        "event": "Task failed",
        "error_detail": [
            {
                "exc_type": "StepFailed",
                "exc_value": "exit code 1",
                "frames": [{"filename": "a.py", "lineno": 7, "name": "execute"}],
            },
            {"exc_type": "OSError", "exc_value": "no space", "frames": []},
        ],
    }
    path = "/dags/fruit_image_pipeline/dagRuns/manual__1/taskInstances/extract_features/logs/2"
    fake_airflow.on(
        "GET", path, {"content": [{"event": "::group::Log"}, {"event": "one\ntwo"}, error], "continuation_token": None}
    )
    assert api_of().log_lines("manual__1", "extract_features", 2) == [
        "one",
        "two",
        "Task failed",
        "OSError: no space",
        "StepFailed: exit code 1 (a.py:7, in execute)",
    ]


def test_has_no_log_lines_where_there_is_no_log(api_of: Callable[..., AirflowApi]) -> None:
    assert api_of().log_lines("manual__1", "extract_features", 1) == []


@pytest.mark.parametrize("stored", ["j-1", '"j-1"'])
def test_reads_what_a_task_returned(api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow, stored: str) -> None:
    path = "/dags/fruit_image_pipeline/dagRuns/manual__1/taskInstances/create_cluster/xcomEntries/return_value"
    fake_airflow.on("GET", path, {"value": stored})
    assert api_of().xcom("manual__1", "create_cluster") == "j-1"
    assert api_of().xcom("manual__1", "plan_run") is None


def test_quotes_run_ids_in_addresses(api_of: Callable[..., AirflowApi], fake_airflow: FakeAirflow) -> None:
    run_id = "manual__2026-11-22T08:00:00+00:00"
    api = api_of()
    assert api.run_link(run_id, "plan_run").endswith("/runs/manual__2026-11-22T08%3A00%3A00%2B00%3A00/tasks/plan_run")
    fake_airflow.on("GET", f"/dags/fruit_image_pipeline/dagRuns/{run_id}", RUN)
    assert api.dag_run(run_id).run_id == "manual__1"
