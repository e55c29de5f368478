"""What to tell a person when a step failed, or when its cluster ended before it ran. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fruit_contract.failures.causes import TIME_OUT
from fruit_pipeline.failures.diagnosis import EMR, diagnose
from fruit_pipeline.failures.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CLUSTER_ENDS: Final = frozenset({"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"})
_FINAL_STATES: Final = frozenset({"COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED"})
_CANCELLED: Final = frozenset({"CANCELLED", "INTERRUPTED"})
# What a cluster says of itself when its end follows from a step's, not the other way round.
_ENDS_AFTER_STEPS: Final = frozenset({"ALL_STEPS_COMPLETED", "STEP_FAILURE"})
_INDENT: Final = "    "


def step_failure_message(
    step: Mapping[str, Any], cluster: Mapping[str, Any], logs_uri: str, logs: Mapping[str, str], timeout_hours: float
) -> str:
    """`step` and `cluster` are those of EMR's DescribeStep and DescribeCluster; `logs` the log files that are there, by name."""
    state = step["Status"]["State"]
    name = f"Step '{step['Name']}' ({step['Id']}) on cluster {cluster['Id']}"
    if state not in _FINAL_STATES:
        lines = [f"{name} is still {state} after {timeout_hours:g} hours, so it is given up.", f"Cause: {TIME_OUT.name}"]
        lines += [f"Usually: {TIME_OUT.usually}", f"What to do: {TIME_OUT.what_to_do}"]
        return redact("\n".join([*lines, *_where_to_look(cluster, logs_uri)]))
    lines = [f"{name} ended as {state}."]
    reason = _reason_of_step(step)
    lines += [f"EMR says: {reason}"] if reason else []
    lines += _end_of_cluster(cluster)
    lines += _diagnosis(logs, emr_words(step, cluster))
    return redact("\n".join([*lines, *_where_to_look(cluster, logs_uri)]))


def bootstrap_failure_message(cluster: Mapping[str, Any], logs_uri: str, logs: Mapping[str, str]) -> str:
    """For a cluster that ended before its step ran: it was not provisioned, or a bootstrap action failed, whose logs these are."""
    lines = [f"Cluster {cluster['Id']} is {cluster['Status']['State']} before the step ran."]
    reason = _reason_of_cluster(cluster)
    lines += [f"EMR says: {reason}"] if reason else []
    lines += _diagnosis(logs, [reason] if reason else [])
    return redact("\n".join([*lines, *_where_to_look(cluster, logs_uri)]))


def emr_words(step: Mapping[str, Any], cluster: Mapping[str, Any]) -> list[str]:
    """EMR's own reasons for a step's end: the step's, and the cluster's if that ended for a reason of its own."""
    code = (cluster["Status"].get("StateChangeReason") or {}).get("Code")
    was_cancelled = step["Status"]["State"] in _CANCELLED
    # A cluster that was told to end is news only to a step that was still running.
    is_news = code not in _ENDS_AFTER_STEPS and (code != "USER_REQUEST" or was_cancelled)
    words = [_reason_of_step(step)]
    words += [_reason_of_cluster(cluster)] if is_news and cluster["Status"]["State"] in _CLUSTER_ENDS else []
    return [text for text in words if text]


def _reason_of_step(step: Mapping[str, Any]) -> str:
    details = step["Status"].get("FailureDetails") or {}
    reason = details.get("Reason") or (step["Status"].get("StateChangeReason") or {}).get("Message")
    return " ".join(part for part in (reason, details.get("Message")) if part)


def _reason_of_cluster(cluster: Mapping[str, Any]) -> str:
    reason = cluster["Status"].get("StateChangeReason") or {}
    return ": ".join(part for part in (reason.get("Code"), reason.get("Message")) if part)


def _end_of_cluster(cluster: Mapping[str, Any]) -> list[str]:
    state = cluster["Status"]["State"]
    if state not in _CLUSTER_ENDS:
        return []
    why = (cluster["Status"].get("StateChangeReason") or {}).get("Message")
    return [f"The cluster is {state}{f': {why}' if why else '.'}"]


def _diagnosis(logs: Mapping[str, str], words: Sequence[str]) -> list[str]:
    found = diagnose(logs, words)
    lines = [f"Cause: {found.cause.name}"]
    if found.error:
        lines.append(f"{'EMR names it' if found.log == EMR else f'The error, in {found.log}'}: {found.error}")
    lines += [f"{_INDENT}{line}" for line in found.context]
    if not logs:
        lines.append(
            "The logs have not arrived within the time waited (FRUITS_LOG_WAIT_MINUTES): EMR copies them within about five minutes. "
            "This is told from EMR's own reason alone."
        )
    return [*lines, f"Usually: {found.cause.usually}", f"What to do: {found.cause.what_to_do}"]


def _where_to_look(cluster: Mapping[str, Any], logs_uri: str) -> list[str]:
    return [f"Its logs: {logs_uri}", f"Spark's history: make spark-history CLUSTER={cluster['Id']}"]
