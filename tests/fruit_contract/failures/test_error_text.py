from __future__ import annotations

import pytest

from fruit_contract.failures.error_text import find_error
from tests.fruit_contract.failures.log_samples import (
    CHATTER,
    DRIVER_FRAMES,
    EXITED,
    HANDLING,
    JAVA_FRAMES,
    RAISED_FROM,
    STAMP,
    WORKER_TRACEBACK,
    aborted,
    chain,
    found_in,
)


def cause_and_error(**logs: str) -> tuple[str, str]:
    found = found_in(**logs)
    return found.cause.name, found.error


# --- what a driver's traceback says


@pytest.mark.parametrize(
    ("reason", "cause", "error"),
    [
        (
            (
                f"org.apache.spark.api.python.PythonException: {WORKER_TRACEBACK}ModuleNotFoundError: No module named "
                "'ai_edge_litert'\n"
            ),
            "package_missing",
            "ModuleNotFoundError: No module named 'ai_edge_litert'",
        ),
        (
            (
                f"org.apache.spark.api.python.PythonException: {WORKER_TRACEBACK}ValueError: The embedder gave (3, 2) "
                "for 3 images, expected (3, 1280)\n"
            ),
            "release_broken",
            "ValueError: The embedder gave (3, 2) for 3 images, expected (3, 1280)",
        ),
        (
            f"org.apache.spark.api.python.PythonException: {WORKER_TRACEBACK}KeyError: 'shape'\n",
            "code_error",
            "KeyError: 'shape'",
        ),
        (
            (
                "ExecutorLostFailure (executor 2 exited caused by one of the running tasks) Reason: Container killed "
                "by YARN for exceeding memory limits. 10.1 GB of 10 GB physical memory used. Consider boosting "
                "spark.executor.memoryOverhead."
            ),
            "out_of_memory",
            (
                "ExecutorLostFailure (executor 2 exited caused by one of the running tasks) Reason: Container killed "
                "by YARN"
            ),
        ),
        (
            (
                "ExecutorLostFailure (executor 2 exited caused by one of the running tasks) Reason: Container from a "
                "bad node: container_1_01_000072 on host: ip-10-0-0-7. Exit status: 137. Diagnostics: [2026-11-25 "
                "15:02:23.483]Container killed on request. Exit code is 137"
            ),
            "out_of_memory",
            "ExecutorLostFailure",
        ),
        (
            (
                "ExecutorLostFailure (executor 2 exited unrelated to the running tasks) Reason: Container marked as "
                "failed: container_1_01_000003 on host: ip-10-0-0-7. Exit status: -100. Diagnostics: Container "
                "released on a *lost* node."
            ),
            "node_lost",
            "ExecutorLostFailure",
        ),
        (
            "ExecutorLostFailure (executor 4 exited caused by one of the running tasks) Reason: Slave lost",
            "node_lost",
            "ExecutorLostFailure",
        ),
        (
            (
                "ExecutorLostFailure (executor 4 exited caused by one of the running tasks) Reason: Executor heartbeat "
                "timed out after 121431 ms"
            ),
            "node_lost",
            "ExecutorLostFailure",
        ),
        ("java.io.IOException: No space left on device", "disk_full", "java.io.IOException: No space left on device"),
        (
            "java.lang.OutOfMemoryError: GC overhead limit exceeded",
            "out_of_memory",
            "java.lang.OutOfMemoryError: GC overhead limit exceeded",
        ),
        (
            "java.lang.NoClassDefFoundError: org/apache/arrow/Vector",
            "package_missing",
            "java.lang.NoClassDefFoundError",
        ),
        (
            (
                "com.amazon.ws.emr.hadoop.fs.shaded.com.amazonaws.services.s3.model.AmazonS3Exception: Please reduce "
                "your request rate. (Service: Amazon S3; Status Code: 503; Error Code: SlowDown; Request ID: 0A1B2C3D)"
            ),
            "throttled",
            (
                "com.amazon.ws.emr.hadoop.fs.shaded.com.amazonaws.services.s3.model.AmazonS3Exception: Please reduce "
                "your request rate."
            ),
        ),
        (
            (
                "java.nio.file.AccessDeniedException: s3://fruits-lake/raw/x: getFileStatus: Access Denied (Service: "
                "Amazon S3; Status Code: 403)"
            ),
            "permission",
            "java.nio.file.AccessDeniedException",
        ),
        (
            "java.net.UnknownHostException: fruits-lake.s3.eu-west-1.amazonaws.com",
            "network",
            "java.net.UnknownHostException",
        ),
        (
            (
                "org.apache.spark.SparkException: [PYTHON_VERSION_MISMATCH] Python in worker has different version 3.9 "
                "than that in driver: 3.11, PySpark cannot run with different minor versions."
            ),
            "python_mismatch",
            "org.apache.spark.SparkException: [PYTHON_VERSION_MISMATCH]",
        ),
    ],
)
def test_the_reason_of_an_aborted_stage_is_the_error(reason: str, cause: str, error: str) -> None:
    warning = f"{STAMP} WARN BlockManager: Putting block rdd_1 failed due to exception java.io.IOException: x."
    stderr = f'{CHATTER}{warning}\nException in thread "main" {EXITED}\n'
    found = found_in(stderr=stderr, stdout=aborted(reason, "Caused by: java.io.EOFException\n\t... 1 more\n"))
    assert (found.cause.name, found.log) == (cause, "stdout")
    assert found.error.startswith(error)
    shown = "\n".join(found.context)
    assert "extraction.py" in shown
    assert "pyspark.zip/pyspark/sql" not in shown
    assert any(error in line for line in found.context)


