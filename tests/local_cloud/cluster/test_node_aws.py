from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from local_cloud.cluster.spark_environment import NODE_PROGRAMS
from tests.local_cloud.running_cloud import BUCKET, KEYS, LocalCloud

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Aws = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def aws(cloud: LocalCloud, tmp_path: Path) -> Aws:
    import sys

    environment = {
        "PATH": os.environ["PATH"],
        "FRUITS_VENV": sys.prefix,
        "AWS_ACCESS_KEY_ID": KEYS[0],
        "AWS_SECRET_ACCESS_KEY": KEYS[1],
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_S3": cloud.s3_url,
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(NODE_PROGRAMS / "aws"), *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_copies_folders_there_and_back(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "source" / "Äpfel 50%").mkdir(parents=True)
    (tmp_path / "source" / "Äpfel 50%" / "1.jpg").write_bytes(b"jpeg")
    (tmp_path / "source" / "top.txt").write_bytes(b"top")
    assert aws("s3", "cp", "source", f"s3://{BUCKET}/aws/there", "--recursive", "--quiet").stdout == ""
    assert aws("s3", "cp", f"s3://{BUCKET}/aws/there/", "back/", "--recursive").returncode == 0
    assert (tmp_path / "back" / "Äpfel 50%" / "1.jpg").read_bytes() == b"jpeg"
    assert (tmp_path / "back" / "top.txt").read_bytes() == b"top"
    assert aws("s3", "cp", f"s3://{BUCKET}/aws/there/", "some/", "--recursive", "--exclude", "*.txt").returncode == 0
    assert [path.name for path in (tmp_path / "some").rglob("*.*")] == ["1.jpg"]


@pytest.mark.slow
def test_copies_one_file_under_its_own_or_another_name(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    assert "upload: a.txt" in aws("s3", "cp", "a.txt", f"s3://{BUCKET}/aws/").stdout
    assert aws("s3", "cp", f"s3://{BUCKET}/aws/a.txt", "b.txt", "--only-show-errors").returncode == 0
    assert (tmp_path / "b.txt").read_text() == "a"
    assert aws("s3", "cp", f"s3://{BUCKET}/aws/a.txt", "-").stdout == "a"


@pytest.mark.slow
def test_listing_tells_by_its_exit_code_whether_something_is_there(aws: Aws, cloud: LocalCloud) -> None:
    cloud.client("s3").put_object(Bucket=BUCKET, Key="aws/list/deep/x.txt", Body=b"x")
    found = aws("s3", "ls", f"s3://{BUCKET}/aws/list/")
    assert (found.returncode, found.stdout.strip()) == (0, "PRE deep/")
    assert aws("s3", "ls", f"s3://{BUCKET}/aws/list/", "--recursive").stdout.endswith("aws/list/deep/x.txt\n")
    assert aws("s3", "ls", f"s3://{BUCKET}/aws/nothing/").returncode == 1


@pytest.mark.slow
def test_a_missing_object_is_a_readable_error(aws: Aws) -> None:
    failed = aws("s3", "cp", f"s3://{BUCKET}/aws/none.txt", "x.txt")
    assert failed.returncode == 1
    assert failed.stderr.startswith("fatal error: ")
    assert "Traceback" not in failed.stderr
