"""Builds the XML that S3 answers with."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from local_cloud.s3.errors import S3Error
    from local_cloud.s3.listing import Listing, ListingRequest

_HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE: Final = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
# XML does not allow characters below 32. S3 sends them all the same, so careful clients ask for encoded keys.
_SPECIAL: Final = re.compile('[&<>"\x00-\x1f]')
_NOT_ENCODED: Final = "/-_.*"
_NAMED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def error(failure: S3Error, resource: str) -> bytes:
    parts = _element("Code", failure.code) + _element("Message", failure.message) + _element("Resource", resource)
    return _document(f"<Error>{parts}</Error>")


def buckets(names: Iterable[tuple[str, float]]) -> bytes:
    listed = "".join(
        f"<Bucket>{_element('Name', name)}{_time('CreationDate', created)}</Bucket>" for name, created in names
    )
    owner = "<Owner><ID>local</ID></Owner>"
    return _document(f"<ListAllMyBucketsResult{_NAMESPACE}>{owner}<Buckets>{listed}</Buckets></ListAllMyBucketsResult>")


def location(region: str) -> bytes:
    return _document(f"<LocationConstraint{_NAMESPACE}>{_escaped(region)}</LocationConstraint>")


def listing(
    bucket: str, page: Listing, request: ListingRequest, *, encoded: bool, about_pages: dict[str, str]
) -> bytes:
    """Builds a page of a listing.

    `about_pages` holds the elements in which the two versions of the request differ, encoded where that is asked for.
    """
    written = encoded_key if encoded else str
    head = (
        _element("Name", bucket)
        + _element("Prefix", written(request.prefix))
        + _element("Delimiter", written(request.delimiter))
    )
    head += _element("MaxKeys", str(request.most)) + _element("IsTruncated", str(page.is_truncated).lower())
    head += "".join(_element(name, value) for name, value in about_pages.items())
    if encoded:
        head += _element("EncodingType", "url")
    body = "".join(_common_prefix(prefix, written) for prefix in page.prefixes)
    objects = "".join(
        f"<Contents>{_element('Key', written(listed.key))}{_time('LastModified', listed.modified)}"
        f"<ETag>&quot;{listed.etag}&quot;</ETag><Size>{listed.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for listed in page.objects
    )
    return _document(f"<ListBucketResult{_NAMESPACE}>{head}{objects}{body}</ListBucketResult>")


def copied(etag: str, modified: float) -> bytes:
    return _document(f"<CopyObjectResult{_NAMESPACE}>{_time('LastModified', modified)}{_etag(etag)}</CopyObjectResult>")


def upload_begun(bucket: str, key: str, upload_id: str) -> bytes:
    names = _element("Bucket", bucket) + _element("Key", key) + _element("UploadId", upload_id)
    return _document(f"<InitiateMultipartUploadResult{_NAMESPACE}>{names}</InitiateMultipartUploadResult>")


def upload_completed(bucket: str, key: str, etag: str) -> bytes:
    names = _element("Location", f"/{bucket}/{key}") + _element("Bucket", bucket) + _element("Key", key)
    return _document(f"<CompleteMultipartUploadResult{_NAMESPACE}>{names}{_etag(etag)}</CompleteMultipartUploadResult>")


def deleted(keys: Iterable[str], failures: Iterable[tuple[str, S3Error]]) -> bytes:
    gone = "".join(f"<Deleted>{_element('Key', key)}</Deleted>" for key in keys)
    left = "".join(
        f"<Error>{_element('Key', key)}{_element('Code', failure.code)}{_element('Message', failure.message)}</Error>"
        for key, failure in failures
    )
    return _document(f"<DeleteResult{_NAMESPACE}>{gone}{left}</DeleteResult>")


def encoded_key(key: str) -> str:
    folder, slash, name = key.rpartition("/")
    return f"{_encoded_folder(folder)}{slash}{quote(name, safe=_NOT_ENCODED)}"


@lru_cache(maxsize=64)
def _encoded_folder(folder: str) -> str:
    return quote(folder, safe=_NOT_ENCODED)


def _common_prefix(prefix: str, written: Callable[[str], str]) -> str:
    return f"<CommonPrefixes>{_element('Prefix', written(prefix))}</CommonPrefixes>"


def _document(content: str) -> bytes:
    return (_HEAD + content).encode()


def _element(name: str, value: str) -> str:
    return f"<{name}>{_escaped(value)}</{name}>"


def _etag(etag: str) -> str:
    return _element("ETag", f'"{etag}"')


def _time(name: str, seconds: float) -> str:
    return f"<{name}>{_second(int(seconds))}.{int(seconds % 1 * 1000):03}Z</{name}>"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: _NAMED.get(found[0]) or f"&#x{ord(found[0]):x};", text)