def test_the_inner_line_of_a_worker_is_shown_with_the_driver_s() -> None:
    reason = f"org.apache.spark.api.python.PythonException: {WORKER_TRACEBACK}KeyError: 'shape'\n"
    shown = found_in(stdout=aborted(reason)).context
    assert "    outcomes = _count_outcomes(results)" in shown
    assert "    return engine.run(pixels)" in shown
    assert shown.index("KeyError: 'shape'") > shown.index("    return engine.run(pixels)")
    assert "Driver stacktrace:" not in shown


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "fruit_features.extraction.step.BooksError: The books of 'Kiwi' of 2026-11-22 do not balance: 3 listed",
            "books_do_not_balance",
        ),
        (
            "fruit_features.lake.commit.FeaturesDifferError: Something else has changed the features: those of",
            "features_changed",
        ),
        ("fruit_features.lake.commit.LostPlaceError: Another writer committed 2026-11-22 meanwhile.", "another_writer"),
        (
            (
                "fruit_features.embedding.artefact.EmbedderArtefactError: Release r holds no model.tflite: run `make "
                "publish`."
            ),
            "release_broken",
        ),
        (
            (
                "fruit_features.embedding.artefact.EmbedderChangedError: The release is not as it was published: "
                "s3://fruits-lake/x has"
            ),
            "release_changed",
        ),
        (
            "fruit_features.lake.store.ObjectNotFoundError: s3://fruits-lake/code/r1/embedder.json does not exist.",
            "key_not_found",
        ),
        (
            "ValueError: A scatter of 1280 features has 819840 numbers, this one has 3: its moments file is damaged.",
            "lake_damaged",
        ),
        (
            (
                "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the PutObject "
                "operation: Access Denied"
            ),
            "permission",
        ),
        (
            "botocore.exceptions.ClientError: An error occurred (403) when calling the HeadObject operation: Forbidden",
            "permission",
        ),
        (
            (
                "botocore.exceptions.ClientError: An error occurred (SlowDown) when calling the PutObject operation: "
                "Reduce"
            ),
            "throttled",
        ),
        (
            (
                "botocore.exceptions.ClientError: An error occurred (NoSuchBucket) when calling the ListObjectsV2 "
                "operation: x"
            ),
            "key_not_found",
        ),
        (
            (
                "botocore.exceptions.ClientError: An error occurred (AccessDeniedException) when calling Decrypt: not "
                "authorized for kms"
            ),
            "permission",
        ),
        ("botocore.exceptions.NoCredentialsError: Unable to locate credentials", "permission"),
        (
            (
                "obstore.exceptions.PermissionDeniedError: The operation lacked the necessary privileges to complete "
                "for path raw/x"
            ),
            "permission",
        ),
        (
            (
                "obstore.exceptions.GenericError: Generic S3 error: Error performing GET http://s3/b/k in 1ms - HTTP "
                "error: error sending request"
            ),
            "network",
        ),
        (
            "FileNotFoundError: Object at location raw/x not found: Client error with status 404 Not Found: No Body",
            "key_not_found",
        ),
        ('botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL: "https://s3"', "network"),
        ("urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(host='s3', port=443): Read timed out.", "network"),
        ("MemoryError: Unable to allocate 12.5 GiB for an array with shape (1310720, 1280)", "out_of_memory"),
        ("numpy.core._exceptions._ArrayMemoryError: Unable to allocate 12.5 GiB for an array", "out_of_memory"),
        ("ImportError: libgomp.so.1: cannot open shared object file: No such file or directory", "package_missing"),
        ("OSError: [Errno 12] Cannot allocate memory", "out_of_memory"),
        ("RuntimeError: [PYTHON_VERSION_MISMATCH] Python in worker has different version", "python_mismatch"),
        ("PermissionError: [Errno 13] Permission denied: '/opt/fruits'", "permission"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/data/timed out, access denied'", "key_not_found"),
        ("fruit_features.some.NewKindOfError: never seen", "unknown"),
        ("TypeError: unsupported operand", "code_error"),
    ],
)
def test_a_traceback_of_the_driver_is_told_by_its_last_line(line: str, cause: str) -> None:
    stdout = (
        f'{CHATTER}Traceback (most recent call last):\n  File "/mnt/tmp/job.py", line 3, in <module>\n    '
        f"main()\n{line}\n"
    )
    assert cause_and_error(stdout=stdout, stderr=CHATTER) == (cause, line)


