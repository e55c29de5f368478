"""Starts a real local cloud for the tests: the S3 and the EMR server as processes, on free ports."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from local_cloud.stack.ports import choose_ports
from local_cloud.stack.sweep import STACK_MARK, end_marked_processes
from tests.local_cloud.running_cloud import BUCKET, KEYS, SECOND_LASTS, LocalCloud
from tests.local_cloud.written_faults import write_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from local_cloud.faults import Fault


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    home = tmp_path_factory.mktemp("local cloud")  # a home with a space in its name
    (home / "s3").mkdir()
    s3_port, emr_port = choose_ports([0, 0])
    s3_url, emr_url = f"http://127.0.0.1:{s3_port}", f"http://127.0.0.1:{emr_port}"
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": KEYS[0],
        "AWS_SECRET_ACCESS_KEY": KEYS[1],
        "AWS_ENDPOINT_URL_S3": s3_url,
        "FRUITS_LOCAL_SPARK_MEMORY": "1g",
        STACK_MARK: str(home),
    }
    root = str(home / "s3")
    s3 = [sys.executable, "-m", "local_cloud.s3.server", "--root", root, "--port", str(s3_port), "--bucket", BUCKET]
    emr = [
        sys.executable,
        "-m",
        "local_cloud.emr.server",
        "--home",
        str(home),
        "--port",
        str(emr_port),
        "--second-lasts",
        str(SECOND_LASTS),
    ]
    with (home / "servers.log").open("wb") as log:
        servers = [subprocess.Popen(command, env=environment, stdout=log, stderr=log) for command in (s3, emr)]
        try:
            for url, server in ((s3_url, servers[0]), (f"{emr_url}/health", servers[1])):
                _wait_for(url, server, home / "servers.log")
            yield LocalCloud(home, s3_url, emr_url, servers[1])
        finally:
            for server in servers:
                server.terminate()
            for server in servers:
                server.wait(30)
            end_marked_processes(STACK_MARK, str(home), grace_seconds=1)


@pytest.fixture(scope="session")
def committed() -> set[str]:
    """Returns a set for the ids of all faults so far."""
    return set()


@pytest.fixture
def commit(cloud: LocalCloud, committed: set[str]) -> Iterator[Callable[..., None]]:
    """Yields a function that has the cloud commit the given faults and no others, until the test ends or calls it
    again. Faults that a call leaves out are over.
    """

    def write(*faults: Fault) -> None:
        ids = {fault.id for fault in faults}
        # Strikes are counted by id for as long as the cloud is up.
        assert not ids & committed, "another test has used up a fault of this id"
        committed.update(ids)
        write_faults(cloud.home, faults)

    yield write
    write_faults(cloud.home, ())


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            httpx.get(url)
        except httpx.HTTPError:
            time.sleep(0.1)
            continue
        return
    raise AssertionError(f"{url} does not answer:\n{log.read_text()}")
