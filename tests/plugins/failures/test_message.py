from __future__ import annotations

from typing import Any

from fruit_pipeline.failures.diagnosis import diagnose
from fruit_pipeline.failures.message import (
    bootstrap_failure_message,
    emr_words,
    given_up_message,
    reason_of_cluster,
    step_failure_message,
)

CLUSTER = {"Id": "j-1", "Status": {"State": "RUNNING", "StateChangeReason": {"Message": "Running step"}}}
LOGS = "s3://fruits-lake/logs/j-1/steps/s-1/"
TRACEBACK = 'Traceback (most recent call last):\n  File "job.py", line 7, in <module>\n    import obstore\n'


def step(state: str, **status: Any) -> dict[str, Any]:
    return {"Id": "s-1", "Name": "extract_features", "Status": {"State": state, **status}}


def ended(state: str, code: str, message: str) -> dict[str, Any]:
    return {"Id": "j-1", "Status": {"State": state, "StateChangeReason": {"Code": code, "Message": message}}}


def message_of_step(step: dict[str, Any], cluster: dict[str, Any], logs: dict[str, str]) -> str:
    return step_failure_message(
        step, cluster, diagnose(logs, emr_words(step, cluster), step=step["Name"], logs_uri=LOGS)
    )


def message_of_bootstrap(cluster: dict[str, Any], logs_uri: str, logs: dict[str, str]) -> str:
    return bootstrap_failure_message(cluster, diagnose(logs, [reason_of_cluster(cluster)], logs_uri=logs_uri))


def test_tells_what_failed_why_and_what_to_do_in_that_order() -> None:
    failed = step("FAILED", FailureDetails={"Reason": "Unknown Error.", "Message": "ended with exit code 1"})
    logs = {
        "stdout": f"{TRACEBACK}ModuleNotFoundError: No module named 'obstore'\n",
        "stderr": "26/11/25 12:00:00 INFO SparkContext: x\n",
    }
    lines = message_of_step(failed, CLUSTER, logs).splitlines()
    assert lines[:8] == [
        "Step 'extract_features' (s-1) on cluster j-1 ended as FAILED.",
        "EMR says: Unknown Error. ended with exit code 1",
        "Cause: package_missing",
        "The error, in stdout: ModuleNotFoundError: No module named 'obstore'",
        "    Traceback (most recent call last):",
        '      File "job.py", line 7, in <module>',
        "        import obstore",
        "    ModuleNotFoundError: No module named 'obstore'",
    ]
    assert lines[8].startswith("Usually: A package or class is not on the nodes")
    assert lines[9].startswith("What to do: Add it to the `cluster` group of pyproject.toml")
    assert lines[10:] == [f"Its logs: {LOGS}", "Spark's history: make spark-history CLUSTER=j-1"]


def test_logs_that_are_not_there_yet_are_named_and_emr_s_reason_is_explained() -> None:
    failed = step(
        "FAILED", FailureDetails={"Reason": "Unknown Error.", "Message": "The step's process ended with exit code 137"}
    )
    message = message_of_step(failed, CLUSTER, {})
    assert "Cause: out_of_memory\nEMR names it: Unknown Error. The step's process ended with exit code 137\n" in message
    assert "The logs have not arrived within the time waited (FRUITS_LOG_WAIT_MINUTES)" in message
    assert "FRUITS_CORE_INSTANCE_TYPE" in message


def test_logs_that_name_no_error_are_shown_by_their_end() -> None:
    logs = {"stdout": " \n", "stderr": "\n".join(f"line {n}" for n in range(500))}
    message = message_of_step(step("FAILED"), CLUSTER, logs)
    assert "Cause: unknown\nThe error, in stderr: line 499\n" in message
    assert "    line 480\n" in message
    assert "line 3\n" not in message


def test_a_step_that_takes_too_long_is_told_apart_from_a_failed_one() -> None:
    message = given_up_message(step("RUNNING"), CLUSTER, LOGS, 6)
    assert "still RUNNING after 6 hours" in message
    assert "Cause: time_out" in message
    assert "FRUITS_STEP_TIMEOUT_HOURS" in message
    assert LOGS in message


