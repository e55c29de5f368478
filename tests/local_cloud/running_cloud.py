"""Describes a real local cloud for the tests, with methods to use it."""

from __future__ import annotations

import gzip
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

BUCKET = "fruits-lake"
KEYS = ("LOCALTESTKEY00000000", "a-secret-of-the-tests")
SECOND_LASTS = 0.05
PATIENCE_SECONDS = 60.0  # with a machine that has other things to do; what is waited for takes a second or two


@dataclass(frozen=True)
class LocalCloud:
    home: Path
    s3_url: str
    emr_url: str
    emr_server: subprocess.Popen[bytes]

    def client(self, service: str, region: str = "eu-west-1", *, attempts: int = 2) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.s3_url if service == "s3" else self.emr_url,
            region_name=region,
            aws_access_key_id=KEYS[0],
            aws_secret_access_key=KEYS[1],
            config=Config(retries={"total_max_attempts": attempts}, s3={"addressing_style": "path"}),
        )

    @property
    def bucket_folder(self) -> Path:
        return self.home / "s3" / BUCKET

    def run_cluster(self, *steps: dict[str, Any], keep_alive: bool = False, **request: Any) -> str:
        """Starts a cluster and returns its id."""
        instances = {
            "InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}],
            "KeepJobFlowAliveWhenNoSteps": keep_alive,
        } | request.pop("Instances", {})
        answer = self.client("emr").run_job_flow(
            **{"Name": "test", "LogUri": f"s3://{BUCKET}/logs/", "ReleaseLabel": "emr-7.14.0"} | request,
            Instances=instances,
            Steps=list(steps),
        )
        return str(answer["JobFlowId"])

    def cluster_status(self, cluster_id: str) -> dict[str, Any]:
        status: dict[str, Any] = self.client("emr").describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]
        return status

    def steps(self, cluster_id: str) -> list[dict[str, Any]]:
        """Returns the cluster's steps, oldest first."""
        return list(reversed(self.client("emr").list_steps(ClusterId=cluster_id)["Steps"]))

    def wait_for_cluster(self, cluster_id: str, *states: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        return wait_until(lambda: self.cluster_status(cluster_id), lambda status: status["State"] in states, seconds)

    def wait_for_step(
        self, cluster_id: str, number: int, *states: str, seconds: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        return wait_until(
            lambda: self.steps(cluster_id)[number], lambda step: step["Status"]["State"] in states, seconds
        )

    def wait_for_output(
        self, cluster_id: str, number: int, words: str, seconds: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        """Waits until the step's process has printed these words, and returns the step. (Its logs reach the bucket only
        when it has ended.)
        """
        step = self.wait_for_step(cluster_id, number, "RUNNING", seconds=seconds)
        stdout = self.home / "emr" / cluster_id / "steps" / step["Id"] / "stdout"
        wait_until(
            lambda: {"said": stdout.read_text() if stdout.exists() else ""}, lambda seen: words in seen["said"], seconds
        )
        return step

    def log(self, cluster_id: str, path: str) -> str:
        body = self.client("s3").get_object(Bucket=BUCKET, Key=f"logs/{cluster_id}/{path}.gz")["Body"].read()
        return gzip.decompress(body).decode()


def wait_until(
    look: Callable[[], dict[str, Any]], is_it: Callable[[dict[str, Any]], bool], seconds: float
) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while not is_it(seen := look()):
        assert time.monotonic() < deadline, f"still {seen}"
        time.sleep(0.05)
    return seen


def step(name: str, *arguments: str, on_failure: str = "CONTINUE", jar: str = "command-runner.jar") -> dict[str, Any]:
    return {"Name": name, "ActionOnFailure": on_failure, "HadoopJarStep": {"Jar": jar, "Args": list(arguments)}}


def shell(script: str, on_failure: str = "CONTINUE") -> dict[str, Any]:
    return step("shell", "bash", "-c", script, on_failure=on_failure)


def error_of(call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
    """Returns the code and message of the API error that the call ends in."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def command_of(process: psutil.Process) -> str:
    """Returns the command line of a process; empty if it has ended since it was listed."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
