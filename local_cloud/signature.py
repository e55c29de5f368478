"""Reads what a request says of its signature (AWS Signature Version 4) and checks whether that can be true.

Each service computes the signature itself. Source: AWS General Reference, "Create a signed AWS API request". Signatures
in a query (presigned URLs) are not supported.
"""

from __future__ import annotations

import calendar
import hmac
import re
import time
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

ALGORITHM: Final = "AWS4-HMAC-SHA256"
MOST_SECONDS_APART: Final = 15 * 60
_AUTHORIZATION: Final = re.compile(
    ALGORITHM + r" Credential=(?P<key>[^/,]+)/(?P<day>\d{8})/(?P<region>[^/,]+)/(?P<service>[^/,]+)/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[^,]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_TIMESTAMP: Final = re.compile(r"\d{8}T\d{6}Z", re.ASCII)


class SignatureFault(Enum):
    """Lists what can be wrong with a signature. Each service has its own error codes for it."""

    MISSING = auto()
    MALFORMED = auto()
    UNKNOWN_KEY = auto()
    UNSIGNED_HEADER = auto()
    NO_DATE = auto()
    WRONG_SCOPE = auto()
    SKEWED = auto()
    MISMATCH = auto()


class SignatureError(Exception):
    """Raised for a request that was not signed with known credentials, correctly and in the last minutes."""

    def __init__(self, fault: SignatureFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True)
class Credentials:
    access_key_id: str
    secret_access_key: str = field(repr=False)


class SignatureClaim(NamedTuple):
    """Holds what a request says of its signature. `signed_names` are the headers that it covers, in lower case."""

    access_key_id: str
    timestamp: str
    region: str
    service: str
    signed_names: tuple[str, ...]
    signature: str

    def require(self, computed: str) -> None:
        """Raises SignatureError unless the signature is the computed one."""
        if not hmac.compare_digest(computed, self.signature):
            raise SignatureError(
                SignatureFault.MISMATCH,
                "The request signature we calculated does not match the signature you provided. "
                "Check your AWS Secret Access Key and signing method.",
            )


def read_claim(headers: Mapping[str, str], access_key_ids: Container[str], service: str) -> SignatureClaim:
    """Returns what a request's headers (their names in lower case) say of its signature.

    Raises SignatureError if they say nothing, name another key or service, don't cover the host, or if the request was
    signed more than 15 minutes from now.
    """
    authorization = headers.get("authorization", "").strip()
    if not authorization.startswith(ALGORITHM):
        raise SignatureError(
            SignatureFault.MISSING,
            "Missing Authentication Token: the request is not signed in its Authorization header.",
        )
    said = _AUTHORIZATION.fullmatch(authorization)
    if not said:
        raise SignatureError(
            SignatureFault.MALFORMED,
            "The Authorization header must hold a Credential's scope, SignedHeaders and a Signature.",
        )
    if said["key"] not in access_key_ids:
        raise SignatureError(
            SignatureFault.UNKNOWN_KEY,
            "The security token included in the request is invalid: it is not this server's.",
        )
    signed_names = tuple(said["headers"].split(";"))
    if "host" not in signed_names or any(name not in headers for name in signed_names):
        raise SignatureError(
            SignatureFault.UNSIGNED_HEADER, "The signed headers must hold 'host' and be part of the request."
        )
    timestamp = headers.get("x-amz-date", "")
    signed_at = _seconds(timestamp)
    if signed_at is None:
        raise SignatureError(
            SignatureFault.NO_DATE, f"The header X-Amz-Date must hold a date like 20261122T093000Z. Got {timestamp!r}."
        )
    if (said["day"], said["service"]) != (timestamp[:8], service):
        raise SignatureError(
            SignatureFault.WRONG_SCOPE,
            f"The Credential's scope must name the day {timestamp[:8]} and the service {service!r}.",
        )
    if abs(time.time() - signed_at) > MOST_SECONDS_APART:
        raise SignatureError(
            SignatureFault.SKEWED,
            f"Signature expired or not yet current: the request was signed at {timestamp}, and it is "
            f"{_timestamp(time.time())}. "
            "The difference between the request time and the current time is too large: at most 15 minutes.",
        )
    return SignatureClaim(said["key"], timestamp, said["region"], service, signed_names, said["signature"])


@lru_cache(maxsize=64)
def _seconds(timestamp: str) -> float | None:
    if not _TIMESTAMP.fullmatch(timestamp):
        return None
    try:
        return calendar.timegm(time.strptime(timestamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