# --- chains


@pytest.mark.parametrize("link", [HANDLING, RAISED_FROM])
def test_the_root_of_a_chain_counts(link: str) -> None:
    stdout = chain("ModuleNotFoundError: No module named 'obstore'", link, "RuntimeError: the step can't go on")
    found = found_in(stdout=stdout)
    assert (found.cause.name, found.error) == ("package_missing", "ModuleNotFoundError: No module named 'obstore'")
    assert "RuntimeError: the step can't go on" in found.context


def test_an_error_in_cleaning_up_does_not_hide_the_first() -> None:
    stdout = chain(
        "ValueError: 3 vectors",
        HANDLING,
        "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling PutObject",
    )
    assert cause_and_error(stdout=stdout) == ("code_error", "ValueError: 3 vectors")


def test_a_look_up_that_leads_to_a_known_error_is_not_its_root() -> None:
    denied = "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the GetObject operation"
    assert cause_and_error(stdout=chain("KeyError: 'cached'", HANDLING, denied)) == ("permission", denied)


def test_an_error_that_was_raised_from_another_to_explain_it_counts() -> None:
    explained = "fruit_features.extraction.step.BooksError: The books of 'Kiwi' of 2026-11-22 do not balance"
    assert cause_and_error(stdout=chain("AssertionError", RAISED_FROM, explained)) == (
        "books_do_not_balance",
        explained,
    )


