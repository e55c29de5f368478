"""Reads what the lake has about a failure: what the step itself wrote, and the log files that EMR copies there. Says
when all of them are there.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from fruit_contract.failures.record import StepFailure
from fruit_contract.lake import cluster_logs_prefix, failure_key, step_logs_prefix, uri
from fruit_pipeline.errors import MissingObjectError
from fruit_pipeline.failures.diagnosis import Diagnosis, diagnose
from fruit_pipeline.failures.message import emr_words, reason_of_cluster

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from fruit_pipeline.lake.store import Lake

LOG_FILES: Final = ("stdout", "stderr")
_BOOTSTRAP_LOG: Final = re.compile(
    r"/node/(?P<instance>[^/]+)/bootstrap-actions/(?P<number>\d+)/(?P<name>stdout|stderr)\.gz$"
)
_MOST_BYTES: Final = 64 * 1024 * 1024


def diagnose_step(lake: Lake, step: Mapping[str, Any], cluster: Mapping[str, Any], run_id: str) -> Diagnosis:
    """Returns why a step of a run ended badly. `step` and `cluster` are those of EMR's DescribeStep and
    DescribeCluster.
    """
    started_at = step["Status"].get("Timeline", {}).get("StartDateTime")
    told = read_failure(lake, run_id, step["Name"], started_at)
    logs = {} if told else read_step_logs(lake, cluster["Id"], step["Id"])
    logs_uri = uri(lake.bucket, logs_prefix(cluster["Id"], step["Id"]))
    return diagnose(logs, emr_words(step, cluster), told, step=step["Name"], logs_uri=logs_uri)


def diagnose_bootstrap(lake: Lake, cluster: Mapping[str, Any]) -> Diagnosis:
    """Returns why a cluster ended before a step ran. `cluster` is that of EMR's DescribeCluster."""
    reason = reason_of_cluster(cluster)
    logs = read_bootstrap_logs(lake, cluster["Id"], reason)
    return diagnose(logs, [reason] if reason else [], logs_uri=uri(lake.bucket, logs_prefix(cluster["Id"], None)))


def logs_prefix(cluster_id: str, step_id: str | None) -> str:
    """Returns the prefix below which a step's logs arrive, or those of a cluster's bootstrap actions if `step_id` is
    None.
    """
    return step_logs_prefix(cluster_id, step_id) if step_id else f"{cluster_logs_prefix(cluster_id)}node/"


def have_arrived(modified: Mapping[str, datetime], step_id: str | None, ended_at: datetime | None) -> bool:
    """Returns whether the logs below `logs_prefix` are complete. `modified` tells when each key was written.

    While a step runs, EMR copies what has grown every few minutes: only a copy made after the end holds the end. A log
    that did not grow any more is not copied again, so if both logs are there, one new copy of either is enough.
    """
    if step_id is None:
        return any(match and match["name"] == "stderr" for match in map(_BOOTSTRAP_LOG.search, modified))
    logs = {key: moment for key, moment in modified.items() if key.endswith(tuple(f"/{name}.gz" for name in LOG_FILES))}
    fresh = [key for key, moment in logs.items() if ended_at is None or moment >= ended_at.replace(microsecond=0)]
    return len(logs) == len(LOG_FILES) and bool(fresh)


def was_told(modified: Mapping[str, datetime], run_id: str, step_name: str, started_at: datetime | None) -> bool:
    """Returns whether a step has told its failure itself. What was written before the step started is about an earlier
    try.
    """
    written_at = modified.get(failure_key(run_id, step_name))
    return written_at is not None and started_at is not None and written_at >= started_at.replace(microsecond=0)


def read_failure(lake: Lake, run_id: str, step_name: str, started_at: datetime | None) -> StepFailure | None:
    """Returns what a step that started at `started_at` told of its failure; None if it told nothing."""
    key = failure_key(run_id, step_name)
    try:
        if was_told(
            {stored.key: stored.modified_at for stored in lake.list_objects(key)}, run_id, step_name, started_at
        ):
            return StepFailure.read(lake.read_bytes(key))
    except (MissingObjectError, ClientError):
        pass  # the logs are left
    return None


def read_step_logs(lake: Lake, cluster_id: str, step_id: str) -> dict[str, str]:
    """Returns the step's log files that have reached the lake, by name."""
    prefix = step_logs_prefix(cluster_id, step_id)
    found = {name: _read(lake, f"{prefix}{name}.gz") for name in LOG_FILES}
    return {name: text for name, text in found.items() if text is not None}


def read_bootstrap_logs(lake: Lake, cluster_id: str, reason: str = "") -> dict[str, str]:
    """Returns the logs of one node's last bootstrap action, by name. The node is one that EMR's `reason` names, or else
    any.
    """
    matches = [_BOOTSTRAP_LOG.search(stored.key) for stored in lake.list_objects(logs_prefix(cluster_id, None))]
    there = sorted((int(match["number"]), match["instance"], match["name"], match.string) for match in matches if match)
    if not there:
        return {}
    named = [entry for entry in there if entry[1] in reason]
    last = (named or there)[-1][:2]
    found = {name: _read(lake, key) for number, instance, name, key in there if (number, instance) == last}
    return {name: text for name, text in found.items() if text is not None}


def _read(lake: Lake, key: str) -> str | None:
    try:
        packed = lake.read_bytes(key)
    except MissingObjectError:
        return None
    except ClientError as error:
        # The step's own failure must be told all the same; why its log can't be read is told with it.
        return f"(this log can't be read: {error})"
    try:
        return gzip.GzipFile(fileobj=io.BytesIO(packed)).read(_MOST_BYTES).decode(errors="replace")
    except (OSError, EOFError, zlib.error) as error:
        return f"(this log can't be unpacked: {error})"
