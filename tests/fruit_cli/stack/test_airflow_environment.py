from __future__ import annotations

import importlib.util
import json
import pkgutil
from pathlib import Path

import boto3
import botocore.loaders
import botocore.session
import pytest

from fruit_cli.stack.airflow_environment import (
    DATABASE_VARIABLE,
    SCHEDULER_MODULE,
    AirflowPlace,
    airflow_environment,
    airflow_processes,
    api_server_environment,
    passwords,
)
from fruit_cli.stack.airflow_scheduler import SERVICES, share_service_descriptions
from local_cloud.keys import Role
from local_cloud.stack.secrets import LocalSecrets, draw


@pytest.fixture
def place(tmp_path: Path) -> AirflowPlace:
    project = Path("/project")
    return AirflowPlace(
        project=project,
        home=tmp_path / "airflow",
        dags=project / "dags",
        plugins=project / "plugins",
        port=8080,
        s3_url="http://127.0.0.1:9300",
        emr_url="http://127.0.0.1:9301",
        region="eu-west-1",
        bucket="fruits-lake",
    )


@pytest.fixture
def secrets() -> LocalSecrets:
    return draw()


def test_the_persons_airflow_and_aws_settings_do_not_come_along(place: AirflowPlace, secrets: LocalSecrets) -> None:
    inherited = {
        "PATH": "/bin",
        "AIRFLOW__CORE__EXECUTOR": "Celery",
        "AWS_PROFILE": "production",
        "FRUITS_TARGET_VARIANCE": "0.9",
    }
    environment = airflow_environment(place, secrets, inherited)
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "AWS_PROFILE" not in environment
    assert environment["AWS_CONFIG_FILE"] == "/dev/null"
    assert environment["FRUITS_TARGET_VARIANCE"] == "0.9"


def test_the_connection_sends_s3_and_emr_to_their_local_addresses(place: AirflowPlace, secrets: LocalSecrets) -> None:
    environment = airflow_environment(place, secrets, {})
    connection = json.loads(environment["AIRFLOW_CONN_AWS_DEFAULT"])
    keys = secrets.keys_of(Role.AIRFLOW)
    assert (connection["login"], connection["password"]) == (keys.access_key_id, keys.secret_access_key)
    assert environment["AWS_ACCESS_KEY_ID"] == keys.access_key_id != secrets.access_key_id
    assert connection["extra"]["service_config"] == {
        "s3": {"endpoint_url": "http://127.0.0.1:9300"},
        "emr": {"endpoint_url": "http://127.0.0.1:9301"},
    }
    assert connection["extra"]["region_name"] == environment["FRUITS_AWS_REGION"] == "eu-west-1"


def test_everything_is_on_the_loopback_and_no_log_server_is_started(place: AirflowPlace) -> None:
    processes = airflow_processes(Path("/venv/bin/airflow"), 8080)
    assert "127.0.0.1" in processes["airflow-api-server"]
    assert "--skip-serve-logs" in processes["airflow-scheduler"]
    assert "--skip-serve-logs" in processes["airflow-triggerer"]


def test_nobody_is_admin_without_the_password(place: AirflowPlace, secrets: LocalSecrets) -> None:
    environment = airflow_environment(place, secrets, {})
    assert environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] == "False"
    (user,) = json.loads(passwords(secrets)).items()
    assert user == (environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"].partition(":")[0], secrets.airflow_password)
    assert environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"] == str(place.passwords_file)


def test_no_secret_is_in_a_command(place: AirflowPlace, secrets: LocalSecrets) -> None:
    words = " ".join(word for command in airflow_processes(Path("airflow"), 8080).values() for word in command)
    assert not [secret for secret in vars(secrets).values() if secret in words]


@pytest.mark.parametrize(
    "setting", ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC"]
)
def test_the_api_server_gives_up_on_a_locked_database_long_before_the_scheduler_would(
    place: AirflowPlace, secrets: LocalSecrets, setting: str
) -> None:
    of_the_others = airflow_environment(place, secrets, {})
    of_the_api_server = api_server_environment(of_the_others)
    waits = [
        pkgutil.resolve_name(environment[setting])["timeout"] for environment in (of_the_api_server, of_the_others)
    ]
    assert waits[0] * 2 <= waits[1]
    assert {name for name in of_the_others if of_the_others[name] != of_the_api_server[name]} <= {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC",
    }


def test_another_database_than_sqlite_is_opened_as_airflow_opens_it(place: AirflowPlace, secrets: LocalSecrets) -> None:
    address = "postgresql+psycopg2://airflow@/postgres?host=/tmp/x"
    environment = airflow_environment(place, secrets, {DATABASE_VARIABLE: address})
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == address
    assert not [name for name in api_server_environment(environment) if "CONNECT_ARGS" in name]


def test_the_scheduler_loads_modules_of_others_that_there_are() -> None:
    module = importlib.import_module(SCHEDULER_MODULE)
    assert all(importlib.util.find_spec(name) for name in module.LOADED_BEFOREHAND)
    assert not any(name.startswith(("fruit", "local_cloud")) for name in module.LOADED_BEFOREHAND)


def test_aws_sessions_of_the_scheduler_share_what_describes_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.session, "create_loader", botocore.session.create_loader)  # undone afterwards

    share_service_descriptions()

    monkeypatch.setattr(
        botocore.loaders.JSONFileLoader, "load_file", lambda _, path: pytest.fail(f"{path} is read again")
    )
    for service in SERVICES:
        assert (
            boto3.Session("nobody", "nothing").client(service, region_name="eu-west-3").meta.service_model.service_name
            == service
        )
