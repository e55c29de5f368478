"""Gives every test a lake of its own (a real S3 API over a folder), and all one Spark session and a small network with
the embedder's shapes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fruit_contract import lake, release
from fruit_contract.release import PREPROCESSING_VERSION
from fruit_features.lake.store import s3_client
from local_cloud.cluster.spark_environment import Node, spark_defaults
from local_cloud.project import PROJECT
from local_cloud.stack.java import find_java
from tests.block_network import block_network
from tests.local_cloud.running_s3 import RunningS3, running_s3
from tests.spark_jobs.lake_folder import EMBEDDER_ID, RELEASE, LakeFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningS3]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


def make_lake(s3_server: RunningS3) -> LakeFolder:
    """Makes a lake with a new bucket."""
    bucket = f"fruits-{secrets.token_hex(6)}"
    s3_client().create_bucket(Bucket=bucket)
    return LakeFolder(bucket, s3_server.root / bucket)


@pytest.fixture
def test_lake(s3_server: RunningS3, monkeypatch: pytest.MonkeyPatch) -> LakeFolder:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return make_lake(s3_server)


@pytest.fixture(scope="session")
def spark_session(s3_server: RunningS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    temporary = tmp_path_factory.mktemp("spark")
    node = Node(
        home=temporary,
        s3_url=s3_server.environment["AWS_ENDPOINT_URL_S3"],
        region="eu-west-1",
        access_key_id="",
        secret_access_key="",
        python=Path(sys.executable),
        java_home=find_java(),
        spark_home=temporary,
        cores="2",
        driver_memory="2g",
    )
    # One session runs what a product's hundreds of steps would: each joined table keeps a page until its session ends.
    defaults = (
        spark_defaults(node, buckets=[], temporary=temporary, event_logs=temporary) + "spark.buffer.pageSize 2m\n"
    )
    (temporary / "spark-defaults.conf").write_text(defaults, encoding="utf-8")
    environment = {
        "SPARK_CONF_DIR": str(temporary),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "JAVA_HOME": str(node.java_home),
        "PYSPARK_PYTHON": sys.executable,
        "LC_ALL": "C.UTF-8",
    }
    from fruit_features.spark.session import start_session

    # Java, and through it Python's workers, keep what is set while they start; other tests see nothing of it.
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment | s3_server.environment).items():
            patch.setenv(name, value)
        session = start_session("tests")
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
    end_java()


@pytest.fixture(scope="session", autouse=True)
def decoding_apart_ends() -> Iterator[None]:
    """Ends the process that decodes odd pictures. Otherwise Python complains at its own end that it still runs."""
    yield
    from fruit_features.embedding.isolation import end_process

    end_process()


def end_java() -> None:
    """Ends the stopped session's Java. Otherwise the end of this process would end it, with a complaint."""
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(60)
    SparkContext._gateway = SparkContext._jvm = None
    # Connections are collected only after pytest has closed the stream of Airflow's log, to which each would write that
    # it closes.
    logging.getLogger("py4j").setLevel(logging.WARNING)


@pytest.fixture
def spark(spark_session: SparkSession, test_lake: LakeFolder) -> SparkSession:
    """Returns the session, beside this test's lake."""
    return spark_session


@pytest.fixture(scope="session")
def node_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the Python of an environment with `requirements/spark.txt` (on a cluster: EMR's own) and
    `requirements/cluster.txt` alone.
    """
    folder = tmp_path_factory.mktemp("node") / "venv"
    requirements = [str(PROJECT / "requirements" / name) for name in ("spark.txt", "cluster.txt")]
    # The package index is where the Makefile finds it.
    script = '. bootstrap/package_index.sh; uv=.venv/bin/uv; "$uv" venv --quiet --python .venv/bin/python "$1"; '
    script += '"$uv" pip sync --quiet --python "$1/bin/python" --require-hashes "$2" "$3"'
    subprocess.run(["bash", "-euc", script, "bash", str(folder), *requirements], cwd=PROJECT, check=True, timeout=300)
    return folder / "bin/python"


@pytest.fixture(scope="session")
def small_network() -> bytes:
    """Returns a network with the embedder's input and output."""
    return draw_network(0)


@pytest.fixture(scope="session")
def other_network() -> bytes:
    """Returns the same network with other weights."""
    return draw_network(1)


def draw_network(seed: int) -> bytes:
    """Returns a network that computes block means, one fixed matrix and ReLU."""
    return block_network(np.random.default_rng(seed).normal(size=(14 * 14 * 3, 1280)).astype(np.float32))


def publish_network(
    test_lake: LakeFolder, network: bytes, release_id: str = RELEASE, embedder_id: str = EMBEDDER_ID
) -> LakeFolder:
    """Puts a release into the lake whose embedder is this network."""
    prefix = lake.release_prefix(release_id) + release.EMBEDDER
    manifest = {
        "embedder_id": embedder_id,
        "preprocessing_version": PREPROCESSING_VERSION,
        "files": {release.LITERT_MODEL: hashlib.sha256(network).hexdigest()},
    }
    test_lake.put(prefix + release.LITERT_MODEL, network)
    test_lake.put(prefix + release.EMBEDDER_MANIFEST, json.dumps(manifest).encode())
    return test_lake


def publish_as_today(test_lake: LakeFolder, release_id: str, embedder_id: str, network: bytes) -> None:
    """Puts an embedder's network into a release that has it for an earlier engine or preprocessing."""
    shutil.rmtree(test_lake.folder / lake.release_prefix(release_id) / release.EMBEDDER)
    publish_network(test_lake, network, release_id, embedder_id)


@pytest.fixture
def published(test_lake: LakeFolder, small_network: bytes) -> LakeFolder:
    """Returns `test_lake` with a release."""
    return publish_network(test_lake, small_network)


@pytest.fixture
def new_lake(s3_server: RunningS3, test_lake: LakeFolder, small_network: bytes) -> Callable[[], LakeFolder]:
    """Returns a function that makes a published lake at each call, for tests that need several."""
    return lambda: publish_network(make_lake(s3_server), small_network)
