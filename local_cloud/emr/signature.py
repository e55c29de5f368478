"""Checks that a request to EMR is signed, by signing it again with botocore.

The local EMR runs what it is asked to run, so it must know who asks: without this any web page in the user's browser
could post a command to the loopback address.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from local_cloud.keys import Caller
from local_cloud.signature import SignatureError, SignatureFault, read_claim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local_cloud.keys import KeyRing
    from local_cloud.signature import SignatureClaim

# The names that AWS's services with a JSON protocol have for it.
CODES: Final = {
    SignatureFault.MISSING: "MissingAuthenticationToken",
    SignatureFault.MALFORMED: "IncompleteSignatureException",
    SignatureFault.UNKNOWN_KEY: "UnrecognizedClientException",
    SignatureFault.UNSIGNED_HEADER: "IncompleteSignatureException",
    SignatureFault.NO_DATE: "IncompleteSignatureException",
    SignatureFault.WRONG_SCOPE: "InvalidSignatureException",
    SignatureFault.SKEWED: "InvalidSignatureException",
    SignatureFault.MISMATCH: "InvalidSignatureException",
}
_SERVICE: Final = "elasticmapreduce"
_PAYLOAD_HASH: Final = "x-amz-content-sha256"


class SignedRequest(NamedTuple):
    """Holds a request as it came: `path` is decoded, `query` is not, and names of headers are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def verified_caller(request: SignedRequest, keys: KeyRing) -> Caller:
    """Returns who signed a request and for which region it was signed.

    Raises SignatureError unless it was signed with one of these keys.
    """
    claim = read_claim(request.headers, keys.roles, _SERVICE)
    body_hash = hashlib.sha256(request.body).hexdigest()
    if request.headers.get(_PAYLOAD_HASH, body_hash) != body_hash:
        raise SignatureError(SignatureFault.MISMATCH, "The body is not the one that was signed.")
    claim.require(_signature(request, claim, keys.secrets[claim.access_key_id]))
    return Caller(keys.roles[claim.access_key_id], claim.region)


class _AsSigned(SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Signs the headers that the client says it signed, where botocore would choose them itself."""

    def headers_to_sign(self, request: Any) -> Any:
        return request.headers


def _signature(request: SignedRequest, claim: SignatureClaim, secret: str) -> str:
    url = f"http://emr{quote(request.path)}?{request.query}"  # the host that was signed is among the headers
    headers = {name: request.headers[name] for name in claim.signed_names}
    again = AWSRequest(request.method, url, headers, request.body)
    again.context["timestamp"] = claim.timestamp
    signer = _AsSigned(ReadOnlyCredentials(claim.access_key_id, secret, None), claim.service, claim.region)
    return str(signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again))
