"""Writes the logs of a cluster to its LogUri as EMR does: gzipped, through the S3 API."""

from __future__ import annotations

import gzip
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from pathlib import Path

LOG_NAMES: Final = ("controller", "stderr", "stdout")
TAIL_BYTES: Final = 64 * 1024
_LONGEST_MESSAGE: Final = 500
_ERROR_LINE: Final = re.compile(
    r"(?:Exception in thread .*|error: .*|[\w.$]*(?:Error|Exception|Exit|Interrupt)(?:: .*)?)$"
)
_NOISE: Final = re.compile(r"at |\.\.\. |File \"|[~^]|\d\d/\d\d/\d\d [\d:]+ (?:INFO|WARN) ")

logger = logging.getLogger(__name__)


def step_log_path(cluster_id: str, step_id: str) -> str:
    """Returns the path of a step's logs below the LogUri."""
    return f"{cluster_id}/steps/{step_id}"


def bootstrap_log_path(cluster_id: str, instance_id: str, number: int) -> str:
    """Returns the path of a bootstrap action's logs below the LogUri. `number` counts from 1."""
    return f"{cluster_id}/node/{instance_id}/bootstrap-actions/{number}"


def log_address(log_uri: str | None, path: str, name: str) -> str | None:
    """Returns the full address of one log, or None for a cluster without LogUri."""
    return f"{_plain_uri(log_uri)}/{path}/{name}.gz" if log_uri else None


def upload_logs(s3: Any, log_uri: str | None, path: str, folder: Path) -> None:
    """Uploads the logs in `folder` to `<log_uri>/<path>/<name>.gz`.

    A log that can't be written does not fail the step.
    """
    if not log_uri:
        return
    bucket, _, prefix = _plain_uri(log_uri).removeprefix("s3://").partition("/")
    for name in LOG_NAMES:
        file = folder / name
        if not file.exists():
            continue
        key = "/".join(part for part in (prefix, path, f"{name}.gz") if part)
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=gzip.compress(file.read_bytes()), ContentType="application/gzip")
        except (BotoCoreError, ClientError, OSError) as error:
            logger.warning("log %s of s3://%s/%s was not written: %s", name, bucket, key, error)


@dataclass(frozen=True)
class LastWords:
    """Holds the line that most likely names why a command failed, and the log in which it stands.

    The line is empty if the command wrote nothing.
    """

    line: str = ""
    log: str = "stderr"


def last_words(folder: Path) -> LastWords:
    """Returns why the command failed, as its logs tell it.

    This is the last line that begins with an error's name: of stderr, or else of stdout, where Python's own tracebacks
    go on EMR. If there is none, it is the last line that is neither a stack frame nor one of Spark's notices.
    """
    logs = {name: _telling_lines(_tail(folder / name)) for name in ("stderr", "stdout")}
    for name, lines in logs.items():
        errors = [line for line in lines if _ERROR_LINE.match(line)]
        if errors:
            return LastWords(errors[-1][:_LONGEST_MESSAGE], name)
    return next((LastWords(lines[-1][:_LONGEST_MESSAGE], name) for name, lines in logs.items() if lines), LastWords())


def _telling_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not _NOISE.match(line)]


def _tail(file: Path) -> str:
    if not file.exists():
        return ""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - TAIL_BYTES))
        return stream.read().decode("utf-8", errors="replace")


def _plain_uri(log_uri: str) -> str:
    """Returns the address without a final slash, and with s3:// where EMR also accepts s3n:// and s3a://."""
    scheme, _, rest = log_uri.partition("://")
    return f"{'s3' if scheme in {'s3n', 's3a'} else scheme}://{rest}".rstrip("/")
