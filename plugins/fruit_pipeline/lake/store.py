"""Gives access to the lake as Airflow sees it: lists, reads and writes through the credentials and endpoint of an
Airflow connection.

Everything goes this one way: Parquet, too, is opened through the same S3 client (ranged reads), so assumed roles,
proxies and the local cloud's endpoint work without a second configuration.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from botocore.exceptions import ClientError

from fruit_contract.failures.causes import LAKE_DAMAGED
from fruit_contract.lake import uri
from fruit_pipeline.aws import BOTOCORE_CONFIG
from fruit_pipeline.errors import DamagedFileError, MissingObjectError, ReplacedMeanwhileError
from fruit_pipeline.lake.listing_page import page_of, read_listings_fast
from fruit_pipeline.lake.location import stay_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fruit_pipeline.lake.facts import DatedObject
    from fruit_pipeline.lake.listing_page import ListedPage
    from fruit_pipeline.settings import Settings

READ_AHEAD_BYTES: Final = 4 * 1024 * 1024
_JSON: Final = "application/json"
# S3 answers a conditional write with one of these if the condition does not hold (412), if another write came in the
# same moment (409), or if what was to be replaced is gone (404).
_OTHERS_WERE_FIRST: Final = frozenset({404, 409, 412})
_NOT_IMPLEMENTED: Final = 501


class Lake:
    """Reads and writes one bucket through a boto3 S3 client. It is safe to share between threads, as boto3's clients
    are.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self.client = client
        self.bucket = bucket

    def list_pages(self, prefix: str, after: str = "") -> Iterator[ListedPage]:
        """Returns the pages of objects below `prefix` whose keys are greater than `after`, in the store's order, as
        they are listed.
        """
        start = {"StartAfter": after} if after else {}
        return map(
            page_of, self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, **start)
        )

    def list_objects(self, prefix: str) -> Iterator[DatedObject]:
        """Yields every object below `prefix`, in the store's order."""
        for page in self.list_pages(prefix):
            yield from page.objects()

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yields the folders right below `prefix`, each with the slash at its end."""
        for page in self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, Delimiter="/"
        ):
            for entry in page.get("CommonPrefixes", ()):
                yield entry["Prefix"]

    def read_bytes(self, key: str) -> bytes:
        """Returns the object's content. Raises MissingObjectError if it is not there."""
        return self._read(key)[0]

    def read_json_with_etag(self, key: str) -> tuple[dict[str, Any], str] | None:
        """Returns a JSON object and the ETag by which `replace_json` knows it again, or None if it is not there. Raises
        DamagedFileError if it is no JSON object.
        """
        try:
            content, etag = self._read(key)
        except MissingObjectError:
            return None
        return self._json_object(key, content), etag

    def replace_json(self, key: str, value: Mapping[str, Any], etag: str | None) -> None:
        """Puts a JSON object in place of the one with `etag`, or where there is none if `etag` is None. Raises
        ReplacedMeanwhileError if there is another one.

        A store without conditional writes says so, or ignores the condition. Whoever must be sure looks afterwards what
        is there.
        """
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        place: dict[str, Any] = {"Bucket": self.bucket, "Key": key, "Body": _as_json(value), "ContentType": _JSON}
        try:
            self.client.put_object(**place, **condition)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status in _OTHERS_WERE_FIRST and error.response["Error"]["Code"] != "NoSuchBucket":
                raise ReplacedMeanwhileError(
                    f"{uri(self.bucket, key)} was replaced by another writer meanwhile."
                ) from error
            if status != _NOT_IMPLEMENTED:
                raise
            self.client.put_object(**place)

    def read_json(self, key: str) -> dict[str, Any]:
        """Returns a JSON object. Raises MissingObjectError if it is not there, and DamagedFileError if it is no JSON
        object.
        """
        return self._json_object(key, self.read_bytes(key))

    def read_json_if_there(self, key: str) -> dict[str, Any] | None:
        try:
            return self.read_json(key)
        except MissingObjectError:
            return None

    def write(self, key: str, content: bytes, content_type: str) -> str:
        """Puts an object and returns its address."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=content, ContentType=content_type)
        return uri(self.bucket, key)

    def delete(self, key: str) -> None:
        """Deletes the object, if it is there."""
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def is_there(self, key: str) -> bool:
        """Returns whether there is an object of exactly this key."""
        return any(stored.key == key for stored in self.list_objects(key))

    def write_json(self, key: str, value: Mapping[str, Any]) -> str:
        return self.write(key, _as_json(value), _JSON)

    def open(self, stored: DatedObject) -> BinaryIO:
        """Returns a seekable stream over an object. It reads 4 MB ahead, so a small object is read at once."""
        return io.BufferedReader(self.open_ranges(stored), buffer_size=READ_AHEAD_BYTES)

    def open_ranges(self, stored: DatedObject) -> io.RawIOBase:
        """Returns a seekable stream over an object that reads exactly what it is asked for. Each read is a request of
        its own.
        """
        return _RangedObject(self.client, self.bucket, stored)

    def _json_object(self, key: str, content: bytes) -> dict[str, Any]:
        try:
            value = json.loads(content)
        except ValueError as error:
            raise self.damaged(key, str(error)) from error
        if not isinstance(value, dict):
            raise self.damaged(key, "it is JSON, but no object")
        return value

    def damaged(self, key: str, why: str) -> DamagedFileError:
        """Returns the error that names the object and says what to do."""
        return DamagedFileError(f"{uri(self.bucket, key)} is not as it was written: {why}. {LAKE_DAMAGED.what_to_do}")

    def _read(self, key: str) -> tuple[bytes, str]:
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
        except self.client.exceptions.NoSuchKey:
            raise MissingObjectError(f"{uri(self.bucket, key)} is not there.") from None
        return cast("bytes", answer["Body"].read()), str(answer["ETag"])


def _as_json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).encode()


def lake_of(settings: Settings) -> Lake:
    """Returns the lake of the settings' bucket, through the settings' Airflow connection."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    # Some stores answer a ranged read with the checksum of the whole object, which then never matches; TLS guards the
    # way.
    config = BOTOCORE_CONFIG | {"response_checksum_validation": "when_required"}
    hook = S3Hook(aws_conn_id=settings.aws_conn_id, region_name=settings.region, config=config)
    client = hook.get_conn()
    stay_here(client, settings.lake_owner)
    read_listings_fast(client)
    return Lake(client, settings.lake_bucket)


class _RangedObject(io.RawIOBase):
    """Reads an object of known size by ranges, so that a reader of Parquet fetches only the footer and the columns it
    needs.
    """

    def __init__(self, client: Any, bucket: str, stored: DatedObject) -> None:
        self.client = client
        self._bucket = bucket
        self._stored = stored
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._stored.size_bytes}[whence]
        self._position = base + offset
        return self._position

    def readall(self) -> bytes:
        """Returns everything that is left, by one request. Python's own method would ask for 8 kB at a time."""
        return self.read(max(0, self._stored.size_bytes - self._position)) or b""

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._stored.size_bytes)
        if self._position >= end:
            return 0
        # The ETag guards against a file that is replaced between two ranges of one reader.
        answer = self.client.get_object(
            Bucket=self._bucket,
            Key=self._stored.key,
            Range=f"bytes={self._position}-{end - 1}",
            IfMatch=f'"{self._stored.etag}"',
        )
        content = answer["Body"].read()
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
