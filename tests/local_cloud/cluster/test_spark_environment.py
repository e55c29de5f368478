from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local_cloud.cluster.spark_environment import (
    Node,
    honoured_exports,
    honoured_spark_settings,
    local_command,
    node_environment,
    spark_defaults,
    step_environment,
)

CONFIGURATIONS: list[dict[str, Any]] = [
    {
        "Classification": "spark-env",
        "Configurations": [
            {
                "Classification": "export",
                "Properties": {
                    "PYSPARK_PYTHON": "/usr/bin/python3.11",
                    "OMP_NUM_THREADS": "1",
                    "FRUITS_VENV": "/x",
                    "FRUITS_ANY": "y",
                },
            }
        ],
    },
    {
        "Classification": "spark-defaults",
        "Properties": {
            "spark.executor.memory": "20g",
            "spark.master": "yarn",
            "spark.sql.sources.partitionOverwriteMode": "dynamic",
            "spark.hadoop.fs.s3.impl": "com.amazon.Emrfs",
        },
    },
]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(
        home=tmp_path / "a home",
        s3_url="http://127.0.0.1:9300",
        region="eu-west-1",
        access_key_id="LOCALKEY",
        secret_access_key="shh",
        python=Path("/venv/bin/python"),
        java_home=Path("/jdk"),
        spark_home=Path("/venv/pyspark"),
        cores="2",
    )


def test_a_step_inherits_nothing(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", "/airflow")
    monkeypatch.setenv("AWS_PROFILE", "production")
    environment = step_environment(node, mark="j-1/s-1", temporary=tmp_path, configuration_folder=tmp_path)
    assert not [name for name in environment if name.startswith("AIRFLOW")]
    assert "AWS_PROFILE" not in environment
    assert environment["AWS_CONFIG_FILE"] == "/dev/null"
    assert environment["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:9300"


def test_a_step_can_name_any_letter_and_listens_on_the_loopback_only(node: Node, tmp_path: Path) -> None:
    environment = step_environment(node, mark="j-1/s-1", temporary=tmp_path, configuration_folder=tmp_path)
    assert environment["LC_ALL"] == "C.UTF-8"
    assert environment["SPARK_LOCAL_IP"] == "127.0.0.1"
    assert "spark.driver.bindAddress 127.0.0.1\n" in spark_defaults(
        node, buckets=(), temporary=tmp_path, event_logs=tmp_path
    )


def test_the_clusters_python_is_replaced_and_its_other_exports_are_kept(node: Node, tmp_path: Path) -> None:
    environment = step_environment(
        node, mark="j-1/s-1", temporary=tmp_path, configuration_folder=tmp_path, configurations=CONFIGURATIONS
    )
    assert environment["PYSPARK_PYTHON"] == "/venv/bin/python"
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["FRUITS_VENV"] == "/venv"
    assert honoured_exports(CONFIGURATIONS) == {"OMP_NUM_THREADS": "1", "FRUITS_ANY": "y"}


def test_sizes_and_file_systems_of_the_cluster_are_not_taken_over(node: Node, tmp_path: Path) -> None:
    assert honoured_spark_settings(CONFIGURATIONS) == {"spark.sql.sources.partitionOverwriteMode": "dynamic"}
    text = spark_defaults(node, buckets=(), temporary=tmp_path, event_logs=tmp_path, configurations=CONFIGURATIONS)
    assert "spark.master local[2,4]\n" in text
    assert "yarn" not in text
    assert "Emrfs" not in text


def test_every_bucket_is_mapped_to_its_folder(node: Node, tmp_path: Path) -> None:
    text = spark_defaults(node, buckets=["fruits-lake", "other"], temporary=tmp_path, event_logs=tmp_path)
    folder = (node.buckets_folder / "fruits-lake").as_uri().removeprefix("file")
    assert f"spark.hadoop.fs.viewfs.mounttable.fruits-lake.linkFallback rawfile{folder}\n" in text
    assert "mounttable.other.linkFallback" in text
    assert "%20" in folder


def test_the_secret_is_not_in_the_nodes_text(node: Node) -> None:
    assert "shh" not in repr(node)


def test_the_nodes_own_aws_comes_first_on_the_path(node: Node, tmp_path: Path) -> None:
    first = Path(node_environment(node, mark="j-1/b", temporary=tmp_path)["PATH"].split(":")[0])
    assert (first / "aws").exists()


def test_only_sparks_programs_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "spark-submit").touch()
    assert local_command(["spark-submit", "job.py"], tmp_path) == [str(tmp_path / "bin" / "spark-submit"), "job.py"]
    assert local_command(["bash", "-c", "true"], tmp_path) == ["bash", "-c", "true"]
    assert local_command(["spark-unknown"], tmp_path) == ["spark-unknown"]


def test_a_step_computes_on_one_thread_unless_its_cluster_says_otherwise(node: Node, tmp_path: Path) -> None:
    def threads(*configurations: dict[str, Any]) -> str:
        environment = step_environment(
            node, mark="j-1/s-1", temporary=tmp_path, configuration_folder=tmp_path, configurations=configurations
        )
        return environment["OPENBLAS_NUM_THREADS"]

    export = {"Classification": "export", "Properties": {"OPENBLAS_NUM_THREADS": "4"}}
    assert threads() == "1"
    assert threads({"Classification": "spark-env", "Configurations": [export]}) == "4"
