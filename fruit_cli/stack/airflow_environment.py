"""Makes the environment of the local Airflow's processes.

It has nothing but what a process needs, so that a variable of the person's shell (an AIRFLOW__ setting, an AWS profile)
never changes what the local Airflow does.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from local_cloud.cluster.spark_environment import ONE_THREAD_A_PROCESS
from local_cloud.keys import Role
from local_cloud.project import ACCOUNT
from local_cloud.s3.server import NO_OBJECT_CHECKSUMS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from local_cloud.stack.secrets import LocalSecrets

AWS_CONNECTION_ID: Final = "aws_default"
# It is named and not imported, because the command line may be installed without Airflow.
SCHEDULER_MODULE: Final = "fruit_cli.stack.airflow_scheduler"
AIRFLOW_USER: Final = "admin"
PARALLEL_TASKS: Final = 4
# Where SQS and SNS answer, if there are any: the local cloud has neither.
MESSAGES_VARIABLE: Final = "FRUITS_LOCAL_MESSAGES_URL"
# Another database than a file of SQLite, as SQLAlchemy writes addresses.
DATABASE_VARIABLE: Final = "FRUITS_LOCAL_DATABASE_URL"
# What a shell hands on. FRUITS_* settings of the person come along too.
INHERITED: Final = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG")


@dataclass(frozen=True)
class AirflowPlace:
    """Says where the local Airflow lives and what it talks to."""

    project: Path
    home: Path  # of Airflow itself
    dags: Path
    plugins: Path
    port: int
    s3_url: str
    emr_url: str
    region: str
    bucket: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def passwords_file(self) -> Path:
        """Returns the file that Airflow's auth manager reads. `passwords` returns its content."""
        return self.home / "passwords.json"


def aws_connection(place: AirflowPlace, secrets: LocalSecrets, messages_url: str = "") -> str:
    """Returns the value of AIRFLOW_CONN_AWS_DEFAULT: one connection that sends S3 and EMR, and SQS and SNS if there are
    any, to their local addresses.
    """
    urls = {"s3": place.s3_url, "emr": place.emr_url, "sqs": messages_url, "sns": messages_url}
    services = {name: {"endpoint_url": url} for name, url in urls.items() if url}
    keys = secrets.keys_of(Role.AIRFLOW)
    return json.dumps(
        {
            "conn_type": "aws",
            "login": keys.access_key_id,
            "password": keys.secret_access_key,
            "extra": {
                "region_name": place.region,
                "service_config": services,
                "config_kwargs": {"s3": {"addressing_style": "path"}},
            },
        }
    )


def passwords(secrets: LocalSecrets) -> str:
    """Returns the content of the file of passwords."""
    return json.dumps({AIRFLOW_USER: secrets.airflow_password})


