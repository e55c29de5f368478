"""Describes the processes of the local cloud: what starts S3 and EMR, with which environment, and when they are up."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fruit_cli.errors import CommandError
from local_cloud.s3.server import NO_OBJECT_CHECKSUMS
from local_cloud.stack.java import JavaNotFoundError, find_java
from local_cloud.stack.latency import COUNTS_PATH
from local_cloud.stack.ports import LOOPBACK
from local_cloud.stack.supervisor import ManagedProcess, ReadyCheck

if TYPE_CHECKING:
    from local_cloud.stack.state import StackState

REQUEST_LOGS_VARIABLE: Final = "FRUITS_LOCAL_REQUEST_LOGS"


def request_log(folder: Path, service: str) -> Path:
    """Returns the file in which the requests to `s3` or `emr` are noted."""
    return folder / f"{service}-requests.jsonl"


def s3_processes(
    home: Path, state: StackState, port: int, near_port: int, latency_milliseconds: float | None
) -> list[ManagedProcess]:
    """Returns the local S3 at `port`. With a latency it is at `near_port`, behind a proxy at `port` that keeps every
    request waiting so long.
    """
    if latency_milliseconds is None:
        return [_s3_process(home, state, port, state.s3_url)]
    proxy = ManagedProcess(
        name="s3-latency",
        arguments=(
            *(
                sys.executable,
                "-m",
                "local_cloud.stack.latency",
                "--listen",
                f"{LOOPBACK}:{port}",
                "--to",
                f"{LOOPBACK}:{near_port}",
            ),
            *("--milliseconds", str(latency_milliseconds)),
        ),
        environment=_cloud_environment(state),
        ready=ReadyCheck(url=state.s3_url + COUNTS_PATH),
    )
    return [_s3_process(home, state, near_port, f"http://{LOOPBACK}:{near_port}"), proxy]


def _s3_process(home: Path, state: StackState, port: int, url: str) -> ManagedProcess:
    return ManagedProcess(
        name="s3",
        arguments=(
            *(sys.executable, "-m", "local_cloud.s3.server", "--root", str(home / "s3")),
            *("--port", str(port), "--bucket", state.bucket, *_noting("s3")),
        ),
        environment=_cloud_environment(state),
        ready=ReadyCheck(url=url, statuses=(403,)),  # it is up if it refuses a request without a signature
    )


def emr_process(home: Path, state: StackState, port: int) -> ManagedProcess:
    """Returns the local EMR at `port`. Raises CommandError if there is no Java for its Spark."""
    try:
        java_home = find_java()
    except JavaNotFoundError as error:
        raise CommandError(str(error)) from error
    return ManagedProcess(
        name="emr",
        arguments=(
            *(sys.executable, "-m", "local_cloud.emr.server", "--home", str(home), "--port", str(port)),
            *_noting("emr"),
        ),
        environment=_cloud_environment(state) | {"JAVA_HOME": str(java_home)},
        ready=ReadyCheck(url=f"{state.emr_url}/health"),
    )


def _noting(service: str) -> tuple[str, ...]:
    """Returns the options with which a service notes each request in the folder that the environment names, if it names
    one.
    """
    folder = os.environ.get(REQUEST_LOGS_VARIABLE)
    return ("--access-log", str(request_log(Path(folder), service))) if folder else ()


def plain_environment() -> dict[str, str]:
    """Returns what each process of the stack takes over from this one."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return kept | {"PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _cloud_environment(state: StackState) -> dict[str, str]:
    """Returns the environment of the local S3 and EMR."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("FRUITS_LOCAL_SPARK_")}
    return {
        **plain_environment(),
        **settings,
        "AWS_ACCESS_KEY_ID": state.access_key_id,
        "AWS_SECRET_ACCESS_KEY": state.secret_access_key,
        "AWS_REGION": state.region,
        "AWS_DEFAULT_REGION": state.region,
        "AWS_ENDPOINT_URL_S3": state.s3_url,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **NO_OBJECT_CHECKSUMS,
        "NO_PROXY": "127.0.0.1,localhost",
    }
