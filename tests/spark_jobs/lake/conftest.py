"""An S3 API in this process that holds any key, which no folder does: the local cloud's is over a folder."""

from __future__ import annotations

import logging
import secrets
from functools import cache
from typing import TYPE_CHECKING

import boto3
import pytest
from moto.server import ThreadedMotoServer

from fruit_features.lake import store as store_module
from fruit_features.lake.store import Store

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
    # Not the process's own clients, which know another server.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(store_module, "s3_client", cache(store_module.s3_client.__wrapped__))
    monkeypatch.setattr(store_module, "_connect", cache(store_module._connect.__wrapped__))
    location = {"LocationConstraint": "eu-west-1"}
    # All of moto's servers in a process hold the same buckets.
    name = f"fruits-{secrets.token_hex(6)}"
    store_module.s3_client().create_bucket(Bucket=name, CreateBucketConfiguration=location)
    yield Store(name)
    server.stop()