def airflow_environment(place: AirflowPlace, secrets: LocalSecrets, inherited: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of the scheduler, dag-processor, triggerer, API server and every task."""
    kept = {name: value for name, value in inherited.items() if name in INHERITED or name.startswith("FRUITS_")}
    keys = secrets.keys_of(Role.AIRFLOW)
    return {
        **kept,
        **_settings(place, secrets, kept.get(DATABASE_VARIABLE, "")),
        f"AIRFLOW_CONN_{AWS_CONNECTION_ID.upper()}": aws_connection(place, secrets, kept.get(MESSAGES_VARIABLE, "")),
        "AIRFLOW_HOME": str(place.home),
        "HOME": kept.get("HOME") or str(place.home),
        "PYTHONPATH": os.pathsep.join(map(str, (place.project, place.plugins))),
        "PYTHONUNBUFFERED": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        # setproctitle would overwrite the environment by which leftovers are found.
        "SPT_NOENV": "1",
        "FRUITS_LAKE_BUCKET": place.bucket,
        "FRUITS_AWS_REGION": place.region,
        "FRUITS_LAKE_OWNER": ACCOUNT,
        "FRUITS_AWS_CONN_ID": AWS_CONNECTION_ID,
        # A step here takes seconds, and asking costs nothing.
        "FRUITS_POLL_SECONDS": "1",
        "FRUITS_RETRY_DELAY_SECONDS": kept.get("FRUITS_RETRY_DELAY_SECONDS", "5"),
        "FRUITS_LOG_WAIT_MINUTES": kept.get("FRUITS_LOG_WAIT_MINUTES", "1"),
        # Names that the local EMR takes for what they stand for in an account.
        "FRUITS_SECURITY_CONFIGURATION": kept.get("FRUITS_SECURITY_CONFIGURATION", "local"),
        "FRUITS_SUBNET_ID": kept.get("FRUITS_SUBNET_ID", "subnet-0"),
        "FRUITS_NOTIFICATION_FILE": str(place.home / "notifications.jsonl"),
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_REGION": place.region,
        "AWS_DEFAULT_REGION": place.region,
        "AWS_ENDPOINT_URL_S3": place.s3_url,
        "AWS_ENDPOINT_URL_EMR": place.emr_url,
        # A profile of the person at this laptop must never be used by mistake.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **NO_OBJECT_CHECKSUMS,
        **ONE_THREAD_A_PROCESS,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def airflow_processes(airflow: Path, port: int) -> dict[str, tuple[str, ...]]:
    """Returns the command of each process by its name. `airflow` is the program.

    The log servers are left out: they listen on every address, and the API server reads the logs from the same disk.
    """
    program = str(airflow)
    return {
        "airflow-scheduler": (
            str(airflow.with_name("python")),
            "-m",
            SCHEDULER_MODULE,
            "scheduler",
            "--skip-serve-logs",
        ),
        "airflow-dag-processor": (program, "dag-processor"),
        "airflow-triggerer": (program, "triggerer", "--skip-serve-logs"),
        "airflow-api-server": (program, "api-server", "--host", "127.0.0.1", "--port", str(port)),
    }


def api_server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of all processes, with the API server's own way of waiting for SQLite."""
    own = {} if environment.get(DATABASE_VARIABLE) else _connect_arguments("CONNECT_ARGUMENTS_OF_THE_API_SERVER")
    return {**environment, **_as_variables(own)}


def _settings(place: AirflowPlace, secrets: LocalSecrets, database_url: str) -> dict[str, str]:
    settings = {
        ("core", "dags_folder"): str(place.dags),
        ("core", "plugins_folder"): str(place.plugins),
        ("core", "load_examples"): "False",
        ("core", "executor"): "LocalExecutor",
        ("core", "parallelism"): str(PARALLEL_TASKS),
        ("core", "default_timezone"): "utc",
        ("core", "fernet_key"): secrets.airflow_fernet_key,
        ("core", "execution_api_server_url"): f"{place.url}/execution/",
        ("core", "auth_manager"): "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        # Not everybody is an admin: other users of this machine, and web pages that its browser shows, reach the port,
        # too.
        ("core", "simple_auth_manager_all_admins"): "False",
        ("core", "simple_auth_manager_users"): f"{AIRFLOW_USER}:admin",
        ("core", "simple_auth_manager_passwords_file"): str(place.passwords_file),
        ("database", "sql_alchemy_conn"): database_url or f"sqlite:///{place.home / 'airflow.db'}",
        **({} if database_url else _connect_arguments("CONNECT_ARGUMENTS")),
        ("logging", "base_log_folder"): str(place.home / "logs"),
        ("logging", "colored_console_log"): "False",
        ("api", "base_url"): place.url,
        ("api", "host"): "127.0.0.1",
        ("api", "port"): str(place.port),
        ("api", "secret_key"): secrets.airflow_api_secret,
        ("api", "instance_name"): "Fruits! (local cloud)",
        ("api_auth", "jwt_secret"): secrets.airflow_jwt_secret,
        # A new or changed DAG shows within seconds; an unchanged one is parsed every other minute, for parsing costs a
        # second of CPU.
        ("dag_processor", "refresh_interval"): "5",
        ("dag_processor", "bundle_refresh_check_interval"): "2",
        ("dag_processor", "min_file_process_interval"): "120",
        ("dag_processor", "parsing_processes"): "1",
        ("scheduler", "enable_health_check"): "False",
        # Each of a run's tasks waits for a look of the scheduler, which takes 25 ms of a core. By default it looks once
        # a second.
        ("scheduler", "scheduler_idle_sleep_time"): "0.5",
        # A worker that died is noticed within half a minute: on one machine no network delays a heartbeat.
        ("scheduler", "task_instance_heartbeat_timeout"): "30",
        # This is how long it may take until a task's process is seen to have ended. If a task is resumed before that,
        # because its step ended within seconds, Airflow 3.3 takes it for lost and tries it again (its issues 71580 and
        # 72716).
        ("workers", "min_heartbeat_interval"): "1",
        # Together these are 15 seconds, as by default (three heartbeats of five seconds).
        ("workers", "max_failed_heartbeats"): "15",
        ("usage_data_collection", "enabled"): "False",
    }
    return _as_variables(settings)


def _connect_arguments(name: str) -> dict[tuple[str, str], str]:
    path = f"fruit_cli.stack.airflow_sqlite.{name}"
    return {("database", "sql_alchemy_connect_args"): path, ("database", "sql_alchemy_connect_args_async"): path}


def _as_variables(settings: Mapping[tuple[str, str], str]) -> dict[str, str]:
    return {f"AIRFLOW__{section.upper()}__{name.upper()}": value for (section, name), value in settings.items()}
