"""Plays the one machine of every local cluster: runs bootstrap actions and steps, and writes their logs."""

from __future__ import annotations

import logging
import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fruit_contract.release import EXTRACT_FEATURES_STEP, NODE_FOLDER
from local_cloud.cluster import logs as cluster_logs
from local_cloud.cluster.class_archive import ClassArchive
from local_cloud.cluster.life import FailureDetails
from local_cloud.cluster.spark_environment import (
    CONFIGURATION_FOLDER,
    event_log_folder,
    local_command,
    node_environment,
    spark_defaults,
    step_environment,
)
from local_cloud.cluster.step_process import NodeCommand, NodeProcess
from local_cloud.faults import FaultKind
from local_cloud.s3.objects import is_bucket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from local_cloud.cluster.spark_environment import Node
    from local_cloud.faults import ClusterFaults, Fault

COMMAND_RUNNER: Final = "command-runner.jar"
SPARK_SUBMIT: Final = "spark-submit"
CLASS_LIST: Final = "classes.txt"  # in the folder of the step that loaded them
STOP_GRACE_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClusterRequest:
    """Holds the part of a RunJobFlow request that matters to the machine."""

    cluster_id: str
    instance_id: str
    log_uri: str | None
    configurations: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class BootstrapAction:
    """Describes one bootstrap action. `content`, if it is given, is run in place of what is at the address `script`."""

    script: str
    arguments: Sequence[str]
    content: bytes | None = None


@dataclass(frozen=True)
class StepCommand:
    id: str
    name: str
    jar: str
    arguments: Sequence[str]


