"""Runs the program that starts a node as EMR does: by itself, with an `aws` on the PATH and a release in a (stand-in)
bucket.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fruit_contract import release
from fruit_contract.failures import causes
from fruit_contract.failures.rules import STEP_RULES, cause_of
from fruit_pipeline.emr.nodes import node_start
from fruit_pipeline.emr.nodes.node_program import NODE_START

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = "s3://lake/code/abc/"
OWN_WHEEL = f"bootstrap/wheelhouse/numpy-2.1.3-cp311-cp311-manylinux_2_28_{platform.machine()}.whl"
OTHER_ENDING = node_start.FOREIGN_WHEELS[platform.machine()].removesuffix(".whl")
OTHER_WHEEL = f"bootstrap/wheelhouse/numpy-2.1.3-cp311-cp311-manylinux_2_28{OTHER_ENDING}.whl"
FILES = {
    release.EXTRACT_FEATURES_JOB: b"print('extract')",
    release.LIBRARY_ZIP: b"a zip",
    release.BOOTSTRAP_ACTION: b'echo "installs from $1"; ls "$1/bootstrap/wheelhouse"',
    OWN_WHEEL: b"for this machine",
    OTHER_WHEEL: b"for another machine",
    release.EMBEDDER + release.LITERT_MODEL: b"a network",
}
# `aws s3 cp --recursive --only-show-errors s3://lake/code/abc/ FOLDER --exclude PATTERN` from the folder $BUCKETS.
# While the file `failures` there says so, it fails.
FAKE_AWS = """#!/usr/bin/env bash
set -eu
[ "$1 $2 $3 $4" = "s3 cp --recursive --only-show-errors" ] && [ "$7" = --exclude ]
left="$(cat "$BUCKETS/failures" 2>/dev/null || echo 0)"
if [ "$left" -gt 0 ]; then echo "$((left - 1))" > "$BUCKETS/failures"; echo "fatal error: throttled" >&2; exit 1; fi
cp -r "$BUCKETS/${5#s3://}/." "$6"
find "$6" -name "$8" -delete
"""


class Node:
    def __init__(self, folder: Path) -> None:
        self.buckets = folder / "buckets"
        self.release = self.buckets / "lake/code/abc"
        self.folder = folder / "opt/release"
        (folder / "bin").mkdir(parents=True)
        (folder / "bin/aws").write_text(FAKE_AWS, encoding="utf-8")
        (folder / "bin/aws").chmod(0o755)
        self._path = f"{folder / 'bin'}:/usr/bin:/bin"
        for name, content in FILES.items():
            self.put(name, content)
        manifest = {"files": {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}}
        self.put("release.json", json.dumps(manifest).encode())
        self.digest = hashlib.sha256((self.release / "release.json").read_bytes()).hexdigest()

    def put(self, name: str, content: bytes) -> None:
        (self.release / name).parent.mkdir(parents=True, exist_ok=True)
        (self.release / name).write_bytes(content)

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": self._path,
            "BUCKETS": str(self.buckets),
            "FRUITS_RELEASE_FOLDER": str(self.folder),
            "FRUITS_RETRY_SECONDS": "0",
        }
        command = [sys.executable, "-I", "-S", str(NODE_START.path), *(arguments or (ADDRESS, self.digest))]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_runs_the_installer_of_a_release_that_is_as_published_without_the_wheels_of_other_machines(node: Node) -> None:
    finished = node.start()
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-2:] == [f"installs from {node.folder}", OWN_WHEEL.rpartition("/")[2]]
    kept = {name for name in FILES if (node.folder / name).exists()}
    assert kept == FILES.keys() - {OTHER_WHEEL}


@pytest.mark.parametrize("name", [*sorted(FILES.keys() - {OTHER_WHEEL}), "release.json"])
def test_one_changed_byte_anywhere_keeps_everything_from_running(node: Node, name: str) -> None:
    content = (node.release / name).read_bytes()
    node.put(name, content[:-1] + bytes([content[-1] ^ 1]))
    finished = node.start()
    assert finished.returncode == 1
    assert "installs from" not in finished.stdout
    assert not node.folder.exists()
    (words,) = finished.stderr.splitlines()
    assert words.startswith(f"bootstrap failed: the release is not as it was published: {ADDRESS}{name} has SHA-256 ")
    assert "make publish" in words
    assert cause_of(words, STEP_RULES) is causes.RELEASE_CHANGED


def test_a_list_of_files_that_fits_changed_files_is_not_the_one_that_was_planned_with(node: Node) -> None:
    node.put(release.EXTRACT_FEATURES_JOB, b"print('evil')")
    listed = json.loads((node.release / "release.json").read_text())
    listed["files"][release.EXTRACT_FEATURES_JOB] = hashlib.sha256(b"print('evil')").hexdigest()
    node.put("release.json", json.dumps(listed).encode())
    assert f"{ADDRESS}release.json has SHA-256 " in node.start().stderr


def test_a_file_that_is_gone_keeps_everything_from_running(node: Node) -> None:
    (node.release / release.LIBRARY_ZIP).unlink()
    finished = node.start()
    assert finished.returncode == 1
    assert f"{ADDRESS}{release.LIBRARY_ZIP} is not there" in finished.stderr


def test_a_file_that_is_none_of_the_release_is_left_out(node: Node) -> None:
    """Python would import `jobs/hashlib.py` for the job beside it."""
    node.put("jobs/hashlib.py", b"print('evil')")
    finished = node.start()
    assert finished.returncode == 0, finished.stderr
    assert not (node.folder / "jobs/hashlib.py").exists()


def test_a_download_that_fails_for_a_while_is_tried_again(node: Node) -> None:
    (node.buckets / "failures").write_text("3", encoding="utf-8")
    assert node.start().returncode == 0


def test_a_store_that_does_not_answer_is_told_with_the_way_out(node: Node) -> None:
    (node.buckets / "failures").write_text("9", encoding="utf-8")
    finished = node.start()
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith(
        f"bootstrap failed: downloading {ADDRESS}. Does the release exist"
    )


@pytest.mark.parametrize(
    "arguments", [["s3://lake/code/abc/"], ["lake/code/abc", "0"], [""]], ids=["no digest", "no scheme", "empty"]
)
def test_malformed_arguments_say_how_to_call_it(node: Node, arguments: list[str]) -> None:
    finished = node.start(*arguments)
    assert finished.returncode == 1
    assert "Call it as: node_start.py s3://<bucket>/code/<release>/" in finished.stderr


def test_what_stands_twice_is_the_contracts() -> None:
    """The program goes to a bare node, so it can't import the contract."""
    assert (node_start.FOLDER, node_start.MANIFEST) == (release.NODE_FOLDER, release.RELEASE_MANIFEST)
    assert node_start.INSTALLER == release.BOOTSTRAP_ACTION


def test_the_program_is_one_that_a_bare_nodes_python_reads() -> None:
    """EMR 7 has Python 3.9 before anything is installed."""
    ast.parse(NODE_START.content, feature_version=(3, 9))
    assert NODE_START.content.startswith(b"#!/usr/bin/env python3\n")
