"""Starts a lake for a benchmark: the local cloud over a temporary folder, with a release, and the environment of each
way.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness.way_process import WayProcess
from fruit_cli.commands.publish import publish
from fruit_cli.lake.connection import LakeConnection
from fruit_cli.release.weights import read_tensors
from fruit_cli.release.weights_sources import default_weights
from fruit_cli.stack.lifecycle import LocalStack, PreferredPorts
from fruit_contract import lake, release
from fruit_features.embedding.engines import engine_file
from local_cloud.cluster.spark_environment import Node, spark_defaults, step_environment
from local_cloud.emr.server import node_from
from local_cloud.project import PROJECT
from local_cloud.stack.latency import request_counts
from local_cloud.stack.state import local_home
from local_cloud.stack.sweep import STACK_MARK, marked_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import psutil


@dataclass(frozen=True)
class BenchLake:
    """Describes a running lake with one release in it."""

    node: Node
    bucket: str
    release_id: str
    s3_server: psutil.Process

    @property
    def folder(self) -> Path:
        """Returns the folder beneath the bucket."""
        return self.node.buckets_folder / self.bucket

    @property
    def n_cores(self) -> int:
        return int(self.node.cores)

    @property
    def embedder(self) -> Path:
        """Returns the folder of the release's embedder."""
        return self.folder / lake.release_prefix(self.release_id) / release.EMBEDDER

    @property
    def model(self) -> Path:
        """Returns the file that the features step's own engine loads."""
        return self.embedder / engine_file(release.DEFAULT_ENGINE)

    def s3_cpu_seconds(self) -> float:
        """Returns the seconds of CPU that the S3 server has used so far."""
        times = self.s3_server.cpu_times()
        return float(times.user + times.system)

    def request_counts(self) -> dict[str, int]:
        """Returns how many requests of each kind S3 has had so far, if the lake was started with an S3 latency."""
        return request_counts(self.node.s3_url)

    def way_environment(self, way: str, more_buckets: Sequence[str] = ()) -> dict[str, str]:
        """Returns the environment that a step of the local EMR sees, with this project on the path of its Python.

        `more_buckets` need not exist yet.
        """
        temporary = self.node.home / "ways" / way
        temporary.mkdir(parents=True)
        (temporary / "spark-defaults.conf").write_text(
            spark_defaults(self.node, buckets=[self.bucket, *more_buckets], temporary=temporary, event_logs=temporary),
            encoding="utf-8",
        )
        environment = step_environment(self.node, mark=way, temporary=temporary, configuration_folder=temporary)
        python_path = os.pathsep.join([str(PROJECT), str(PROJECT / "spark_jobs")])
        return environment | {"PYTHONPATH": python_path, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

    def start(self, module: str, name: str = "", more_buckets: Sequence[str] = (), **environment: str) -> WayProcess:
        """Starts a way, `benchmarks.<module>`, in a process called `name`. `environment` adds to what a step sees."""
        way = name or module.rpartition(".")[2]
        log = self.node.home / "ways" / f"{way}.log"
        return WayProcess(f"benchmarks.{module}", self.way_environment(way, more_buckets) | environment, log)


@contextlib.contextmanager
def bench_lake(
    home: Path, n_cores: int, say: Callable[[str], None], *, s3_latency_milliseconds: float | None = None
) -> Iterator[BenchLake]:
    """Starts the local cloud in `home` and publishes a release; at the end no process that belongs to `home` is left.

    With a latency, S3 answers that much later (0: at once), and its requests are counted. The exported embedder is kept
    where `make demo` keeps it, not in `home`, because exporting it takes half a minute.
    """
    stack = LocalStack(
        home, ports=PreferredPorts(airflow=0, s3=0, emr=0), s3_latency_milliseconds=s3_latency_milliseconds
    )
    try:
        state = stack.start(with_airflow=False, say=say)
        keys = {"AWS_ACCESS_KEY_ID": state.access_key_id, "AWS_SECRET_ACCESS_KEY": state.secret_access_key}
        node = node_from({**os.environ, **keys, "AWS_REGION": state.region, "AWS_ENDPOINT_URL_S3": state.s3_url}, home)
        (node.clusters_folder / "home").mkdir(parents=True, exist_ok=True)
        connection = LakeConnection(
            state.bucket, state.region, state.s3_url, state.access_key_id, state.secret_access_key
        )
        s3_server = next(
            process
            for process in marked_processes(STACK_MARK, str(node.home))
            if "local_cloud.s3.server" in process.cmdline()
        )
        yield BenchLake(replace(node, cores=str(n_cores)), state.bucket, publish(connection, say=say), s3_server)
    finally:
        # The measured processes carry the cloud's mark, too, so this also ends any that is left.
        stack.stop(say=lambda _: None)


def save_tensors(path: Path) -> None:
    """Saves the default weights' tensors as `path` (.npz), for a way that builds the network with Keras itself."""
    file = default_weights(local_home() / "cache", lambda _: None)
    np.savez(path, allow_pickle=False, **read_tensors(file.content, file.source))
