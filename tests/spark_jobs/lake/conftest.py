"""Runs an S3 API in this process that holds any key. The local cloud's does not, because it stores files in folders."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

import pytest
from moto.server import ThreadedMotoServer

from fruit_features.lake.store import Store, s3_client

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    location = {"LocationConstraint": "eu-west-1"}
    # All of moto's servers in a process hold the same buckets.
    name = f"fruits-{secrets.token_hex(6)}"
    s3_client().create_bucket(Bucket=name, CreateBucketConfiguration=location)
    yield Store(name)
    server.stop()
