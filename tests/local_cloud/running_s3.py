"""Starts S3 for a test, as far away as the test asks."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from local_cloud.stack.latency import request_counts
from local_cloud.stack.ports import LOOPBACK, choose_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0


@dataclass(frozen=True)
class RunningS3:
    """Describes an S3 that answers at `url`. A bucket is a folder below `root`."""

    root: Path
    url: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    process_id: int
    counts_requests: bool

    @property
    def environment(self) -> dict[str, str]:
        """Returns the variables that a client of this S3 must find in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL_S3": self.url,
        }

    def request_counts(self) -> dict[str, int]:
        """Returns how many requests of each kind (GET, LIST, HEAD, PUT, POST, DELETE) there have been so far."""
        if not self.counts_requests:
            raise RuntimeError("Start S3 with count_requests=True or with a latency to have its requests counted.")
        return request_counts(self.url)


@contextlib.contextmanager
def running_s3(
    root: Path,
    *,
    buckets: Sequence[str] = (),
    latency_milliseconds: float = 0,
    count_requests: bool = False,
    access_log: Path | None = None,
) -> Iterator[RunningS3]:
    """Runs S3 over a folder until the end of the block.

    With a latency, every request waits that long in a proxy, which counts them; without one there is no proxy, unless
    the requests are to be counted. Each request is noted in `access_log`.
    """
    has_proxy = bool(latency_milliseconds) or count_requests
    keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}
    seen = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", **keys}
    port, proxy_port = choose_ports([0, 0])
    command = ["local_cloud.s3.server", "--root", str(root), "--port", str(port)]
    command += [argument for bucket in buckets for argument in ("--bucket", bucket)]
    if access_log:
        command += ["--access-log", str(access_log)]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_running(command, seen, port))
        if has_proxy:
            addresses = ["--listen", f"{LOOPBACK}:{proxy_port}", "--to", f"{LOOPBACK}:{port}"]
            stack.enter_context(
                _running(
                    ["local_cloud.stack.latency", *addresses, "--milliseconds", str(latency_milliseconds)],
                    seen,
                    proxy_port,
                )
            )
        url = f"http://{LOOPBACK}:{proxy_port if has_proxy else port}"
        yield RunningS3(root, url, keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], server.pid, has_proxy)


@contextlib.contextmanager
def _running(module: Sequence[str], environment: Mapping[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a module that listens on a port. Raises RuntimeError if it never does."""
    process = subprocess.Popen([sys.executable, "-m", *module], env=environment, stdin=subprocess.DEVNULL)
    try:
        _wait_until_listening(process, module[0], port)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], name: str, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"{name} does not listen on port {port}.")
