"""Sends a test's requests to a running S3: through a client, or byte by byte on a connection of its own."""

from __future__ import annotations

import hashlib
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

if TYPE_CHECKING:
    from tests.local_cloud.running_s3 import RunningS3

BUCKET = "lake"


def client(s3: RunningS3, **config: Any) -> Any:
    """Returns a client that tries each request once, so that a test sees what the server did."""
    return boto3.client(
        "s3",
        endpoint_url=s3.url,
        region_name="eu-west-1",
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, read_timeout=30, **config),
    )


def store(s3: RunningS3) -> Any:
    from obstore.store import S3Store

    return S3Store(
        BUCKET,
        endpoint=s3.url,
        access_key_id=s3.access_key_id,
        secret_access_key=s3.secret_access_key,
        region="eu-west-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def signed_head(
    s3: RunningS3,
    method: str,
    key: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    body_hash: str | None = None,
) -> bytes:
    """Returns the head of a request about an object of BUCKET, signed for its body or for what stands for its hash."""
    path = f"/{BUCKET}/{quote(key)}"
    request = AWSRequest(method, s3.url + path, headers={"Content-Length": str(len(body))} | (headers or {}), data=body)
    auth = S3SigV4Auth(Credentials(s3.access_key_id, s3.secret_access_key), "s3", "eu-west-1")
    if body_hash:
        auth.payload = lambda _: body_hash
    auth.add_auth(request)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(s3.url).netloc}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def connect(s3: RunningS3) -> socket.socket:
    address = urlsplit(s3.url)
    assert address.hostname
    assert address.port
    return socket.create_connection((address.hostname, address.port), timeout=30)


def md5(content: bytes) -> str:
    """Returns what S3 calls the ETag of an object."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])
