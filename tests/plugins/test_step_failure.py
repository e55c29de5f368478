from __future__ import annotations

from typing import Any

from fruit_pipeline.step_failure import last_lines, step_failure_message

CLUSTER = {"Id": "j-1", "Status": {"State": "RUNNING"}}
LOGS = "s3://fruits-lake/logs/j-1/steps/s-1/"


def step(state: str, **status: Any) -> dict[str, Any]:
    return {"Id": "s-1", "Name": "extract_features", "Status": {"State": state, **status}}


def test_names_step_cluster_reason_and_logs() -> None:
    failed = step("FAILED", FailureDetails={"Reason": "Main Class Failed", "Message": "exit code 2"})
    assert step_failure_message(failed, CLUSTER, LOGS, {}, 6).splitlines() == [
        "Step 'extract_features' (s-1) on cluster j-1 ended as FAILED.",
        "EMR says: Main Class Failed exit code 2",
        f"Its logs: {LOGS}",
        "They are not there yet: EMR copies them within about five minutes.",
    ]


def test_shows_the_end_of_the_logs_that_are_there() -> None:
    noise = "\n".join(f"line {n}" for n in range(500))
    message = step_failure_message(
        step("FAILED"), CLUSTER, LOGS, {"stdout": " \n", "stderr": f"{noise}\nValueError: no such category\n\n"}, 6
    )
    assert message.endswith("ValueError: no such category")
    assert "the end of stderr" in message
    assert "stdout" not in message
    assert "line 3\n" not in message


def test_a_step_that_takes_too_long_is_told_apart_from_a_failed_one() -> None:
    message = step_failure_message(step("RUNNING"), CLUSTER, LOGS, {}, 6)
    assert "still RUNNING after 6 hours" in message
    assert "FRUITS_STEP_TIMEOUT_HOURS" in message


def test_a_cancelled_step_tells_why() -> None:
    cancelled = step("CANCELLED", StateChangeReason={"Message": "the cluster ended"})
    assert "EMR says: the cluster ended" in step_failure_message(cancelled, CLUSTER, LOGS, {}, 6)


def test_a_cluster_that_did_not_start_is_named_as_the_cause() -> None:
    cluster = {"Id": "j-1", "Status": {"State": "TERMINATED_WITH_ERRORS", "StateChangeReason": {"Message": "bootstrap action 1 failed"}}}
    message = step_failure_message(step("CANCELLED"), cluster, LOGS, {}, 6)
    assert "The cluster is TERMINATED_WITH_ERRORS: bootstrap action 1 failed" in message


def test_last_lines_skips_empty_ones() -> None:
    assert last_lines("a\n\n  \nb  \n") == ["a", "b"]
