"""Checks that a request to S3 is signed with AWS Signature Version 4, in its Authorization header.

Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)". S3 signs the path as it is sent,
and names the hash of the body in a header, so that a body need not be read before its request is known to be allowed.
Thousands of requests a second come through here: signing each of them again with botocore.auth, as the local EMR does,
would cost 15 % of the server's time. The tests sign with botocore.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes

from local_cloud.keys import Caller
from local_cloud.s3.errors import S3Error
from local_cloud.signature import ALGORITHM, SignatureError, SignatureFault, read_claim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local_cloud.keys import KeyRing
    from local_cloud.signature import SignatureClaim

PAYLOAD_HASH: Final = "x-amz-content-sha256"
_SERVICE: Final = "s3"
_AS_SENT: Final = re.compile(r"[A-Za-z0-9_.~/-]*")
_ANSWERS: Final = {
    SignatureFault.MISSING: (403, "AccessDenied"),
    SignatureFault.MALFORMED: (400, "AuthorizationHeaderMalformed"),
    SignatureFault.UNKNOWN_KEY: (403, "InvalidAccessKeyId"),
    SignatureFault.UNSIGNED_HEADER: (403, "AccessDenied"),
    SignatureFault.NO_DATE: (403, "AccessDenied"),
    SignatureFault.WRONG_SCOPE: (400, "AuthorizationHeaderMalformed"),
    SignatureFault.SKEWED: (403, "RequestTimeTooSkewed"),
    SignatureFault.MISMATCH: (403, "SignatureDoesNotMatch"),
}


def check_signature(method: str, path: str, query: str, headers: Mapping[str, str], keys: KeyRing) -> Caller:
    """Returns who signed a request and for which region. Raises S3Error unless it is signed with one of these keys.

    Path and query must be as they were sent, and names of headers in lower case.
    """
    if PAYLOAD_HASH not in headers:
        raise S3Error(403, "AccessDenied", f"The request is not signed: there is no header {PAYLOAD_HASH}.")
    try:
        claim = read_claim(headers, keys.roles, _SERVICE)
        claim.require(_signature(method, path, query, headers, claim, keys.secrets[claim.access_key_id]))
    except SignatureError as error:
        raise S3Error(*_ANSWERS[error.fault], str(error)) from None
    return Caller(keys.roles[claim.access_key_id], claim.region)


def _signature(
    method: str, path: str, query: str, headers: Mapping[str, str], claim: SignatureClaim, secret: str
) -> str:
    canonical = "\n".join(
        [
            method,
            path if _AS_SENT.fullmatch(path) else quote(unquote_to_bytes(path), safe="/~"),
            _canonical_query(query),
            *(f"{name}:{' '.join(headers[name].split())}" for name in claim.signed_names),
            "",
            ";".join(claim.signed_names),
            headers[PAYLOAD_HASH],
        ]
    )
    scope = f"{claim.timestamp[:8]}/{claim.region}/{claim.service}/aws4_request"
    to_sign = f"{ALGORITHM}\n{claim.timestamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.digest(_signing_key(secret, scope), to_sign.encode(), "sha256").hex()


@lru_cache(maxsize=16)
def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = (part.partition("=")[::2] for part in query.split("&") if part)
    encoded = sorted(
        (quote(unquote_to_bytes(name), safe="~"), quote(unquote_to_bytes(value), safe="~")) for name, value in pairs
    )
    return "&".join(f"{name}={value}" for name, value in encoded)
