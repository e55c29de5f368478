"""Says how AWS is asked, and what its refusals mean: which may pass, and which are final."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import ClientError, CredentialRetrievalError, HTTPClientError, NoCredentialsError
from botocore.exceptions import ConnectionError as BotoConnectionError

from fruit_pipeline.errors import PassingError

# This retry mode of boto3 slows down when S3 or EMR throttle. A connection to AWS is there within a second or never
# (a private network may be cut off from a region), so the time-out for it is short.
BOTOCORE_CONFIG: Final = {
    "retries": {"mode": "adaptive", "max_attempts": 10},
    "max_pool_connections": 32,
    "connect_timeout": 10,
}
_SERVER_ERROR: Final = 500
_DENIED: Final = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"})
_KEYS_REFUSED: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
    }
)
_THROTTLED: Final = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "RequestThrottledException",
        "SlowDown",
    }
)


def is_denied(error: BaseException) -> bool:
    """Returns whether the caller's policy does not allow the request, as for somebody else's cluster."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in _DENIED


def is_throttled(error: BaseException) -> bool:
    """Returns whether the request was refused for being one of too many, and so was surely not carried out."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in _THROTTLED


def is_of_credentials(error: BaseException) -> bool:
    """Returns whether the credentials have expired, are not known (any more), or could not be had. Those of Airflow's
    connection may be renewed while somebody waits.
    """
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"] in _KEYS_REFUSED
    return isinstance(error, (CredentialRetrievalError, NoCredentialsError))


def may_pass(error: BaseException) -> bool:
    """Returns whether it is worth asking again: the request was refused for the moment, or nobody knows what became of
    it.
    """
    if isinstance(error, PassingError):
        return True
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return is_throttled(error) or status >= _SERVER_ERROR
    # These are time-outs, connections refused or closed, and names that do not resolve.
    return isinstance(error, (HTTPClientError, BotoConnectionError))
