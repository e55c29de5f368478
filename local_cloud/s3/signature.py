"""Checks that a request to S3 is signed with AWS Signature Version 4, in its Authorization header.

Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)". S3 signs the path as it is sent, and
names the hash of the body in a header, so that a body need not be read before its request is known to be allowed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes

from local_cloud.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local_cloud.signature import Credentials

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_AUTHORIZATION: Final = re.compile(
    _ALGORITHM + r" Credential=(?P<key>[^/,]+)/(?P<day>\d{8})/(?P<region>[^/,]+)/(?P<service>[^/,]+)/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[^,]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_AS_SENT: Final = re.compile(r"[A-Za-z0-9_.~/-]*")
PAYLOAD_HASH: Final = "x-amz-content-sha256"


def check_signature(method: str, path: str, query: str, headers: Mapping[str, str], credentials: Credentials) -> str:
    """Returns the region that a request is signed for. Raises S3Error unless it is signed with these credentials.

    Path and query are as sent, names of headers in lower case.
    """
    scope = _AUTHORIZATION.fullmatch(headers.get("authorization", "").strip())
    if not scope or PAYLOAD_HASH not in headers:
        raise S3Error(403, "AccessDenied", "The request is not signed (AWS Signature Version 4, in the Authorization header).")
    if scope["key"] != credentials.access_key_id:
        raise S3Error(403, "InvalidAccessKeyId", "The access key id is not this server's.")
    signed_names = scope["headers"].split(";")
    if "host" not in signed_names or any(name not in headers for name in signed_names):
        raise S3Error(403, "AccessDenied", "The signed headers must hold 'host' and be part of the request.")
    canonical = "\n".join(
        [
            method,
            path if _AS_SENT.fullmatch(path) else quote(unquote_to_bytes(path), safe="/~"),
            _canonical_query(query),
            *(f"{name}:{' '.join(headers[name].split())}" for name in signed_names),
            "",
            scope["headers"],
            headers[PAYLOAD_HASH],
        ]
    )
    place = f"{scope['day']}/{scope['region']}/{scope['service']}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{_ALGORITHM}\n{headers.get('x-amz-date', '')}\n{place}\n{digest}"
    key = _signing_key(credentials.secret_access_key, place)
    if not hmac.compare_digest(hmac.digest(key, to_sign.encode(), "sha256").hex(), scope["signature"]):
        raise S3Error(403, "SignatureDoesNotMatch", "The request was not signed with this server's secret key.")
    return scope["region"]


@lru_cache(maxsize=16)
def _signing_key(secret: str, place: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in place.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = (part.partition("=")[::2] for part in query.split("&") if part)
    encoded = sorted((quote(unquote_to_bytes(name), safe="~"), quote(unquote_to_bytes(value), safe="~")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)
