"""Opens the lake as an object store that many threads can use at once.

It uses obstore and not boto3, because that makes about six times the PUTs a second from one machine, and keeps keys
byte-exact.
"""

from __future__ import annotations

from contextlib import contextmanager
from http.client import FORBIDDEN
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from fruit_cli.errors import CommandError, with_why_it_stopped
from fruit_cli.lake.connection import s3_client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fruit_cli.lake.connection import LakeConnection

_ERROR_TEXT_LIMIT: Final = 300


class LakeUnreachableError(CommandError):
    """Raised if the bucket is missing, refuses us, or doesn't answer."""


def open_store(connection: LakeConnection) -> S3Store:
    """Returns the bucket of `connection` as a store. Nothing is sent yet; `explained` says what its calls may raise.
    Raises LakeUnreachableError if there are no AWS credentials.
    """
    if connection.is_local:
        return S3Store(
            connection.bucket,
            # This option's name wins over an AWS_ENDPOINT_URL_S3 of the user's shell.
            aws_endpoint_url_s3=connection.endpoint_url,
            region=connection.region,
            access_key_id=connection.access_key_id,
            secret_access_key=connection.secret_access_key,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )
    # boto3's own chain also knows profiles, single sign-on and roles.
    from boto3.session import Session
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = Session()
    if session.get_credentials() is None:
        raise LakeUnreachableError(
            "There are no AWS credentials: set them (AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or "
            "say TARGET=local for the local cloud."
        )
    return S3Store(connection.bucket, region=connection.region, credential_provider=Boto3CredentialProvider(session))


@contextmanager
def explained(connection: LakeConnection) -> Iterator[None]:
    """Turns the store's errors into LakeUnreachableError, with one sentence that says what to do."""
    place = f"s3://{connection.bucket}" + (
        f" at {connection.endpoint_url}" if connection.endpoint_url else f" in {connection.region}"
    )
    try:
        yield
    except BaseError as error:
        sentence = f"{_explanation(error, place)} ({_short(error)})"
        raise LakeUnreachableError(with_why_it_stopped(sentence) if connection.is_local else sentence) from error


def read_object(store: S3Store, key: str) -> bytes | None:
    """Returns the object's bytes, or None if there is no such object."""
    try:
        return bytes(obstore.get(store, key).bytes())
    except FileNotFoundError:
        return None


def put_last(connection: LakeConnection, store: S3Store, key: str, content: bytes) -> None:
    """Writes the object that makes those written before it count: a batch's marker, the pointer to a release.

    If it is known whose account must own the bucket, the request names it, which obstore's can't: what another account
    has been given by mistake stays without it. Raises LakeUnreachableError if S3 refuses that.
    """
    if not connection.owner:
        obstore.put(store, key, content)
        return
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        s3_client(connection).put_object(Bucket=connection.bucket, Key=key, Body=content)
    except (BotoCoreError, ClientError) as error:
        answer = getattr(error, "response", {})
        is_refused = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") == FORBIDDEN
        look = f"Is the bucket still that of account {connection.owner}? Look, then type" if is_refused else "Type"
        raise LakeUnreachableError(
            f"s3://{connection.bucket}/{key} could not be written, so what was sent before it does not count yet: "
            f"{error}. {look} the same command again."
        ) from error


def missing_keys(connection: LakeConnection, keys: Iterable[str]) -> list[str]:
    """Returns those of `keys` that are not in the lake. Raises LakeUnreachableError if it can't be asked."""
    with explained(connection):
        store = open_store(connection)
        return [key for key in keys if not _exists(store, key)]


def _exists(store: S3Store, key: str) -> bool:
    try:
        obstore.head(store, key)
    except FileNotFoundError:
        return False
    return True


def _explanation(error: BaseError, place: str) -> str:
    # A refused listing comes as a general error that has the status only in its text.
    text = str(error)
    if isinstance(error, NotFoundError) or "status code: 404" in text:
        return f"The bucket {place} doesn't exist. Check FRUITS_LAKE_BUCKET and FRUITS_AWS_REGION."
    if (
        isinstance(error, (PermissionDeniedError, UnauthenticatedError))
        or "status code: 403" in text
        or "status code: 401" in text
    ):
        return (
            f"{place} refuses these credentials. They need s3:ListBucket, s3:GetObject, s3:PutObject and "
            "s3:DeleteObject."
        )
    if "NoSpaceLeft" in text:
        return f"The disk of {place} is full. Make room on it, then type the same command again."
    return f"{place} doesn't answer as it should. Is it up (`make up`)?"


def _short(error: Exception) -> str:
    # obstore appends a page of debug output after the first line.
    return str(error).splitlines()[0][:_ERROR_TEXT_LIMIT]
