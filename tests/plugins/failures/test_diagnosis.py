from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.failures.error_text import CONTEXT_LINES
from fruit_pipeline.failures.diagnosis import EMR, LONGEST_LINE, diagnose
from tests.fruit_contract.failures.log_samples import (
    CHATTER,
    DRIVER_FRAMES,
    EXITED,
    HANDLING,
    JAVA_FRAMES,
    RAISED_FROM,
    STAMP,
    aborted,
    chain,
)


def cause_and_error(logs: dict[str, str], *emr_words: str) -> tuple[str, str]:
    found = diagnose(logs, emr_words)
    return found.cause.name, found.error


# --- what the logs alone tell


def test_a_script_s_last_words_are_shown_where_nothing_names_an_error() -> None:
    found = diagnose({"stdout": "step 1\nThere is nothing to do here.\n", "stderr": CHATTER})
    assert (found.cause.name, found.log, found.error) == ("unknown", "stdout", "There is nothing to do here.")
    assert found.context == ("step 1", "There is nothing to do here.")


def test_a_log_that_airflow_may_not_read_is_not_taken_for_the_step_s_failure() -> None:
    found = diagnose(
        {
            "stderr": "(this log can't be read: An error occurred (AccessDenied) when calling the GetObject operation: "
            "Access Denied)"
        }
    )
    assert found.cause.name == "unknown"
    assert found.error.startswith("(this log can't be read")


# --- EMR's own words


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("INSTANCE_FAILURE: All slaves in the job flow were terminated", "node_lost"),
        ("INSTANCE_FLEET_TIMEOUT: Provisioning of the fleet timed out", "capacity"),
        (
            (
                "INTERNAL_ERROR: We currently do not have sufficient m5.xlarge capacity in the Availability Zone you "
                "requested"
            ),
            "capacity",
        ),
        (
            (
                "VALIDATION_ERROR: The VPC/subnet configuration was invalid: No route to any external sources detected "
                "in Route Table"
            ),
            "cluster_settings",
        ),
        ("VALIDATION_ERROR: Service role fruits-emr-service has insufficient EC2 permissions", "cluster_settings"),
        ("VALIDATION_ERROR: Invalid InstanceProfile: fruits-emr-nodes.", "cluster_settings"),
        (
            "BOOTSTRAP_FAILURE: On the master instance (i-1), bootstrap action 1 returned a non-zero return code",
            "bootstrap_failed",
        ),
        ("Unknown Error. The step's process ended with exit code 137", "out_of_memory"),
        ("Unknown Error. The step's process was ended by signal 9: its logs name no error.", "out_of_memory"),
        ("Cancelled by user", "cancelled"),
        ("Job terminated", "cancelled"),
        ("Unknown Error.", "unknown"),
    ],
)
def test_without_logs_emr_s_own_words_tell(words: str, cause: str) -> None:
    found = diagnose({}, [words])
    assert (found.cause.name, found.log, found.error, found.context) == (cause, EMR, words, ())


LOST = "INSTANCE_FAILURE: All slaves in the job flow were terminated"


def test_machines_that_are_gone_explain_what_the_step_saw_of_it() -> None:
    stdout = aborted("java.net.ConnectException: Connection refused")
    assert diagnose({"stdout": stdout}).cause.name == "network"
    assert diagnose({"stdout": stdout}, [LOST]).cause.name == "node_lost"
    assert cause_and_error({"stdout": aborted("java.lang.NoClassDefFoundError: x")}, LOST)[0] == "package_missing"


def test_a_cancelled_step_is_not_told_as_an_error() -> None:
    stdout = f"{DRIVER_FRAMES}KeyboardInterrupt\n"
    stderr = (
        f"{STAMP} ERROR ApplicationMaster: RECEIVED SIGNAL TERM\n{STAMP} ERROR Utils: Aborting "
        "task\norg.apache.spark.TaskKilledException\n"
    )
    for words in ((), ("Cancelled by user", "The step's process was ended by signal 9")):
        assert diagnose({"stdout": stdout, "stderr": stderr}, words).cause.name == "cancelled"


def test_a_java_that_went_away_without_a_word_is_no_network_failure() -> None:
    frame = '  File "/usr/lib/spark/python/lib/py4j.zip/py4j/clientserver.py", line 4'
    stdout = f"{DRIVER_FRAMES}{frame}\nConnectionRefusedError: [Errno 111] Refused\n"
    assert diagnose({"stdout": stdout}).cause.name == "unknown"
    assert (
        diagnose({"stdout": stdout}, ["exit code 1: ConnectionRefusedError: [Errno 111] Refused"]).cause.name
        == "unknown"
    )
    assert diagnose({"stdout": stdout}, ["The step's process ended with exit code 137"]).cause.name == "out_of_memory"