class ClusterNode:
    def __init__(self, node: Node, request: ClusterRequest, faults: ClusterFaults) -> None:
        self._node = node
        self._request = request
        self._faults = faults
        self._folder = node.clusters_folder / request.cluster_id
        self._s3 = s3_client(node)
        self._classes = ClassArchive.of(node)

    def bootstrap_process(self, number: int, action: BootstrapAction) -> NodeProcess:
        """Fetches the script and returns the process that runs it.

        Raises BotoCoreError, ClientError or OSError if the script can't be fetched.
        """
        folder = self._bootstrap_folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        script = folder / "script"
        content = self._fetch(action.script) if action.content is None else action.content
        script.write_bytes(content)
        environment = node_environment(
            self._node, mark=f"{self._request.cluster_id}/bootstrap-{number}", temporary=self._temporary(folder)
        )
        environment |= {"FRUITS_RELEASE_FOLDER": str(self._release_folder)}
        command = NodeCommand([*interpreter(content), str(script), *action.arguments], environment, folder)
        return NodeProcess(command, stop_grace_seconds=STOP_GRACE_SECONDS)

    def run_bootstrap(self, number: int, process: NodeProcess) -> str | None:
        """Runs one bootstrap action to its end and writes its logs. Returns EMR's message if it failed, else None."""
        exit_code = process.run()
        folder = self._bootstrap_folder(number)
        path = cluster_logs.bootstrap_log_path(self._request.cluster_id, self._request.instance_id, number)
        self._keep_logs(path, folder, self._faults.of_logs())
        if exit_code == 0:
            return None
        words = cluster_logs.last_words(folder).line
        return (
            f"On the master instance ({self._request.instance_id}), bootstrap action {number} returned a non-zero "
            f"return code ({exit_code})" + (f": {words}" if words else "")
        )

    def step_process(self, step: StepCommand) -> NodeProcess:
        folder = self._step_folder(step.id)
        temporary = self._temporary(folder)
        settings = folder / "spark-conf"
        settings.mkdir(parents=True, exist_ok=True)
        buckets = [bucket.name for bucket in self._node.buckets_folder.iterdir() if is_bucket(bucket)]
        configurations = self._request.configurations
        event_logs = event_log_folder(self._node.clusters_folder, self._request.cluster_id)
        event_logs.mkdir(parents=True, exist_ok=True)
        defaults = settings / "spark-defaults.conf"
        text = spark_defaults(
            self._node,
            buckets=buckets,
            temporary=temporary,
            event_logs=event_logs,
            configurations=configurations,
            java_options=self._classes.java_options(
                list_to=folder / CLASS_LIST if step.name == EXTRACT_FEATURES_STEP else None
            ),
        )
        defaults.write_text(text, encoding="utf-8")
        environment = step_environment(
            self._node,
            mark=f"{self._request.cluster_id}/{step.id}",
            temporary=temporary,
            configuration_folder=settings,
            configurations=configurations,
        )
        arguments = local_command(
            [own_path(word, self._release_folder) for word in step.arguments], self._node.spark_home
        )
        if step.arguments[0] == SPARK_SUBMIT:
            # spark-submit would put that folder, which differs from step to step, on Java's class path. A class archive
            # needs a class path that is the same for every step.
            del environment[CONFIGURATION_FOLDER]
            arguments[1:1] = ["--properties-file", str(defaults)]
        return NodeProcess(NodeCommand(arguments, environment, folder), stop_grace_seconds=STOP_GRACE_SECONDS)

    def run_step(self, step: StepCommand, process: NodeProcess) -> FailureDetails | None:
        """Runs one step to its end and writes its logs. Returns None when it ended well."""
        exit_code = process.run()
        folder = self._step_folder(step.id)
        path = cluster_logs.step_log_path(self._request.cluster_id, step.id)
        self._keep_logs(path, folder, self._faults.of_logs(step.name))
        if exit_code == 0:
            if (folder / CLASS_LIST).exists():
                self._classes.make_beside(folder / CLASS_LIST)
            return None
        words = cluster_logs.last_words(folder)
        ended = f"was ended by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
        return FailureDetails(
            reason="Unknown Error.",
            message=f"The step's process {ended}: {words.line or 'its logs name no error.'}",
            log_file=cluster_logs.log_address(self._request.log_uri, path, words.log),
        )

    def remove_release(self) -> None:
        """Removes what the bootstrap action fetched, which nobody needs when the cluster is over."""
        shutil.rmtree(self._release_folder, ignore_errors=True)

    @property
    def _release_folder(self) -> Path:
        return self._folder / "release"

    def _keep_logs(self, path: str, folder: Path, fault: Fault | None) -> None:
        shutil.rmtree(folder / "tmp", ignore_errors=True)
        upload = (self._s3, self._request.log_uri, path, folder)
        if fault is None:
            cluster_logs.upload_logs(*upload)
        elif fault.kind is FaultKind.LATE_LOGS:
            self._faults.after(fault, cluster_logs.upload_logs, *upload)

    def _step_folder(self, step_id: str) -> Path:
        return self._folder / "steps" / step_id

    def _bootstrap_folder(self, number: int) -> Path:
        return self._folder / "bootstrap-actions" / str(number)

    def _temporary(self, folder: Path) -> Path:
        temporary = folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        (self._node.clusters_folder / "home").mkdir(parents=True, exist_ok=True)
        return temporary

    def _fetch(self, address: str) -> bytes:
        bucket, _, key = address.partition("://")[2].partition("/")
        content: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content


def interpreter(script: bytes) -> list[str]:
    """Returns the words of the program that a script names in its first line, or bash if it names none."""
    first_line = script.partition(b"\n")[0].decode(errors="replace")
    return shlex.split(first_line.removeprefix("#!")) if first_line.startswith("#!") else ["bash"]


def own_path(word: str, release_folder: Path) -> str:
    """Returns an argument of a step with the folder of the release on a node replaced by the one of this cluster.

    Each cluster needs a folder of its own, because one machine plays the nodes of all of them.
    """
    return (
        f"{release_folder}{word.removeprefix(NODE_FOLDER)}"
        if word == NODE_FOLDER or word.startswith(f"{NODE_FOLDER}/")
        else word
    )


def refuse_step(step: StepCommand) -> FailureDetails | None:
    """Returns why this machine can't run the step, or None if it can."""
    if step.jar != COMMAND_RUNNER:
        return FailureDetails("Main Class not found.", f"The local EMR runs {COMMAND_RUNNER} only, not '{step.jar}'.")
    if not step.arguments:
        return FailureDetails(
            "Unknown Error.", f"{COMMAND_RUNNER} needs arguments: the program to run and what it is given."
        )
    return None


def s3_client(node: Node) -> Any:
    return boto3.client(
        "s3",
        region_name=node.region,
        endpoint_url=node.s3_url,
        aws_access_key_id=node.access_key_id,
        aws_secret_access_key=node.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}),
    )


FETCH_ERRORS: Final = (BotoCoreError, ClientError, OSError)