def test_the_deepest_known_cause_of_a_java_chain_counts() -> None:
    stderr = (
        f'{CHATTER}Exception in thread "main" java.lang.RuntimeException: could not start\n{JAVA_FRAMES}'
        "Caused by: java.io.IOException: com.amazonaws.SdkClientException: Unable to execute HTTP "
        f"request\n{JAVA_FRAMES}"
        f"Caused by: java.net.UnknownHostException: s3.eu-west-1.amazonaws.com\n{JAVA_FRAMES}\t... 3 more\n"
    )
    assert cause_and_error(stderr=stderr) == ("network", "java.net.UnknownHostException: s3.eu-west-1.amazonaws.com")


def test_a_cause_that_stands_behind_the_driver_s_frames_is_shown() -> None:
    stdout = (
        f"{aborted('org.apache.spark.SparkException: Exception thrown in awaitResult')}Caused by: "
        "java.io.IOException: ENOSPC\n"
    )
    found = found_in(stdout=stdout)
    assert (found.cause.name, found.error) == ("disk_full", "java.io.IOException: ENOSPC")
    assert found.error in found.context


# --- what is not the error


def test_a_java_that_ran_out_of_memory_is_not_mistaken_for_a_lost_connection() -> None:
    stderr = (
        f"{CHATTER}{STAMP} ERROR Utils: uncaught error in thread dag-scheduler-event-loop, stopping SparkContext\n"
        f"java.lang.OutOfMemoryError: Java heap space\n{JAVA_FRAMES}{CHATTER}"
        f"{STAMP} WARN TransportChannelHandler: Exception in connection from /10.0.0.7:38012\njava.io.IOException: "
        f"Connection reset by peer\n{JAVA_FRAMES}"
    )
    stdout = (
        "ERROR:root:Exception while sending command.\nTraceback (most recent call last):\n  File "
        '"/usr/lib/spark/python/lib/py4j.zip/py4j/'
        'clientserver.py", line 516, in send_command\npy4j.protocol.Py4JNetworkError: Answer from Java side is '
        "empty\n\n"
        f"{HANDLING}\n\n{DRIVER_FRAMES}py4j.protocol.Py4JNetworkError: Error while sending or receiving\n"
        f'{DRIVER_FRAMES}  File "/usr/lib/spark/python/lib/py4j.zip/py4j/clientserver.py", line 438, in '
        "connect_to_java_server\n"
        "ConnectionRefusedError: [Errno 111] Connection refused\n"
    )
    found = found_in(stdout=stdout, stderr=stderr)
    assert (found.cause.name, found.log, found.error) == (
        "out_of_memory",
        "stderr",
        "java.lang.OutOfMemoryError: Java heap space",
    )


def test_warnings_that_mention_exceptions_are_passed_over() -> None:
    stderr = (
        f"{STAMP} WARN NativeCodeLoader: Unable to load native-hadoop library for your platform... using builtin-java "
        "classes\n"
        f"{STAMP} WARN DFSClient: Caught exception "
        f"java.lang.InterruptedException\njava.lang.InterruptedException\n{JAVA_FRAMES}"
        f"{STAMP} WARN S3Client: AccessDenied for s3:GetBucketLocation, going on without it: "
        f"java.nio.file.AccessDeniedException: x\n{JAVA_FRAMES}"
        f"{STAMP} WARN Client: Neither spark.yarn.jars nor spark.yarn.archive is set, falling back to uploading "
        "libraries under SPARK_HOME.\n"
        f"{STAMP} ERROR TransportRequestHandler: Error sending result: java.io.IOException: Broken pipe\n"
    )
    stdout = (
        "Progress can't be written, the step goes on without it: An error occurred (AccessDenied) when calling the "
        "PutObject operation\n"
        'Traceback (most recent call last):\n  File "job.py", line 1, in <module>\n    1 / 0\nZeroDivisionError: '
        "division by zero\n"
        "Exception ignored in: <function Session.__del__ at 0x7f>\nTraceback (most recent call last):\n  File "
        '"job.py", line 9, in __del__\n'
        "ModuleNotFoundError: No module named 'closed'\n"
    )
    assert cause_and_error(stdout=stdout, stderr=stderr) == ("code_error", "ZeroDivisionError: division by zero")
    assert find_error({"stderr": stderr}) is None


