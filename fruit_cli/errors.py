"""Says in a sentence why a command can't do its work."""

from __future__ import annotations

from fruit_contract.errors import RefusedError
from local_cloud.stack.ports import NoLoopbackError
from local_cloud.stack.state import HomeNotOursError, local_home, why_it_stopped


class CommandError(Exception):
    """Ends a command with exit code 1. The message says what happened, to what, and what to do."""


def with_why_it_stopped(sentence: str) -> str:
    """Returns a sentence about a local cloud that isn't up. If it stopped by itself, why follows in new lines."""
    reason = why_it_stopped(local_home())
    return f"{sentence}\nThe last local cloud stopped by itself: {reason}" if reason else sentence


def sentence_for(error: Exception) -> str | None:
    """Returns what to tell the person at the keyboard, or None for an error that only a mistake in the program
    explains.
    """
    if isinstance(error, (CommandError, RefusedError, NoLoopbackError, HomeNotOursError)):
        return str(error)
    if isinstance(error, OSError):
        place = f"'{error.filename}': " if error.filename else ""
        return f"{place}{error.strerror or error}. Mend that, then type the same command again."
    return _of_aws(error)


def _of_aws(error: Exception) -> str | None:
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        CredentialRetrievalError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    if isinstance(error, (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)):
        return (
            f"AWS' credentials are missing ({error}). Set them (AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY), or say TARGET=local for the local cloud."
        )
    if isinstance(error, (BotoCoreError, ClientError)):
        return (
            f"AWS could not be asked: {error}. Check the credentials, FRUITS_AWS_REGION and the name that was asked "
            "for."
        )
    return None
