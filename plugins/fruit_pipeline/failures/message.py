"""Tells a person that a step failed, or that its cluster ended before it ran, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fruit_contract.failures.causes import TIME_OUT
from fruit_pipeline.failures.diagnosis import EMR, Diagnosis
from fruit_pipeline.failures.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLUSTER_ENDS: Final = frozenset({"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"})
_CANCELLED: Final = frozenset({"CANCELLED", "INTERRUPTED"})
# A cluster gives these reasons when it ended because its steps did, and not the other way round.
_ENDS_AFTER_STEPS: Final = frozenset({"ALL_STEPS_COMPLETED", "STEP_FAILURE"})
_INDENT: Final = "    "


def step_failure_message(step: Mapping[str, Any], cluster: Mapping[str, Any], found: Diagnosis) -> str:
    """Returns the message for a step that ended badly. `step` and `cluster` are those of EMR's DescribeStep and
    DescribeCluster.
    """
    ended = f"{_name_of(step, cluster)} ended as {step['Status']['State']}."
    return _message([ended, *_says(_reason_of_step(step)), *_end_of_cluster(cluster)], found, cluster)


def given_up_message(step: Mapping[str, Any], cluster: Mapping[str, Any], logs_uri: str, timeout_hours: float) -> str:
    """Returns the message for a step that has not ended in time."""
    late = (
        f"{_name_of(step, cluster)} is still {step['Status']['State']} after {timeout_hours:g} hours, so it is "
        "given up."
    )
    return _message([late], Diagnosis(step["Name"], TIME_OUT, "", "", logs_uri), cluster)


def bootstrap_failure_message(cluster: Mapping[str, Any], found: Diagnosis) -> str:
    """Returns the message for a cluster that ended before its step ran: it was not provisioned, or a bootstrap action
    failed.
    """
    ended = f"Cluster {cluster['Id']} is {cluster['Status']['State']} before the step ran."
    return _message([ended, *_says(reason_of_cluster(cluster))], found, cluster)


def emr_words(step: Mapping[str, Any], cluster: Mapping[str, Any]) -> list[str]:
    """Returns EMR's own reasons for a step's end: the step's, and the cluster's if it ended for a reason of its own."""
    code = (cluster["Status"].get("StateChangeReason") or {}).get("Code")
    was_cancelled = step["Status"]["State"] in _CANCELLED
    # That a cluster was told to end explains the end of a step only if the step was still running.
    is_news = code not in _ENDS_AFTER_STEPS and (code != "USER_REQUEST" or was_cancelled)
    words = [_reason_of_step(step)]
    words += [reason_of_cluster(cluster)] if is_news and cluster["Status"]["State"] in _CLUSTER_ENDS else []
    return [text for text in words if text]


def _reason_of_step(step: Mapping[str, Any]) -> str:
    details = step["Status"].get("FailureDetails") or {}
    reason = details.get("Reason") or (step["Status"].get("StateChangeReason") or {}).get("Message")
    return " ".join(part for part in (reason, details.get("Message")) if part)


def reason_of_cluster(cluster: Mapping[str, Any]) -> str:
    reason = cluster["Status"].get("StateChangeReason") or {}
    return ": ".join(part for part in (reason.get("Code"), reason.get("Message")) if part)


def _end_of_cluster(cluster: Mapping[str, Any]) -> list[str]:
    state = cluster["Status"]["State"]
    if state not in _CLUSTER_ENDS:
        return []
    why = (cluster["Status"].get("StateChangeReason") or {}).get("Message")
    return [f"The cluster is {state}{f': {why}' if why else '.'}"]


def _name_of(step: Mapping[str, Any], cluster: Mapping[str, Any]) -> str:
    return f"Step '{step['Name']}' ({step['Id']}) on cluster {cluster['Id']}"


def _says(reason: str) -> list[str]:
    return [f"EMR says: {reason}"] if reason else []


def _message(lines: list[str], found: Diagnosis, cluster: Mapping[str, Any]) -> str:
    lines = [*lines, f"Cause: {found.cause.name}"]
    if found.error:
        lines.append(f"{'EMR names it' if found.log == EMR else f'The error, in {found.log}'}: {found.error}")
    lines += [f"{_INDENT}{line}" for line in found.context]
    if found.is_from_emr_alone:
        lines.append(
            "The logs have not arrived within the time waited (FRUITS_LOG_WAIT_MINUTES): EMR copies them within about "
            "five minutes. This is told from EMR's own reason alone."
        )
    lines += [f"Usually: {found.cause.usually}", f"What to do: {found.what_to_do}"]
    return redact(
        "\n".join(
            [*lines, f"Its logs: {found.logs_uri}", f"Spark's history: make spark-history CLUSTER={cluster['Id']}"]
        )
    )
