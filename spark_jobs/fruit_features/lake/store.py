"""The lake's bucket over the S3 API: listing, small objects, and the fast store that fetches images.

Endpoint, region and credentials come from the environment (on EMR: the instance profile), never from arguments.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from obstore import Bytes
    from obstore.store import S3Store

_LISTED_AT_ONCE: Final = 1000


@dataclass(frozen=True)
class ListedObject:
    """One object of a listing. `etag` is without quotes."""

    key: str
    etag: str
    size_bytes: int


class ObjectNotFoundError(FileNotFoundError):
    """An object that a step needs is not in the lake. The message names it."""


@cache
def s3_client() -> Any:
    """boto3's client: lists any key S3 can hold, and reads and writes small objects. One a process."""
    import boto3
    from botocore.config import Config

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3")
    config = Config(retries={"mode": "standard", "max_attempts": 10}, s3={"addressing_style": "path"} if endpoint else {})
    return boto3.client("s3", region_name=os.environ.get("AWS_REGION"), endpoint_url=endpoint, config=config)


@cache
def image_store(bucket: str) -> S3Store:
    """The store that fetches images concurrently. One a process: it pools connections and credentials."""
    from obstore.store import S3Store

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3")
    region = os.environ.get("AWS_REGION")
    if endpoint is None:
        return S3Store(bucket, region=region)
    return S3Store(
        bucket,
        region=region,
        aws_endpoint_url_s3=endpoint,
        virtual_hosted_style_request=False,
        client_options={"allow_http": endpoint.startswith("http://")},
    )


def list_objects(bucket: str, prefix: str) -> Iterator[ListedObject]:
    """Every object below `prefix`, in key order."""
    for page in s3_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", ()):
            yield ListedObject(entry["Key"], entry["ETag"].strip('"'), entry["Size"])


def list_folder(bucket: str, prefix: str) -> list[ListedObject]:
    """What `list_objects` gives below `prefix` (a folder's, with its slash), sorted by key, several times faster.

    One thing differs: an object that holds bytes although its key ends in a slash loses that slash.
    """
    from obstore.exceptions import InvalidPathError

    try:
        pages = image_store(bucket).list(prefix, chunk_size=_LISTED_AT_ONCE)
        found = [ListedObject(entry["path"], (entry["e_tag"] or "").strip('"'), entry["size"]) for page in pages for entry in page]
    except InvalidPathError:
        # S3 holds keys that the fast store cannot name (control characters, empty path segments).
        return list(list_objects(bucket, prefix))
    # It takes the slash from a folder's placeholder, too, so that what is empty may be one.
    if any(not entry.size_bytes and not entry.key.rpartition("/")[2].startswith(("_", ".")) for entry in found):
        return list(list_objects(bucket, prefix))
    return sorted(found, key=lambda entry: entry.key)


def list_plain_objects(bucket: str, prefix: str) -> list[ListedObject]:
    """Every object below `prefix` (a folder's, with its slash), sorted. Much faster than `list_objects`; for keys we made ourselves."""
    pages = image_store(bucket).list(prefix)
    found = (ListedObject(entry["path"], (entry["e_tag"] or "").strip('"'), entry["size"]) for page in pages for entry in page)
    return sorted(found, key=lambda entry: entry.key)


def list_plain_keys(bucket: str, prefix: str) -> list[str]:
    """Their keys alone."""
    return [entry.key for entry in list_plain_objects(bucket, prefix)]


def list_plain_folders(bucket: str, prefix: str) -> list[str]:
    """The names of the folders directly below `prefix`, sorted; as fast."""
    found = image_store(bucket).list_with_delimiter(prefix)["common_prefixes"]
    return sorted(folder.rstrip("/").rpartition("/")[2] for folder in found)


def read_plain_object(bucket: str, key: str) -> bytes | None:
    """An object of a key we made ourselves, or None if it is not there; as fast."""
    content = read_plain_buffer(bucket, key)
    return None if content is None else bytes(content)


def read_plain_buffer(bucket: str, key: str) -> Bytes | None:
    """The same, for large objects: without a copy."""
    try:
        return image_store(bucket).get(key).bytes()
    except FileNotFoundError:
        return None


def write_plain_object(bucket: str, key: str, content: bytes | memoryview) -> None:
    """Puts an object under a key we made ourselves, whole or not at all; for workers, which need no boto3 for it."""
    image_store(bucket).put(key, content)


def delete_plain_objects(bucket: str, keys: Sequence[str]) -> None:
    """Removes objects of keys we made ourselves, up to a thousand in a request. Nothing happens if one is not there."""
    if keys:
        image_store(bucket).delete(keys)


def read_object(bucket: str, key: str) -> bytes:
    """Raises ObjectNotFoundError if there is no such object."""
    client = s3_client()
    try:
        content: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    except client.exceptions.NoSuchKey:
        raise ObjectNotFoundError(f"s3://{bucket}/{key} does not exist.") from None
    return content


def read_object_if_there(bucket: str, key: str) -> bytes | None:
    try:
        return read_object(bucket, key)
    except ObjectNotFoundError:
        return None


def write_object(bucket: str, key: str, content: bytes, content_type: str = "application/octet-stream") -> None:
    s3_client().put_object(Bucket=bucket, Key=key, Body=content, ContentType=content_type)


def delete_object(bucket: str, key: str) -> None:
    """Nothing happens if it is not there."""
    s3_client().delete_object(Bucket=bucket, Key=key)


def delete_below(bucket: str, prefix: str) -> None:
    """Removes every object below `prefix`."""
    for entry in list_objects(bucket, prefix):
        delete_object(bucket, entry.key)


def read_json(bucket: str, key: str) -> Any:
    return json.loads(read_object(bucket, key))


def read_json_if_there(bucket: str, key: str) -> Any | None:
    """The parsed object, or None if it does not exist."""
    content = read_object_if_there(bucket, key)
    return None if content is None else json.loads(content)


def write_json(bucket: str, key: str, value: Any) -> None:
    write_object(bucket, key, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).encode(), "application/json")