def test_a_cancelled_step_tells_why() -> None:
    cancelled = step("CANCELLED", StateChangeReason={"Message": "Cancelled by user"})
    message = message_of_step(cancelled, CLUSTER, {"stdout": f"{TRACEBACK}KeyboardInterrupt\n"})
    assert "EMR says: Cancelled by user" in message
    assert "Cause: cancelled" in message


def test_a_cluster_that_lost_its_machines_is_the_cause() -> None:
    lost = ended("TERMINATED_WITH_ERRORS", "INSTANCE_FAILURE", "All slaves in the job flow were terminated")
    logs = {"stdout": f"{TRACEBACK}ConnectionResetError: [Errno 104] Connection reset by peer\n"}
    message = message_of_step(step("FAILED"), lost, logs)
    assert "The cluster is TERMINATED_WITH_ERRORS: All slaves in the job flow were terminated" in message
    assert "Cause: node_lost" in message
    assert "FRUITS_TASK_MARKET=on-demand" in message


def test_the_end_of_a_cluster_that_follows_from_its_step_is_no_cause() -> None:
    failed = step("FAILED", FailureDetails={"Reason": "Unknown Error."})
    for state, code in (
        ("RUNNING", "ALL_STEPS_COMPLETED"),
        ("TERMINATED", "STEP_FAILURE"),
        ("TERMINATING", "USER_REQUEST"),
    ):
        assert emr_words(failed, ended(state, code, "Terminated by user request")) == ["Unknown Error."]
    user = ended("TERMINATING", "USER_REQUEST", "Terminated by user request")
    assert emr_words(step("CANCELLED"), user) == ["USER_REQUEST: Terminated by user request"]


def test_a_cluster_that_died_in_its_bootstrap_action_tells_the_script_s_words() -> None:
    cluster = ended(
        "TERMINATED_WITH_ERRORS",
        "BOOTSTRAP_FAILURE",
        "On the master instance (i-1), bootstrap action 1 returned a non-zero return code",
    )
    stderr = (
        "fatal error: An error occurred (403) when calling the HeadObject operation: Forbidden\n"
        "bootstrap failed: downloading s3://fruits-lake/code/r1/bootstrap/requirements.txt (exit code 1). Does the "
        "release exist, and may the "
        "node's instance profile read it?\n"
    )
    lines = message_of_bootstrap(
        cluster, "s3://fruits-lake/logs/j-1/node/", {"stdout": "==> downloading\n", "stderr": stderr}
    ).splitlines()
    assert lines[0] == "Cluster j-1 is TERMINATED_WITH_ERRORS before the step ran."
    assert lines[1].startswith("EMR says: BOOTSTRAP_FAILURE: On the master instance (i-1), bootstrap action 1")
    assert lines[2:4] == [
        "Cause: permission",
        "The error, in stderr: fatal error: An error occurred (403) when calling the HeadObject operation: Forbidden",
    ]
    assert any("bootstrap failed: downloading" in line for line in lines)
    assert any(line.startswith("What to do: ") and "bootstrap/README.md" in line for line in lines)
    assert "Its logs: s3://fruits-lake/logs/j-1/node/" in lines


def test_a_cluster_that_got_no_machines_is_explained_without_logs() -> None:
    cluster = ended("TERMINATED_WITH_ERRORS", "INSTANCE_FLEET_TIMEOUT", "The fleet's time-out for provisioning is over")
    message = message_of_bootstrap(cluster, LOGS, {})
    assert "Cause: capacity" in message
    assert "FRUITS_SUBNET_ID several subnets" in message


def test_a_cluster_that_says_nothing_is_told_all_the_same() -> None:
    message = message_of_bootstrap({"Id": "j-1", "Status": {"State": "TERMINATED"}}, LOGS, {})
    assert "Cause: unknown" in message
    assert "EMR says" not in message


def test_no_secret_of_emr_s_words_is_shown() -> None:
    failed = step(
        "FAILED", FailureDetails={"Message": "GET https://b/k?X-Amz-Signature=0a1b2c3d by AKIAABCDEFGHIJKLMNOP failed"}
    )
    message = message_of_step(failed, CLUSTER, {})
    assert "0a1b2c3d" not in message
    assert "ABCDEFGHIJKLMNOP" not in message
