"""Checks what people ask S3 for beside what runs do: they read the lake as docs/reading.md says, and deliver a batch
again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from pyarrow import fs

from fruit_cli.lake.connection import LakeConnection
from fruit_cli.lake.delivery import deliver
from fruit_lake import current_version, features_files, projections_files
from local_cloud.keys import Role, credentials_of
from local_cloud.s3.server import NO_OBJECT_CHECKSUMS
from local_cloud.signature import Credentials
from tests.bootstrap.recording import record_if_told, requests_to_s3
from tests.bootstrap.requests_of_roles import is_known
from tests.local_cloud.running_s3 import running_s3
from tests.plugins.sample_lake import BUCKET, DAY, build_sample_lake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.local_cloud.running_s3 import RunningS3

pytestmark = pytest.mark.slow


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    return tmp_path / "requests.jsonl"


@pytest.fixture
def s3(tmp_path: Path, noted: Path) -> Iterator[RunningS3]:
    root = tmp_path / "s3"
    for key, (content, _) in build_sample_lake().client.objects.items():
        path = root / BUCKET / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with running_s3(root, access_log=noted) as running:
        yield running


def act_as(role: Role, s3: RunningS3, patch: pytest.MonkeyPatch) -> None:
    keys = credentials_of(role, Credentials(s3.access_key_id, s3.secret_access_key))
    environment = {"AWS_ACCESS_KEY_ID": keys.access_key_id, "AWS_SECRET_ACCESS_KEY": keys.secret_access_key}
    environment |= {
        "AWS_ENDPOINT_URL_S3": s3.url,
        "AWS_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": os.devnull,
        **NO_OBJECT_CHECKSUMS,
    }
    for name, value in environment.items():
        patch.setenv(name, value)


def test_what_readers_ask_for_is_what_is_recorded(s3: RunningS3, noted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"s3://{BUCKET}?endpoint_override={s3.url}&region=eu-west-1"
    act_as(Role.ANALYST, s3, monkeypatch)
    version = current_version(address)
    filesystem, _ = fs.FileSystem.from_uri(address)
    n_images = len(pd.read_parquet(f"{BUCKET}/features", filesystem=filesystem))
    assert len(pd.read_parquet(f"{BUCKET}/projections/pca_version={version}", filesystem=filesystem)) == n_images > 0

    # Only what counts takes the ledgers, too.
    act_as(Role.LEDGER_READER, s3, monkeypatch)
    assert len(features_files(address)) == len(projections_files(address, [DAY])) > 0

    asked = requests_to_s3(noted, frozenset({BUCKET}))
    record_if_told(asked)
    assert {each.role for each in asked} == {Role.ANALYST, Role.LEDGER_READER}
    assert sorted(str(each) for each in asked if not is_known(each)) == []


def test_a_delivery_that_is_made_again_asks_for_what_is_recorded(s3: RunningS3, noted: Path, tmp_path: Path) -> None:
    connection = LakeConnection(BUCKET, "eu-west-1", s3.url, s3.access_key_id, s3.secret_access_key, has_roles=True)
    batch = tmp_path / "batch"
    (batch / "Kiwi").mkdir(parents=True)
    for name in ("1.jpg", "2.jpg"):
        (batch / "Kiwi" / name).write_bytes(name.encode())
        (batch / "_manifest.csv").write_text(
            "file,subject_id\n" + "".join(f"Kiwi/{path.name},s1\n" for path in sorted((batch / "Kiwi").iterdir()))
        )
        deliver(connection, batch, "2026-11-23")
    asked = requests_to_s3(noted, frozenset({BUCKET}))
    assert {each.role for each in asked} == {Role.DELIVERER}
    record_if_told(asked)
    assert sorted(str(each) for each in asked if not is_known(each)) == []
