from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
from obstore.exceptions import GenericError

from fruit_cli.lake.connection import LakeConnection
from fruit_cli.lake.store import LakeUnreachableError, explained, open_store
from local_cloud.s3.objects import no_space

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL = LakeConnection("fruits-lake", "eu-west-1", "http://127.0.0.1:9300", "id", "secret")


def test_the_running_local_cloud_wins_over_an_endpoint_of_the_users_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")

    config: Mapping[str, Any] = open_store(LOCAL).config

    assert config["endpoint_url_s3"] == "http://127.0.0.1:9300"
    assert config["access_key_id"] == "id"


def test_a_full_disk_of_the_local_s3_is_not_taken_for_one_that_is_down() -> None:
    full = no_space(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert full is not None
    said = r"^The disk of s3://fruits-lake at .* is full\. Make room on it"
    with pytest.raises(LakeUnreachableError, match=said), explained(LOCAL):
        raise GenericError(f"PUT failed: {full.status}: <Error><Code>{full.code}</Code>")
    assert full.status < 500, "clients ask again about an error of the server"
    assert no_space(OSError(errno.EACCES, "no")) is None
