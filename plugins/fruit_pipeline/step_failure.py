"""What to tell a person when a step failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINES_SHOWN: Final = 25
_CLUSTER_ENDS: Final = frozenset({"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"})
_FINAL_STATES: Final = frozenset({"COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED"})


def step_failure_message(
    step: Mapping[str, Any], cluster: Mapping[str, Any], logs_uri: str, logs: Mapping[str, str], timeout_hours: float
) -> str:
    """`step` and `cluster` are those of EMR's DescribeStep and DescribeCluster; `logs` the log files that are there, by name."""
    status = step["Status"]
    state = status["State"]
    name = f"Step '{step['Name']}' ({step['Id']}) on cluster {cluster['Id']}"
    if state not in _FINAL_STATES:
        return (
            f"{name} is still {state} after {timeout_hours:g} hours, so it is given up. "
            f"Raise FRUITS_STEP_TIMEOUT_HOURS or give it more core nodes. Its logs: {logs_uri}"
        )
    lines = [f"{name} ended as {state}."]
    details = status.get("FailureDetails") or {}
    reason = details.get("Reason") or (status.get("StateChangeReason") or {}).get("Message")
    message = details.get("Message")
    lines += [f"EMR says: {' '.join(part for part in (reason, message) if part)}"] if reason or message else []
    cluster_state = cluster["Status"]["State"]
    if cluster_state in _CLUSTER_ENDS:
        why = (cluster["Status"].get("StateChangeReason") or {}).get("Message")
        lines.append(f"The cluster is {cluster_state}{f': {why}' if why else '.'}")
    lines.append(f"Its logs: {logs_uri}")
    if not logs:
        lines.append("They are not there yet: EMR copies them within about five minutes.")
    for log_name, text in logs.items():
        if text.strip():
            lines += [f"--- the end of {log_name}", *last_lines(text)]
    return "\n".join(lines)


def last_lines(text: str) -> list[str]:
    """The last lines of a log that say something; Spark's chatter only where there is nothing else."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if " INFO " not in line]
    return (telling or lines)[-_LINES_SHOWN:]
