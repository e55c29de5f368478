"""The logs of a cluster, written to its LogUri as EMR does: gzipped, through the S3 API."""

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
    """Below the LogUri."""
    return f"{cluster_id}/steps/{step_id}"


def bootstrap_log_path(cluster_id: str, instance_id: str, number: int) -> str:
    """Below the LogUri; `number` counts from 1."""
    return f"{cluster_id}/node/{instance_id}/bootstrap-actions/{number}"


def log_address(log_uri: str | None, path: str, name: str) -> str | None:
    """The full address of one log, or None for a cluster without LogUri."""
    return f"{_plain_uri(log_uri)}/{path}/{name}.gz" if log_uri else None


def upload_logs(s3: Any, log_uri: str | None, path: str, folder: Path) -> None:
    """Puts the logs in `folder` to `<log_uri>/<path>/<name>.gz`. A log that can't be written never fails the step."""
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
    """The line that most likely names why a command failed, and the log it stands in. Empty if the command wrote
    nothing.
    """

    line: str = ""
    log: str = "stderr"


def last_words(folder: Path) -> LastWords:
    """Why the command failed, from its logs.

    The last line of either log that begins with an error's name; stderr first, then stdout, where Python's own
    tracebacks go on EMR. Without one, the last line that is neither a stack frame nor Spark's chatter.
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
    """EMR takes s3n:// and s3a:// for s3://."""
    scheme, _, rest = log_uri.partition("://")
    return f"{'s3' if scheme in {'s3n', 's3a'} else scheme}://{rest}".rstrip("/")
