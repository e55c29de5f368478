"""Runs both steps as a node does: with Spark and the cluster's own packages, and nothing else that a laptop has."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from fruit_contract import lake
from local_cloud.cluster.spark_environment import Node, spark_defaults
from local_cloud.project import PROJECT
from local_cloud.stack.java import find_java
from tests.spark_jobs.lake_folder import RELEASE, LakeFolder, jpeg

if TYPE_CHECKING:
    from pathlib import Path

    from tests.local_cloud.running_s3 import RunningS3

pytestmark = pytest.mark.spark
DAY = "2026-11-22"


def test_the_steps_need_nothing_but_the_clusters_packages(
    node_python: Path, s3_server: RunningS3, published: LakeFolder, tmp_path: Path
) -> None:
    published.deliver(DAY, {f"Kiwi/{index}.jpg": jpeg(index) for index in range(6)})
    node = Node(
        home=tmp_path,
        s3_url=s3_server.environment["AWS_ENDPOINT_URL_S3"],
        region="eu-west-1",
        access_key_id="",
        secret_access_key="",
        python=node_python,
        java_home=find_java(),
        spark_home=tmp_path,
        cores="1",
        driver_memory="1g",
    )
    mount = f"spark.hadoop.fs.viewfs.mounttable.{published.bucket}.linkFallback {published.folder.as_uri()}\n"
    (tmp_path / "spark-defaults.conf").write_text(
        spark_defaults(node, buckets=[], temporary=tmp_path, event_logs=tmp_path) + mount, encoding="utf-8"
    )
    environment = s3_server.environment | {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "spark_jobs")]),
        "SPARK_CONF_DIR": str(tmp_path),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "JAVA_HOME": str(node.java_home),
        "PYSPARK_PYTHON": str(node_python),
        "LC_ALL": "C.UTF-8",
    }
    common = ["--lake-bucket", published.bucket, "--release", RELEASE, "--run-id", "run", "--ingest-date", DAY]
    for job in ("extract_features.py", "refresh_pca.py"):
        done = subprocess.run(
            [node_python, PROJECT / "spark_jobs" / job, *common],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:]

    version = json.loads((published.folder / lake.CURRENT_PCA_KEY).read_text())["version"]
    assert len(pd.read_parquet(published.folder / lake.projections_prefix(version))) == 6
