"""Runs Spark's own history server over what the steps of a local cluster have left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from local_cloud.stack.state import HOME_VARIABLE
from tests.local_cloud.running_cloud import BUCKET, step

if TYPE_CHECKING:
    from tests.local_cloud.running_cloud import LocalCloud

pytestmark = pytest.mark.spark

JOB = """
from pyspark.sql import SparkSession
SparkSession.builder.getOrCreate().range(8).count()
"""


def test_shows_the_applications_of_a_cluster_that_has_ended(cloud: LocalCloud) -> None:
    cloud.client("s3").put_object(Bucket=BUCKET, Key="code/history/job.py", Body=JOB.encode())
    cluster = cloud.run_cluster(
        step("count", "spark-submit", "--name", "count_to_eight", f"s3://{BUCKET}/code/history/job.py")
    )
    cloud.wait_for_cluster(cluster, "TERMINATED", seconds=60)
    server = subprocess.Popen(
        [sys.executable, "-m", "fruit_cli", "spark_history", "--cluster", cluster],
        env=os.environ | {HOME_VARIABLE: str(cloud.home)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        assert url.startswith("http://127.0.0.1:")
        assert [application["name"] for application in applications(url)] == ["count_to_eight"]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=30)


def applications(url: str) -> list[dict[str, str]]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            found: list[dict[str, str]] = httpx.get(f"{url}/api/v1/applications").json()
        except (httpx.HTTPError, ValueError):
            found = []
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{url} shows no application")
