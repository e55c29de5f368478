"""Checks the pages as Airflow's own API server serves them: who may see them, and what they read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from fruit_contract.lake import progress_key
from fruit_pipeline.emr.cluster_request import MAIN_DAG_ID
from fruit_pipeline.places import Place
from fruit_pipeline.progress.page import progress_path
from fruit_pipeline.settings import Settings
from tests.dags.airflow_home import copy_database
from tests.plugins.progress.test_tracking import SAID
from tests.plugins.sample_lake import BUCKET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.testclient import TestClient

    from tests.plugins.sample_lake import SampleLake

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
    pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`"),
]

RUN_ID = str(SAID["run_id"])
PAGE = progress_path(RUN_ID)


@pytest.fixture(scope="module")
def database(airflow_database: Path) -> None:
    """Gives the home Airflow's database, which holds revoked tokens and teams."""
    copy_database(airflow_database)


@pytest.fixture
def api_server(database: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TestClient]:
    """Returns a function that starts Airflow's own API server, with a login or without."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from starlette.testclient import TestClient

    def start(*, login: bool = True) -> TestClient:
        monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", str(not login))
        purge_cached_app()
        return TestClient(create_app(apps="core"))

    return start


@pytest.fixture
def lake(empty_lake: SampleLake, monkeypatch: pytest.MonkeyPatch) -> SampleLake:
    """Returns the lake that the pages read."""
    import fruit_pipeline.progress.app

    monkeypatch.setattr(fruit_pipeline.progress.app, "load_settings", lambda: Settings(lake_bucket=BUCKET))
    monkeypatch.setattr(fruit_pipeline.progress.app, "lake_of", lambda _: empty_lake.lake)
    return empty_lake


def token(role: str | None) -> str:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    return str(get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ann", role=role)))


def test_only_who_may_see_the_runs_sees_the_page(api_server: Callable[..., TestClient], lake: SampleLake) -> None:
    client = api_server()
    lake.lake.write_json(progress_key(RUN_ID, "extract_features"), SAID)

    refused = client.get(PAGE)
    assert refused.status_code == 401
    assert "Log in to Airflow" in refused.text
    assert "22,688" not in refused.text
    assert client.get(PAGE, headers={"Authorization": "Bearer nonsense"}).status_code == 403
    assert client.get(PAGE, headers={"Authorization": f"Bearer {token(None)}"}).status_code == 403

    shown = client.get(PAGE, headers={"Cookie": f"_token={token('VIEWER')}"})
    assert shown.status_code == 200
    assert "of 22,688 images done" in shown.text
    assert client.get(PAGE, headers={"Authorization": f"Bearer {token('VIEWER')}"}).status_code == 200


def test_where_airflow_has_no_login_everybody_sees_it(api_server: Callable[..., TestClient], lake: SampleLake) -> None:
    shown = api_server(login=False).get(PAGE)
    assert shown.status_code == 200
    assert "No progress yet" in shown.text
    assert shown.headers["content-security-policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'self'" in shown.headers["content-security-policy"]
    assert shown.headers["cache-control"] == "no-store"


def test_nothing_else_is_served(api_server: Callable[..., TestClient], lake: SampleLake) -> None:
    client = api_server(login=False)
    for path in ("/fruits/", "/fruits/docs", "/fruits/redoc", "/fruits/openapi.json"):
        assert client.get(path).status_code == 404, path
    assert client.post(PAGE).status_code == 405


def planned(place: dict[str, str]) -> None:
    """Leaves in Airflow's database what `plan_run` has told, and no more of the run than the database asks for."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import text

    with create_session() as session:
        session.execute(text("PRAGMA foreign_keys=OFF"))
        run = DagRun(dag_id=MAIN_DAG_ID, run_id=RUN_ID, run_type="manual", run_after=datetime(2026, 11, 22, tzinfo=UTC))
        session.add(run)
        session.flush()
        told = {
            "dag_id": MAIN_DAG_ID,
            "run_id": RUN_ID,
            "dag_run_id": run.id,
            "task_id": "plan_run",
            "map_index": -1,
            "key": "place",
        }
        session.add(XComModel(**told, value=json.dumps(place)))


