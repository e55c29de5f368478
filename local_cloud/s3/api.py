"""Answers the requests that the local S3 knows and refuses all others, because a wrong guess could damage an object."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import mimetypes
import re
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote

from local_cloud.project import ACCOUNT
from local_cloud.s3 import answers
from local_cloud.s3.connection import Response
from local_cloud.s3.errors import (
    S3Error,
    another_owner,
    invalid_argument,
    no_such_key,
    not_implemented,
    precondition_failed,
)
from local_cloud.s3.listing import FOLLOWS_ALL, ListingRequest, list_objects
from local_cloud.s3.multipart import MultipartUploads, child, elements
from local_cloud.s3.objects import Condition, is_path, names_etag, no_space
from local_cloud.s3.receiving import receive
from local_cloud.s3.signature import check_signature

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local_cloud.access_log import AccessLog
    from local_cloud.keys import KeyRing
    from local_cloud.s3.connection import Request
    from local_cloud.s3.objects import BucketFolders, Upload, Version

MOST_LISTED: Final = 1000
DOCUMENT_BYTES: Final = 10 << 20
_OWNER: Final = "x-amz-expected-bucket-owner"
# The headers that say what a request asks for begin with these.
_ABOUT: Final = ("x-amz-", "if-", "range")
_OF_EVERY_REQUEST: Final = frozenset(
    {"x-amz-content-sha256", "x-amz-date", "x-amz-decoded-content-length", "x-amz-security-token"}
)
_XML: Final = {"Content-Type": "application/xml"}
_LISTING: Final = {
    *("list-type", "prefix", "delimiter", "max-keys", "encoding-type", "continuation-token", "start-after", "marker"),
    "fetch-owner",
}
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")

logger = logging.getLogger(__name__)


class S3Api:
    def __init__(self, folders: BucketFolders, keys: KeyRing, log: AccessLog | None = None) -> None:
        self._folders = folders
        self._keys = keys
        self._log = log
        self._multipart = MultipartUploads()

    async def answer(self, request: Request) -> Response:
        """Answers any request. Raises only the errors that say that the client has hung up."""
        try:
            caller = check_signature(request.method, request.path, request.query, request.headers, self._keys)
        except S3Error as error:
            return _error(error, request)
        response = await self._answer(request, caller.region)
        if self._log:
            about = {
                name: value
                for name, value in request.headers.items()
                if name.startswith(_ABOUT) and name not in _OF_EVERY_REQUEST
            }
            asked = {
                "method": request.method,
                "path": request.path,
                "query": request.query,
                "headers": about,
                "keys": response.keys,
            }
            self._log.note(caller, **asked, status=response.status)
        return response

    async def _answer(self, request: Request, region: str) -> Response:
        try:
            return await self._routed(request, region)
        except S3Error as error:
            return _error(error, request)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            raise
        except Exception as error:
            if full := no_space(error):
                return _error(full, request)
            logger.exception("%s %s failed", request.method, request.path)
            return _error(S3Error(500, "InternalError", "The local S3 failed: its log says how."), request)

    async def _routed(self, request: Request, region: str) -> Response:
        try:
            path = unquote(request.path, errors="strict")
            query = dict(parse_qsl(request.query, keep_blank_values=True, errors="strict"))
        except ValueError:
            raise invalid_argument("Path and query must be UTF-8.") from None
        query.pop("x-id", None)  # some clients name the operation, for their logs
        bucket, _, key = path[1:].partition("/")
        if request.headers.get(_OWNER, ACCOUNT) != ACCOUNT:
            raise another_owner()
        if key:
            return await self._of_object(request, bucket, key, query)
        if bucket:
            return await self._of_bucket(request, bucket, query, region)
        if request.method == "GET" and not query:
            return Response(headers=_XML, content=answers.buckets(self._folders.buckets()))
        raise not_implemented(f"{request.method} /?{request.query}")

    async def _of_bucket(self, request: Request, bucket: str, query: Mapping[str, str], region: str) -> Response:
        match request.method, *sorted(query):
            case ["PUT"]:
                self._folders.create_bucket(bucket)
                return Response(headers={"Location": f"/{bucket}"})
            case ["HEAD"]:
                self._folders.bucket(bucket)
                return Response(headers={"x-amz-bucket-region": region})
            case ["DELETE"]:
                self._folders.remove_bucket(bucket)
                return Response(204)
            case ["GET", "location"]:
                self._folders.bucket(bucket)
                return Response(headers=_XML, content=answers.location(region))
            case ["GET", *names] if _LISTING.issuperset(names):
                return await self._list(bucket, query)
            case ["POST", "delete"]:
                return await self._delete_many(request, bucket)
        raise not_implemented(f"{request.method} /{bucket}?{request.query}")

    async def _of_object(self, request: Request, bucket: str, key: str, query: Mapping[str, str]) -> Response:
        match request.method, *sorted(query):
            case ["GET" | "HEAD"]:
                return await self._get(request, bucket, key)
            case ["PUT"] if "x-amz-copy-source" in request.headers:
                return await self._copy(request, bucket, key)
            case ["PUT"]:
                return await self._put(request, bucket, key)
            case ["DELETE"]:
                if is_path(key):
                    self._folders.remove(bucket, key)
                return Response(204)
            case ["POST", "uploads"]:
                self._folders.bucket(bucket)
                return Response(
                    headers=_XML, content=answers.upload_begun(bucket, key, self._multipart.begin(bucket, key))
                )
            case ["PUT", "partNumber", "uploadId"] if "x-amz-copy-source" not in request.headers:
                return await self._put_part(request, bucket, key, query)
            case ["POST", "uploadId"]:
                return await self._complete(request, bucket, key, query["uploadId"])
            case ["DELETE", "uploadId"]:
                self._multipart.find(query["uploadId"], bucket, key)
                self._multipart.end(query["uploadId"])
                return Response(204)
        raise not_implemented(f"{request.method} of an object with ?{request.query}")

    async def _get(self, request: Request, bucket: str, key: str) -> Response:
        if not is_path(key):
            self._folders.bucket(bucket)
            raise no_such_key(key)
        version = self._folders.open(bucket, key)
        try:
            etag = self._folders.etags.known(version.status)
            if etag is None:
                etag = await asyncio.to_thread(self._folders.etags.of, version.descriptor, version.status)
            return _of_version(request, key, version, etag)
        except BaseException:
            version.close()
            raise

    async def _put(self, request: Request, bucket: str, key: str) -> Response:
        self._folders.check(bucket, key)
        with self._folders.upload() as upload:
            await receive(request, upload)
            return self._stored(request, upload, bucket, key)

    async def _copy(self, request: Request, bucket: str, key: str) -> Response:
        self._folders.check(bucket, key)
        source_bucket, _, source_key = unquote(request.headers["x-amz-copy-source"]).removeprefix("/").partition("/")
        with (
            contextlib.closing(self._folders.open(source_bucket, source_key)) as version,
            self._folders.upload() as upload,
        ):
            await asyncio.to_thread(upload.copy, version)
            self._stored(request, upload, bucket, key)
            return Response(headers=_XML, content=answers.copied(upload.etag, version.modified))

    def _stored(self, request: Request, upload: Upload, bucket: str, key: str) -> Response:
        condition = Condition(request.headers.get("if-match"), request.headers.get("if-none-match"))
        self._folders.store(upload, bucket, key, condition)
        return Response(headers={"ETag": f'"{upload.etag}"'})

    async def _put_part(self, request: Request, bucket: str, key: str, query: Mapping[str, str]) -> Response:
        multipart = self._multipart.find(query["uploadId"], bucket, key)
        if not query["partNumber"].isdecimal():
            raise invalid_argument("A part's number is a number.")
        part = self._folders.begin_upload()
        try:
            await receive(request, part)
            # The upload may have been completed or aborted meanwhile.
            self._multipart.find(query["uploadId"], bucket, key)
        except BaseException:
            part.discard()
            raise
        multipart.put(int(query["partNumber"]), part)
        return Response(headers={"ETag": f'"{part.etag}"'})

    async def _complete(self, request: Request, bucket: str, key: str, upload_id: str) -> Response:
        parts = self._multipart.find(upload_id, bucket, key).chosen(await request.body.read_all(DOCUMENT_BYTES))
        with self._folders.upload() as upload:
            await asyncio.to_thread(upload.join, parts)
            self._stored(request, upload, bucket, key)
        self._multipart.end(upload_id)
        return Response(headers=_XML, content=answers.upload_completed(bucket, key, upload.etag))

    async def _delete_many(self, request: Request, bucket: str) -> Response:
        self._folders.bucket(bucket)
        document = await request.body.read_all(DOCUMENT_BYTES)
        keys = [child(entry, "Key") for entry in elements(document, "Object")]
        failures: list[tuple[str, S3Error]] = []
        for key in filter(is_path, keys):
            try:
                self._folders.remove(bucket, key)
            except S3Error as error:
                failures.append((key, error))
        failed = {key for key, _ in failures}
        content = answers.deleted([key for key in keys if key not in failed], failures)
        return Response(headers=_XML, content=content, keys=tuple(keys))

    async def _list(self, bucket: str, query: Mapping[str, str]) -> Response:
        folder = self._folders.bucket(bucket)
        is_second = query.get("list-type") == "2"
        encoded = query.get("encoding-type") == "url"
        written = answers.encoded_key if encoded else str
        token, marker = query.get("continuation-token"), query.get("marker", "")
        delimiter = query.get("delimiter", "")
        if is_second:
            after = query.get("start-after", "") if token is None else _from_token(token)
        else:
            # The first version of the request goes on after a common prefix by naming it.
            after = marker + FOLLOWS_ALL if delimiter and marker.endswith(delimiter) else marker
        try:
            most = min(int(query.get("max-keys", MOST_LISTED)), MOST_LISTED)
        except ValueError:
            raise invalid_argument("max-keys is a number.") from None
        wanted = ListingRequest(query.get("prefix", ""), delimiter, after, most)
        page = await asyncio.to_thread(list_objects, folder, wanted, self._folders.etags)
        if is_second:
            about_pages = {
                "KeyCount": str(len(page.objects) + len(page.prefixes)),
                "StartAfter": written(query.get("start-after", "")),
            }
            if token is not None:
                about_pages["ContinuationToken"] = token
            if page.is_truncated:
                about_pages["NextContinuationToken"] = _to_token(page.last)
        else:
            about_pages = {"Marker": written(marker)}
            if page.is_truncated:
                about_pages["NextMarker"] = written(page.last.removesuffix(FOLLOWS_ALL))
        content = answers.listing(bucket, page, wanted, encoded=encoded, about_pages=about_pages)
        return Response(headers=_XML, content=content)


def _of_version(request: Request, key: str, version: Version, etag: str) -> Response:
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and not names_etag(match, etag):
        raise precondition_failed()
    headers = {
        "ETag": f'"{etag}"',
        "Last-Modified": formatdate(version.modified, usegmt=True),
        "Content-Type": _content_type(key.rpartition("/")[2].rpartition(".")[2]),
        "Accept-Ranges": "bytes",
    }
    if none_match is not None and names_etag(none_match, etag):
        version.close()
        return Response(304, headers)
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if not asked or not any(asked.groups()):
        return Response(200, headers, version=version, length=version.size)
    start, end = _span(asked[1], asked[2], version.size)
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{version.size}"
    return Response(206, headers, version=version, start=start, length=end - start)


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """Returns the start and the end (exclusive) of a range of bytes. Raises S3Error if the object has none of them."""
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise S3Error(416, "InvalidRange", "The object has no such bytes.")
    return start, end


@lru_cache(maxsize=1000)
def _content_type(extension: str) -> str:
    return mimetypes.guess_type(f"file.{extension}")[0] or "binary/octet-stream"


def _to_token(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def _from_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeError):
        raise invalid_argument("The continuation token is not one of this server's.") from None


def _error(error: S3Error, request: Request) -> Response:
    return Response(error.status, _XML, answers.error(error, request.path))
