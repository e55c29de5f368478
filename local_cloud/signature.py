"""Checks AWS Signature Version 4 of a request's headers.

The local EMR runs what it is asked to run, so it must know who asks: without this any web page in the user's browser could
post a command to the loopback address. Source: AWS General Reference, "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote

if TYPE_CHECKING:
    from collections.abc import Mapping

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_AUTHORIZATION: Final = re.compile(
    ALGORITHM + r" Credential=(?P<key>[^/,]+)/(?P<day>\d{8})/(?P<region>[^/,]+)/(?P<service>[^/,]+)/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[^,]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)


class SignatureError(Exception):
    """A request that the owner of the credentials did not sign. `code` is AWS's name for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Credentials:
    access_key_id: str
    secret_access_key: str


@dataclass(frozen=True)
class SignedRequest:
    """`headers` have lower-case names; `query` is the part after '?', undecoded."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def verified_region(request: SignedRequest, credentials: Credentials) -> str:
    """The region the request was signed for. Raises SignatureError unless it was signed with `credentials`."""
    scope = _AUTHORIZATION.fullmatch(request.headers.get("authorization", "").strip())
    if not scope:
        raise SignatureError("MissingAuthenticationToken", "Missing Authentication Token")
    if scope["key"] != credentials.access_key_id:
        raise SignatureError("UnrecognizedClientException", "The security token included in the request is invalid.")
    signed_names = scope["headers"].split(";")
    if "host" not in signed_names or any(name not in request.headers for name in signed_names):
        raise SignatureError("IncompleteSignatureException", "The signed headers must hold 'host' and be part of the request.")
    expected = signature(request, signed_names, credentials, day=scope["day"], region=scope["region"], service=scope["service"])
    if not hmac.compare_digest(expected, scope["signature"]):
        raise SignatureError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method.",
        )
    return scope["region"]


def signature(request: SignedRequest, signed_names: list[str], credentials: Credentials, *, day: str, region: str, service: str) -> str:
    """The signature of the request's named headers and body, in hex."""
    canonical = "\n".join(
        [
            request.method,
            quote(request.path, safe="/~") or "/",
            _canonical_query(request.query),
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in signed_names),
            "",
            ";".join(signed_names),
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    scope = f"{day}/{region}/{service}/aws4_request"
    to_sign = "\n".join([ALGORITHM, request.headers.get("x-amz-date", ""), scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, to_sign.encode(), "sha256").hexdigest()


def _canonical_query(query: str) -> str:
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in parse_qsl(query, keep_blank_values=True))
    return "&".join(f"{name}={value}" for name, value in pairs)
