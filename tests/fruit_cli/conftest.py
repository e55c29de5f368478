from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from rich.console import Console

from fruit_cli.airflow_client.api import AirflowApi
from fruit_cli.airflow_client.http import AirflowAddress, AirflowHttp
from fruit_cli.lake.connection import LakeConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ACCESS_KEY = "FRUITSTESTKEY"
SECRET_KEY = "fruits-test-secret"
BUCKET = "fruits-lake"


@pytest.fixture
def console() -> Console:
    """Returns a console that keeps what is printed; read it with `export_text`."""
    return Console(record=True, width=200, highlight=False, file=io.StringIO())


@pytest.fixture
def local_s3(tmp_path: Path) -> Iterator[tuple[LakeConnection, Path]]:
    """Runs the local cloud's real S3 over an empty folder; yields how to reach it, and the bucket's folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = tmp_path / "s3"
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    command = [
        sys.executable,
        "-m",
        "local_cloud.s3.server",
        "--root",
        str(root),
        "--port",
        str(port),
        "--bucket",
        BUCKET,
    ]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        _wait_for(port, server)
        yield LakeConnection(BUCKET, "eu-west-1", f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY), root / BUCKET
    finally:
        server.terminate()
        server.communicate(timeout=30)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert server.poll() is None, "the S3 server ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("the S3 server didn't answer")


@pytest.fixture
def fruit_folder(tmp_path: Path) -> Path:
    """Returns a folder with three categories and five files, some with odd names."""
    folder = tmp_path / "fruit"
    for name, content in {
        "Apple Red 1/0_100.jpg": b"apple 0",
        "Apple Red 1/1_100.jpg": b"apple 1",
        "Äpfel 50%/a#b?.jpg": b"odd",
        "Kiwi/left/1.jpg": b"kiwi 1",
        "Kiwi/2.jpg": b"",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


class FakeAirflow:
    """Plays an Airflow with prepared answers: for each method and path below /api/v2, they are given in order, the last
    one for ever.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[httpx.Response]] = {}
        self.requests: list[httpx.Request] = []
        self.slept = 0.0

    def on(self, method: str, path: str, *answers: object, status: int = 200) -> None:
        responses = [
            answer if isinstance(answer, httpx.Response) else httpx.Response(status, json=answer) for answer in answers
        ]
        self.answers[(method, path)] = responses

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "local-token"})
        answers = self.answers.get((request.method, request.url.path.removeprefix("/api/v2")))
        if answers is None:
            return httpx.Response(404, json={"detail": "Not Found"})
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return httpx.Response(answer.status_code, content=answer.content, headers={"content-type": "application/json"})

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def bodies(self, method: str, path: str) -> list[dict[str, Any]]:
        """Returns the JSON bodies that were sent to this path."""
        sent = [
            request for request in self.requests if (request.method, request.url.path) == (method, "/api/v2" + path)
        ]
        return [json.loads(request.content) for request in sent]


@pytest.fixture
def fake_airflow() -> FakeAirflow:
    return FakeAirflow()


@pytest.fixture
def api_of(fake_airflow: FakeAirflow) -> Iterator[Callable[..., AirflowApi]]:
    """Yields a function that opens an API client of the fake Airflow, which is local unless a token is given."""
    opened: list[AirflowHttp] = []

    def open_api(token: str | None = None, url: str = "http://127.0.0.1:8080") -> AirflowApi:
        http = AirflowHttp(
            AirflowAddress(url, token, is_local=token is None),
            transport=httpx.MockTransport(fake_airflow),
            sleep=fake_airflow.sleep,
        )
        opened.append(http)
        return AirflowApi(http)

    yield open_api
    for http in opened:
        http.__exit__(None, None, None)
