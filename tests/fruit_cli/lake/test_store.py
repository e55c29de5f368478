from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fruit_cli.lake.connection import LakeConnection
from fruit_cli.lake.store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

LOCAL = LakeConnection("fruits-lake", "eu-west-1", "http://127.0.0.1:9300", "id", "secret")


def test_the_running_local_cloud_wins_over_an_endpoint_of_the_users_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")

    config: Mapping[str, Any] = open_store(LOCAL).config

    assert config["endpoint_url_s3"] == "http://127.0.0.1:9300"
    assert config["access_key_id"] == "id"