def test_what_a_driver_stumbles_over_without_its_java_is_no_defect() -> None:
    lost = "py4j.protocol.Py4JNetworkError: Answer from Java side is empty"
    stdout = chain(lost, HANDLING, "AttributeError: 'NoneType' object has no attribute 'setCallSite'")
    assert diagnose({"stdout": stdout}).cause.name == "unknown"
    assert diagnose({"stdout": stdout}, ["The step's process was ended by signal 9"]).cause.name == "out_of_memory"
    known = "fruit_features.extraction.step.BooksError: The books of 'Kiwi' of 2026-11-22 do not balance"
    assert cause_and_error({"stdout": chain(lost, HANDLING, known)}) == ("books_do_not_balance", known)


# --- what is shown


def test_no_secret_is_shown() -> None:
    stdout = (
        "Traceback (most recent call last):\n"
        '  File "job.py", line 1, in <module>\n'
        '    boto3.client("s3", aws_access_key_id="AKIAABCDEFGHIJKLMNOP", '
        'aws_secret_access_key="wJalrXUtnFEMI/K7MDENG")\n'
        "RuntimeError: GET "
        "https://b.s3.amazonaws.com/k?X-Amz-Security-Token=FwoGZXIvYXdzEBYaDH%2F&X-Amz-Signature=0a1b2c3d&x=1 for "
        "ASIAQRSTUVWXYZ234567\n"
    )
    found = diagnose({"stdout": stdout})
    shown = "\n".join([found.error, *found.context])
    for secret in ("ABCDEFGHIJKLMNOP", "wJalrXUtnFEMI", "FwoGZXIv", "0a1b2c3d", "QRSTUVWXYZ234567"):
        assert secret not in shown
    assert "AKIA[removed]" in shown
    assert "&x=1" in shown


# --- anything


LINES = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            *DRIVER_FRAMES.splitlines(),
            *CHATTER.splitlines()[:1],
            *JAVA_FRAMES.splitlines()[:3],
            HANDLING,
            RAISED_FROM,
            "",
            "ValueError: 3",
            "Caused by: java.io.IOException: No space left on device",
            f"{STAMP} ERROR Utils: Aborting task",
            (
                f"{STAMP} WARN TaskSetManager: Lost task 7.3 in stage 3.0 (TID 99) (ip executor 2): "
                "org.apache.spark.api.python.PythonException: Traceback (most recent call last):"
            ),
            f"{STAMP} ERROR TaskSetManager: Task 7 in stage 3.0 failed 4 times; aborting job",
            "py4j.protocol.Py4JJavaError: An error occurred",
            f": {EXITED}",
            "job.py: error: invalid",
            "Exception ignored in: <x>",
            "ERROR:root:x",
            "\0",
        ]
    ),
)
TEXTS = st.one_of(st.text(), st.lists(LINES, max_size=60).map("\n".join))


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from(["stdout", "stderr", "controller", "other"]), TEXTS), st.lists(TEXTS, max_size=3)
)
def test_any_text_gives_a_bounded_answer(logs: dict[str, str], words: list[str]) -> None:
    found = diagnose(logs, words)
    assert found.log in {*logs, EMR}
    assert len(found.context) <= CONTEXT_LINES
    assert all(len(line) <= LONGEST_LINE for line in (*found.context, found.error))
    assert not any("\n" in line for line in found.context)


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    [
        f"{STAMP} INFO BlockManagerInfo: Added broadcast_1_piece0 in memory on ip-10-0-0-7:38012 (size: 12.3 KiB)\n",
        f"{STAMP} ERROR Foo: java.lang.RuntimeException: failed to x\n\tat a.b\n",
        'Traceback (most recent call last):\n  File "x.py", line 3\nKeyError: 3\n',
        "a: " * 2000 + "\n",
        "error exit: " * 500 + "\n",
        "password " * 500 + "\n",
    ],
)
def test_a_huge_log_gives_a_bounded_answer(unit: str) -> None:
    found = diagnose({"stdout": unit * (8_000_000 // len(unit))})
    assert sum(map(len, found.context)) <= CONTEXT_LINES * LONGEST_LINE