def test_a_failure_that_spark_healed_is_not_the_reason() -> None:
    stderr = (
        f"{STAMP} WARN TaskSetManager: Lost task 1.0 in stage 0.0 (TID 1) (ip-10 executor 1): ExecutorLostFailure "
        f"(executor 1 exited unrelated to the running tasks) Reason: Container released on a *lost* node.\n{STAMP} "
        "ERROR YarnScheduler: Lost executor 1 on ip-10: Slave lost\n"
    )
    stdout = 'Traceback (most recent call last):\n  File "job.py", line 1, in <module>\nTypeError: unhashable\n'
    assert cause_and_error(stdout=stdout, stderr=stderr) == ("code_error", "TypeError: unhashable")


def test_without_the_driver_s_words_the_task_that_aborted_the_job_counts() -> None:
    def lost(task: str, said: str) -> str:
        return f"{STAMP} WARN TaskSetManager: Lost task {task} in stage 2.0 (TID 9) (ip-10 executor 1): {said}\n"

    stderr = (
        lost("1.0", "ExecutorLostFailure (executor 1 exited) Reason: Slave lost")
        + lost(
            "5.0",
            f"org.apache.spark.api.python.PythonException: {WORKER_TRACEBACK}ValueError: bad batch\n\n{JAVA_FRAMES}",
        )
        + f"{STAMP} ERROR TaskSetManager: Task 5 in stage 2.0 failed 4 times; aborting job\n"
        + f'Exception in thread "main" {EXITED}\n'
    )
    assert cause_and_error(stderr=stderr) == ("code_error", "ValueError: bad batch")


def test_a_handled_error_that_the_step_names_as_such_is_passed_over() -> None:
    frames = 'Traceback (most recent call last):\n  File "job.py", line 1, in <module>\n'
    stdout = f"Trying again without the cache:\n{frames}FileNotFoundError: cache\n{frames}ValueError: 3\n"
    assert cause_and_error(stdout=stdout) == ("code_error", "ValueError: 3")


def test_the_first_of_two_errors_counts() -> None:
    frames = 'Traceback (most recent call last):\n  File "job.py", line 1, in <module>\n'
    stdout = f"Exception in thread Thread-3 (fetch):\n{frames}ValueError: 3\n{frames}RuntimeError: no answer\n"
    assert cause_and_error(stdout=stdout) == ("code_error", "ValueError: 3")


def test_a_mixed_log_in_which_chatter_cuts_a_traceback_is_read() -> None:
    stderr = (
        f'Traceback (most recent call last):\n  File "job.py", line 1, in <module>\n{CHATTER}    '
        f"main()\n{CHATTER}ValueError: 3\n{CHATTER}"
    )
    assert cause_and_error(stderr=stderr) == ("code_error", "ValueError: 3")


def test_a_script_that_does_not_compile_is_told() -> None:
    stdout = "  File \"/mnt/tmp/job.py\", line 3\n    return (\n           ^\nSyntaxError: '(' was never closed\n"
    assert cause_and_error(stdout=stdout) == ("code_error", "SyntaxError: '(' was never closed")


def test_a_worker_s_own_error_is_no_broken_link_though_spark_called_it() -> None:
    worker = (
        '  File "/usr/lib/spark/python/lib/pyspark.zip/pyspark/util.py", line 83, in wrapper\n  File "job.py", '
        "line 9, in spill\n"
    )
    for error, cause in (("OSError: [Errno 28] No space left on device", "disk_full"), ("TimeoutError: x", "network")):
        reason = f"org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n{worker}{error}\n"
        assert cause_and_error(stdout=aborted(reason)) == (cause, error)