def test_the_progress_of_a_run_is_read_where_it_was_planned(
    api_server: Callable[..., TestClient], lake: SampleLake, monkeypatch: Any
) -> None:
    client, asked = api_server(login=False), []
    monkeypatch.setattr(
        "fruit_pipeline.progress.app.lake_of", lambda settings: asked.append(Place.of(settings)) or lake.lake
    )
    before = Place("old-lake", "", "eu-west-3", "old")
    client.get(PAGE)
    planned(before.as_dict())
    client.get(PAGE)
    assert asked == [Place.of(Settings(lake_bucket=BUCKET)), before]


def test_no_run_id_leads_out_of_the_progress(
    api_server: Callable[..., TestClient], lake: SampleLake, monkeypatch: Any
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(lake.lake, "read_bytes", lambda key: asked.append(key) or b"{}")
    client = api_server(login=False)
    for run_id in ("../../code/current.json", "a/b", "<script>", "manual__2026-11-22T00:00:00+00:00", "ä%?#"):
        shown = client.get(progress_path(run_id))
        assert shown.status_code == 200, run_id
        assert "<script" not in shown.text
    assert [[*key.split("/")[:2], str(key.count("/"))] for key in asked] == [["runs", "_progress", "3"]] * 5


def test_what_can_not_be_understood_is_no_progress(api_server: Callable[..., TestClient], lake: SampleLake) -> None:
    lake.lake.write(progress_key(RUN_ID, "extract_features"), json.dumps(SAID)[:50].encode(), "application/json")
    assert "No progress yet" in api_server(login=False).get(PAGE).text


def test_a_lake_that_can_not_be_read_is_told_without_its_secrets(
    api_server: Callable[..., TestClient], lake: SampleLake, monkeypatch: Any
) -> None:
    from botocore.exceptions import EndpointConnectionError

    def refuse(_: str) -> bytes:
        raise EndpointConnectionError(endpoint_url="https://secret.example")

    monkeypatch.setattr(lake.lake, "read_bytes", refuse)
    shown = api_server(login=False).get(PAGE)
    assert shown.status_code == 502
    assert "its log says why" in shown.text
    assert "secret.example" not in shown.text


def test_the_link_leads_to_the_page_wherever_airflow_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    from fruit_pipeline.progress.link import ProgressLink

    link, task_instance = ProgressLink(), SimpleNamespace(run_id=RUN_ID)
    assert link.name == "Progress"
    for base_url, before in (
        ("https://airflow.example", ""),
        ("http://127.0.0.1:8080/", ""),
        ("https://example.org/data/airflow/", "/data/airflow"),
    ):
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
        assert link.get_link(None, ti_key=task_instance) == f"{before}{PAGE}"  # type: ignore[arg-type]


def test_a_serialised_dag_keeps_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import DAG, BaseOperator
    from airflow.serialization.serialized_objects import DagSerialization

    from fruit_pipeline.progress.link import ProgressLink

    class Linked(BaseOperator):
        operator_extra_links = (ProgressLink(),)

    with DAG("linked", schedule=None) as dag:
        Linked(task_id="step")
    (link,) = DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task("step").operator_extra_links
    assert (link.name, link.xcom_key) == ("Progress", "_link_ProgressLink")


def test_only_the_api_server_loads_the_pages() -> None:
    code = """
import sys
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
before = "fruit_pipeline.progress.app" in sys.modules or "fastapi" in sys.modules
apps, _ = plugins_manager.get_fastapi_plugins()
named = [plugin.name for plugin in plugins if plugin.name == "fruits_ui"]
print(named, errors, before, [app["url_prefix"] for app in apps])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert "['fruits_ui'] {} False ['/fruits" in done.stdout.splitlines()[-1]
