from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from local_cloud.cluster.class_archive import ClassArchive
from local_cloud.cluster.spark_environment import Node
from local_cloud.stack.java import find_java

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Returns a node with a real Java, and a Spark without jars."""
    (tmp_path / "an environment" / "bin").mkdir(parents=True)
    (tmp_path / "spark" / "jars").mkdir(parents=True)
    return Node(
        home=tmp_path / "home",
        s3_url="http://127.0.0.1:9300",
        region="eu-west-1",
        access_key_id="LOCALKEY",
        secret_access_key="shh",
        python=tmp_path / "an environment" / "bin" / "python",
        java_home=find_java(),
        spark_home=tmp_path / "spark",
        driver_memory="1g",
    )


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("java/lang/Object\njava/util/HashMap\norg/apache/spark/sql/SparkSession id: 2\n")
    return path


def test_classes_are_listed_until_there_is_an_archive_which_is_used_from_then_on(node: Node, tmp_path: Path) -> None:
    archive = ClassArchive.of(node)
    assert archive.java_options() == ""
    assert archive.java_options(list_to=tmp_path / "list") == f'"-XX:DumpLoadedClassList={tmp_path / "list"}"'
    archive.path.touch()
    assert (
        archive.java_options()
        == archive.java_options(list_to=tmp_path)
        == f'"-XX:SharedArchiveFile={archive.path}" -Xlog:cds*=off'
    )


def test_another_java_or_spark_has_another_archive(node: Node, tmp_path: Path) -> None:
    (tmp_path / "other" / "jars").mkdir(parents=True)
    others = [replace(node, java_home=tmp_path), replace(node, spark_home=tmp_path / "other")]
    assert len({ClassArchive.of(each).path for each in (node, *others)}) == 3
    assert ClassArchive.of(replace(node, home=tmp_path / "another home")).path == ClassArchive.of(node).path


@pytest.mark.slow
def test_java_takes_what_was_made_and_passes_over_what_does_not_fit(node: Node, listed: Path) -> None:
    archive = ClassArchive.of(node)
    earlier = archive.path.with_name("spark-classes-earlier.jsa")
    earlier.touch()

    archive.make_beside(listed).join(120)

    assert not earlier.exists()
    assert [path.suffix for path in archive.path.parent.glob("spark-classes-*")].count(".jsa") == 1
    java = [str(node.java_home / "bin" / "java"), f"-XX:SharedArchiveFile={archive.path}", "-Xlog:cds*=off"]
    places = ["-cp", f"{node.spark_home / 'conf'}:{node.spark_home / 'jars'}/*"]
    assert subprocess.run([*java, "-Xshare:on", *places, "-version"], check=False, capture_output=True).returncode == 0
    archive.path.chmod(0o644)
    archive.path.write_bytes(b"no archive")
    unfit = subprocess.run([*java, *places, "-version"], check=False, capture_output=True, text=True)
    assert (unfit.returncode, unfit.stdout) == (0, "")
    assert "cds" not in unfit.stderr


@pytest.mark.slow
def test_what_java_can_not_archive_leaves_nothing(
    node: Node, listed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = ClassArchive.of(replace(node, java_home=tmp_path / "no java"))
    archive.make(listed)
    assert "steps do without" in caplog.text
    assert not list(archive.path.parent.glob("*.jsa"))
    assert not list(archive.path.parent.glob("*.unfinished"))


def test_of_a_step_without_a_session_there_is_no_archive(node: Node, tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("java/lang/Object\n")
    archive = ClassArchive.of(node)
    archive.make(path)
    assert not archive.path.exists()
