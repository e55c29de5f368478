"""Reads and writes the lake's bucket by the S3 API.

The endpoint, region and credentials come from the environment (on EMR, the credentials come from its profile).
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import lake, tables
from fruit_contract.listing import ListedObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from obstore import Bytes
    from obstore.store import RetryConfig, S3Store

Item = TypeVar("Item")
Result = TypeVar("Result")

_LISTED_AT_ONCE: Final = 1000
_MOST_ASKED_FOR: Final = 1000
LISTED: Final = pa.schema(
    [(tables.IMAGE_KEY, pa.string()), (tables.ETAG, pa.string()), (tables.SIZE_BYTES, pa.int64())]
)
# Requests to a distant store mostly wait: this many of them at once take about as long as one.
REQUESTS_AT_ONCE: Final = 32
# S3 answers SlowDown to requests for a busy prefix until it has split the prefix, which takes minutes. The waits are
# random and have these as their longest.
_RETRIES: Final[RetryConfig] = {
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=15), "base": 2.0},
    "max_retries": 40,
    "retry_timeout": timedelta(minutes=8),
}


class ObjectNotFoundError(FileNotFoundError):
    """Raised if an object that a step needs is not in the lake. The message names it."""


class LostPlaceError(RuntimeError):
    """Raised if somebody else has replaced an object since it was read. Nothing was overwritten."""


@dataclass(frozen=True)
class Store:
    """Reads and writes one bucket.

    It is small enough to be sent to workers, and threads can share it. The process keeps the connections.
    """

    bucket: str

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def list_images(self, prefix: str) -> pa.Table:
        """Lists every object below `prefix` (a folder's, with its slash): rows of LISTED, sorted by key.

        Keys may hold all that S3 allows. There is one exception: if the key of an object that holds bytes ends in a
        slash, it loses the slash if its name has a dot (`a.jpg/`), or if very many names have none.
        """
        from obstore.exceptions import InvalidPathError

        try:
            found = listed_table(self._pages(prefix))
        except InvalidPathError:
            # S3 holds keys that the fast store cannot name (control characters, empty path segments).
            return listed_table(_pages_of_any(self.bucket, prefix))
        return listed_table(_pages_of_any(self.bucket, prefix)) if self._may_lack_slashes(found) else found

    def list_objects(self, prefix: str) -> list[ListedObject]:
        """Lists every object below `prefix` (a folder's, with its slash), sorted by key.

        It is much faster than `list_images`, and right for keys that the product itself has made.
        """
        return sorted((entry for page in self._pages(prefix) for entry in page), key=lambda entry: entry.key)

    def list_keys(self, prefix: str) -> list[str]:
        return [entry.key for entry in self.list_objects(prefix)]

    def list_folders(self, prefix: str) -> list[str]:
        """Lists the names of the folders directly below `prefix`, sorted."""
        found = _connect(self.bucket).list_with_delimiter(prefix)["common_prefixes"]
        return sorted(folder.rstrip("/").rpartition("/")[2] for folder in found)

    def find(self, key: str) -> Bytes | None:
        """Returns an object's content, without a copy, or None if it is not there."""
        found = self.find_with_etag(key)
        return None if found is None else found[0]

    def find_with_etag(self, key: str) -> tuple[Bytes, str] | None:
        """Returns an object's content and ETag (empty if the store names none), or None if it is not there."""
        try:
            result = _connect(self.bucket).get(key)
        except FileNotFoundError:
            return None
        return result.bytes(), _bare(result.meta["e_tag"])

    def find_etag(self, key: str) -> str | None:
        """Returns an object's ETag, or None if it is not there."""
        try:
            return _bare(_connect(self.bucket).head(key)["e_tag"])
        except FileNotFoundError:
            return None

    def find_any(self, key: str) -> tuple[bytes, str] | None:
        """Does what `find_with_etag` does, for every key that S3 allows."""
        try:
            found = self.find_with_etag(key)
        except ValueError:
            # The fast store cannot name this key.
            from botocore.exceptions import ClientError

            try:
                answer = s3_client().get_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                # XML cannot hold control characters, so S3's answer about such a key may have no code but its status.
                if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                    return None
                raise
            return answer["Body"].read(), _bare(answer["ETag"])
        return None if found is None else (bytes(found[0]), found[1])

    def read(self, key: str) -> Bytes:
        """Returns an object's content. Raises ObjectNotFoundError if there is no such object."""
        content = self.find(key)
        if content is None:
            raise ObjectNotFoundError(f"{self.uri(key)} does not exist.")
        return content

    def find_end(self, entry: ListedObject, n_bytes: int) -> Bytes | None:
        """Returns the last `n_bytes` of an object (or all there are), or None if it is not as it was listed."""
        from obstore.exceptions import BaseError

        start = max(0, entry.size_bytes - n_bytes)
        try:
            result = _connect(self.bucket).get(entry.key, options={"range": (start, entry.size_bytes)})
        except (FileNotFoundError, BaseError):
            # The object is gone, or a shorter one has taken its place.
            return None
        return result.bytes() if _bare(result.meta["e_tag"]) == entry.etag else None

    def write(self, key: str, content: bytes | memoryview) -> None:
        """Writes an object, whole or not at all."""
        _connect(self.bucket).put(key, content, use_multipart=False)

    def replace(self, key: str, content: bytes | memoryview, etag: str | None) -> str:
        """Writes an object in place of the one with `etag` (None: of no object), and returns the new ETag.

        Raises LostPlaceError if another object is there. Where the store has conditional writes (S3 does), no other
        write can come in between.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        found = self.find_etag(key)
        try:
            if found != etag:
                raise PreconditionError(f"its ETag is {found}, and was {etag}")  # noqa: TRY301 - both looks end in the same words
            mode: Any = "create" if etag is None else {"e_tag": f'"{etag}"'}
            result = _connect(self.bucket).put(key, content, mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError) as error:
            raise LostPlaceError(
                f"{self.uri(key)} was replaced by another writer meanwhile. Nothing was overwritten: run the same "
                "again."
            ) from error
        return _bare(result["e_tag"])

    def delete(self, keys: Sequence[str]) -> None:
        """Removes objects, up to a thousand in a request. Objects that are not there are ignored."""
        if keys:
            _connect(self.bucket).delete(list(keys))

    def delete_below(self, prefix: str) -> None:
        """Removes every object below `prefix` (a folder's, with its slash)."""
        self.delete(self.list_keys(prefix))

    def find_json(self, key: str) -> Any | None:
        """Returns what a JSON object holds, or None if it does not exist. Raises ValueError if it is no JSON."""
        content = self.find(key)
        return None if content is None else json.loads(bytes(content))

    def read_json(self, key: str) -> Any:
        """Returns what a JSON object holds.

        Raises ObjectNotFoundError if it does not exist, and ValueError if it is no JSON.
        """
        return json.loads(bytes(self.read(key)))

    def write_json(self, key: str, value: Any) -> None:
        self.write(key, to_json(value))

    def _pages(self, prefix: str) -> Iterator[list[ListedObject]]:
        for page in _connect(self.bucket).list(prefix, chunk_size=_LISTED_AT_ONCE):
            yield [ListedObject(entry["path"], _bare(entry["e_tag"]), entry["size"]) for entry in page]

    def _may_lack_slashes(self, found: pa.Table) -> bool:
        """Says whether a listing may hold a folder's placeholder as an image: the fast store strips the key's slash."""
        keys = found.column(tables.IMAGE_KEY)
        # Placeholders are mostly empty, and so are markers, which are no images.
        empty = keys.filter(pc.equal(found.column(tables.SIZE_BYTES), 0)).to_pylist()
        # There may be an image beside a placeholder of the same name.
        is_twice = pc.any(pc.equal(keys[1:], keys[:-1])).as_py()
        if is_twice or any(lake.parse_image_key(key) for key in empty):
            return True
        # Few images have a name without an ending. Where many have, it would take too long to ask for each.
        plain = keys.filter(pc.invert(pc.match_substring_regex(keys, r"\.[^/]*$")))
        if len(plain) > _MOST_ASKED_FOR:
            return False
        return None in at_once(self.find_etag, [key for key in plain.to_pylist() if lake.parse_image_key(key)])


def listed_table(pages: Iterable[Sequence[ListedObject]]) -> pa.Table:
    """Returns listed objects as rows of LISTED, sorted by key.

    Millions may be held, and rows take a third of the memory that Python objects take.
    """
    batches, is_sorted, last = [LISTED.empty_table()], True, ""
    for page in pages:
        keys = [entry.key for entry in page]
        columns = [keys, [entry.etag for entry in page], [entry.size_bytes for entry in page]]
        batches.append(
            pa.table(
                [pa.array(values, field.type) for values, field in zip(columns, LISTED, strict=True)], schema=LISTED
            )
        )
        is_sorted = is_sorted and all(before <= after for before, after in pairwise([last, *keys]))
        last = keys[-1] if keys else last
    found = pa.concat_tables(batches)
    return found if is_sorted else found.sort_by(tables.IMAGE_KEY)


def to_json(value: Any) -> bytes:
    """Returns a value as the bytes of a JSON object of the lake."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).encode()


def at_once(work: Callable[[Item], Result], items: Iterable[Item], n_threads: int = REQUESTS_AT_ONCE) -> list[Result]:
    """Returns what `work` makes of each item, in their order. Many run at a time, in threads: requests mostly wait."""
    found = list(items)
    if len(found) <= 1:
        return [work(item) for item in found]
    load_library()
    with ThreadPoolExecutor(min(n_threads, len(found))) as pool:
        return list(pool.map(work, found))


def load_library() -> None:
    """Loads the store's library before threads use it, which may otherwise find it half loaded."""
    import obstore.store  # noqa: F401


def s3_client() -> Any:
    """Returns boto3's client, for keys that the fast store cannot name. A process has one for an endpoint and key."""
    return _client(os.environ.get("AWS_ENDPOINT_URL_S3"), os.environ.get("AWS_ACCESS_KEY_ID"))


@cache
def _client(endpoint: str | None, access_key_id: str | None) -> Any:  # noqa: ARG001 - another key is another client
    import boto3
    from botocore.config import Config

    config = Config(
        retries={"mode": "adaptive", "max_attempts": 20}, s3={"addressing_style": "path"} if endpoint else {}
    )
    # The client gets a session of its own, because boto3's default session keeps the first credentials it finds.
    return boto3.Session().client("s3", region_name=os.environ.get("AWS_REGION"), endpoint_url=endpoint, config=config)


def _connect(bucket: str) -> S3Store:
    """Returns the fast store, which pools connections. A process has one for a bucket, endpoint and key."""
    return _store(bucket, os.environ.get("AWS_ENDPOINT_URL_S3"), os.environ.get("AWS_ACCESS_KEY_ID"))


@cache
def _store(bucket: str, endpoint: str | None, access_key_id: str | None) -> S3Store:  # noqa: ARG001 - another key is another store
    from obstore.store import S3Store

    region = os.environ.get("AWS_REGION")
    if endpoint is None:
        return S3Store(bucket, region=region, retry_config=_RETRIES)
    return S3Store(
        bucket,
        region=region,
        aws_endpoint_url_s3=endpoint,
        virtual_hosted_style_request=False,
        client_options={"allow_http": endpoint.startswith("http://")},
        retry_config=_RETRIES,
    )


def _pages_of_any(bucket: str, prefix: str) -> Iterator[list[ListedObject]]:
    for page in s3_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield [ListedObject(entry["Key"], _bare(entry["ETag"]), entry["Size"]) for entry in page.get("Contents", ())]


def _bare(etag: str | None) -> str:
    """Returns an ETag without its quotes."""
    return (etag or "").strip('"')
