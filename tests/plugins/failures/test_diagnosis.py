"""Logs as EMR, YARN, Spark 3.5, pip and our own steps write them, and the error that is picked out of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.failures.error_text import CONTEXT_LINES
from fruit_pipeline.failures.diagnosis import EMR, LONGEST_LINE, diagnose

STAMP = "26/11/25 12:58:46"
CHATTER = "".join(f"{STAMP} INFO TaskSetManager: Finished task {n}.0 in stage 1.0 (TID {n}) in 12 ms on ip-10-0-0-7\n" for n in range(50))
JAVA_FRAMES = "".join(f"\tat org.apache.spark.scheduler.DAGScheduler.frame{n}(DAGScheduler.scala:{n})\n" for n in range(30))
LIBRARY = "/opt/fruits/venv/lib/python3.11/site-packages"
DRIVER_FRAMES = f"""Traceback (most recent call last):
  File "/mnt/tmp/spark-1/extract_features.py", line 57, in <module>
    main()
  File "/mnt/tmp/spark-1/library.zip/fruit_features/extraction.py", line 61, in extract_features
    outcomes = _count_outcomes(results)
  File "/usr/lib/spark/python/lib/pyspark.zip/pyspark/sql/dataframe.py", line 1263, in collect
  File "{LIBRARY}/py4j/java_gateway.py", line 1322, in __call__
"""
WORKER_TRACEBACK = """Traceback (most recent call last):
  File "/usr/lib/spark/python/lib/pyspark.zip/pyspark/worker.py", line 1247, in main
  File "./library.zip/fruit_features/featurise.py", line 131, in featurise
    return engine.run(pixels)
"""
EXITED = "org.apache.spark.SparkUserAppException: User application exited with 1"


def aborted(reason: str, after: str = "") -> str:
    """What a driver prints when a stage failed for `reason`."""
    return (
        f"{DRIVER_FRAMES}py4j.protocol.Py4JJavaError: An error occurred while calling o88.collectToPython.\n"
        ": org.apache.spark.SparkException: Job aborted due to stage failure: Task 7 in stage 3.0 failed 4 times, most recent failure: "
        f"Lost task 7.3 in stage 3.0 (TID 99) (ip-10-0-0-7.eu-west-1.compute.internal executor 2): {reason}\n{after}\n"
        f"Driver stacktrace:\n{JAVA_FRAMES}"
    )


def cause_and_error(logs: dict[str, str], *emr_words: str) -> tuple[str, str]:
    found = diagnose(logs, emr_words)
    return found.cause.name, found.error


# --- what a driver's traceback says


@pytest.mark.parametrize(
    ("reason", "cause", "error"),
    [
        (
            f"org.apache.spark.api.python.PythonException: {WORKER_TRACEBACK}ModuleNotFoundError: No module named 'onnxruntime'\n",
            "package_missing",
            "ModuleNotFoundError: No module named 'onnxruntime'",
        ),
        (
            (
                f"org.apache.spark.api.python.PythonException: {WORKER_TRACEBACK}ValueError: The embedder gave (3, 2) for 3 "
                "images, expected (3, 1280)\n"
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
                "ExecutorLostFailure (executor 2 exited caused by one of the running tasks) Reason: Container killed by YARN "
                "for exceeding memory "
                "limits. 10.1 GB of 10 GB physical memory used. Consider boosting spark.executor.memoryOverhead."
            ),
            "out_of_memory",
            "ExecutorLostFailure (executor 2 exited caused by one of the running tasks) Reason: Container killed by YARN",
        ),
        (
            (
                "ExecutorLostFailure (executor 2 exited caused by one of the running tasks) Reason: Container from a bad node: "
                "container_1_01_000072 "
                "on host: ip-10-0-0-7. Exit status: 137. Diagnostics: [2026-11-25 15:02:23.483]Container killed on request. "
                "Exit code is 137"
            ),
            "out_of_memory",
            "ExecutorLostFailure",
        ),
        (
            (
                "ExecutorLostFailure (executor 2 exited unrelated to the running tasks) Reason: Container marked as failed: "
                "container_1_01_000003 on "
                "host: ip-10-0-0-7. Exit status: -100. Diagnostics: Container released on a *lost* node."
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
                "ExecutorLostFailure (executor 4 exited caused by one of the running tasks) Reason: Executor heartbeat timed "
                "out after 121431 ms"
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
        ("java.lang.NoClassDefFoundError: org/apache/arrow/Vector", "package_missing", "java.lang.NoClassDefFoundError"),
        (
            (
                "com.amazon.ws.emr.hadoop.fs.shaded.com.amazonaws.services.s3.model.AmazonS3Exception: Please reduce your "
                "request rate. (Service: "
                "Amazon S3; Status Code: 503; Error Code: SlowDown; Request ID: 0A1B2C3D)"
            ),
            "throttled",
            "com.amazon.ws.emr.hadoop.fs.shaded.com.amazonaws.services.s3.model.AmazonS3Exception: Please reduce your request rate.",
        ),
        (
            (
                "java.nio.file.AccessDeniedException: s3://fruits-lake/raw/x: getFileStatus: Access Denied (Service: Amazon "
                "S3; Status Code: 403)"
            ),
            "permission",
            "java.nio.file.AccessDeniedException",
        ),
        ("java.net.UnknownHostException: fruits-lake.s3.eu-west-1.amazonaws.com", "network", "java.net.UnknownHostException"),
        (
            (
                "org.apache.spark.SparkException: [PYTHON_VERSION_MISMATCH] Python in worker has different version 3.9 than "
                "that in driver: 3.11, "
                "PySpark cannot run with different minor versions."
            ),
            "python_mismatch",
            "org.apache.spark.SparkException: [PYTHON_VERSION_MISMATCH]",
        ),
    ],
)
def test_the_reason_of_an_aborted_stage_is_the_error(reason: str, cause: str, error: str) -> None:
    warning = f"{STAMP} WARN BlockManager: Putting block rdd_1 failed due to exception java.io.IOException: x."
    stderr = f'{CHATTER}{warning}\nException in thread "main" {EXITED}\n'
    found = diagnose({"stderr": stderr, "stdout": aborted(reason, "Caused by: java.io.EOFException\n\t... 1 more\n")})
    assert (found.cause.name, found.log) == (cause, "stdout")
    assert found.error.startswith(error)
    shown = "\n".join(found.context)
    assert "extraction.py" in shown
    assert "pyspark.zip/pyspark/sql" not in shown
    assert any(error in line for line in found.context)


def test_the_inner_line_of_a_worker_is_shown_with_the_driver_s() -> None:
    reason = f"org.apache.spark.api.python.PythonException: {WORKER_TRACEBACK}KeyError: 'shape'\n"
    shown = diagnose({"stdout": aborted(reason)}).context
    assert "    outcomes = _count_outcomes(results)" in shown
    assert "    return engine.run(pixels)" in shown
    assert shown.index("KeyError: 'shape'") > shown.index("    return engine.run(pixels)")
    assert "Driver stacktrace:" not in shown


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("fruit_features.extraction.step.BooksError: The books of 'Kiwi' of 2026-11-22 do not balance: 3 listed", "books_do_not_balance"),
        ("fruit_features.lake.commit.FeaturesDifferError: Something else has changed the features: those of", "features_changed"),
        ("fruit_features.lake.commit.LostPlaceError: Another writer committed 2026-11-22 meanwhile.", "another_writer"),
        ("fruit_features.embedding.artefact.EmbedderArtefactError: Release r1 holds no model.onnx: run `make publish`.", "release_broken"),
        (
            "fruit_features.embedding.artefact.EmbedderChangedError: The release is not as it was published: s3://fruits-lake/x has",
            "release_changed",
        ),
        ("fruit_features.lake.store.ObjectNotFoundError: s3://fruits-lake/code/r1/embedder.json does not exist.", "key_not_found"),
        ("ValueError: A scatter of 1280 features has 819840 numbers, this one has 3: its moments file is damaged.", "lake_damaged"),
        (
            "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the PutObject operation: Access Denied",
            "permission",
        ),
        ("botocore.exceptions.ClientError: An error occurred (403) when calling the HeadObject operation: Forbidden", "permission"),
        ("botocore.exceptions.ClientError: An error occurred (SlowDown) when calling the PutObject operation: Reduce", "throttled"),
        ("botocore.exceptions.ClientError: An error occurred (NoSuchBucket) when calling the ListObjectsV2 operation: x", "key_not_found"),
        (
            "botocore.exceptions.ClientError: An error occurred (AccessDeniedException) when calling Decrypt: not authorized for kms",
            "permission",
        ),
        ("botocore.exceptions.NoCredentialsError: Unable to locate credentials", "permission"),
        (
            "obstore.exceptions.PermissionDeniedError: The operation lacked the necessary privileges to complete for path raw/x",
            "permission",
        ),
        (
            (
                "obstore.exceptions.GenericError: Generic S3 error: Error performing GET http://s3/b/k in 1ms - HTTP error: "
                "error sending request"
            ),
            "network",
        ),
        ("FileNotFoundError: Object at location raw/x not found: Client error with status 404 Not Found: No Body", "key_not_found"),
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
    stdout = f'{CHATTER}Traceback (most recent call last):\n  File "/mnt/tmp/job.py", line 3, in <module>\n    main()\n{line}\n'
    assert cause_and_error({"stdout": stdout, "stderr": CHATTER}) == (cause, line)


# --- chains


def chain(first: str, link: str, second: str) -> str:
    frames = 'Traceback (most recent call last):\n  File "job.py", line 1, in <module>\n    main()\n'
    return f"{frames}{first}\n\n{link}\n\n{frames}{second}\n"


HANDLING = "During handling of the above exception, another exception occurred:"
RAISED_FROM = "The above exception was the direct cause of the following exception:"


@pytest.mark.parametrize("link", [HANDLING, RAISED_FROM])
def test_the_root_of_a_chain_counts(link: str) -> None:
    stdout = chain("ModuleNotFoundError: No module named 'obstore'", link, "RuntimeError: the step can't go on")
    found = diagnose({"stdout": stdout})
    assert (found.cause.name, found.error) == ("package_missing", "ModuleNotFoundError: No module named 'obstore'")
    assert "RuntimeError: the step can't go on" in found.context


def test_an_error_in_cleaning_up_does_not_hide_the_first() -> None:
    stdout = chain(
        "ValueError: 3 vectors", HANDLING, "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling PutObject"
    )
    assert cause_and_error({"stdout": stdout}) == ("code_error", "ValueError: 3 vectors")


def test_a_look_up_that_leads_to_a_known_error_is_not_its_root() -> None:
    denied = "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the GetObject operation"
    assert cause_and_error({"stdout": chain("KeyError: 'cached'", HANDLING, denied)}) == ("permission", denied)


def test_an_error_that_was_raised_from_another_to_explain_it_counts() -> None:
    explained = "fruit_features.extraction.step.BooksError: The books of 'Kiwi' of 2026-11-22 do not balance"
    assert cause_and_error({"stdout": chain("AssertionError", RAISED_FROM, explained)}) == ("books_do_not_balance", explained)


def test_the_deepest_known_cause_of_a_java_chain_counts() -> None:
    stderr = (
        f'{CHATTER}Exception in thread "main" java.lang.RuntimeException: could not start\n{JAVA_FRAMES}'
        f"Caused by: java.io.IOException: com.amazonaws.SdkClientException: Unable to execute HTTP request\n{JAVA_FRAMES}"
        f"Caused by: java.net.UnknownHostException: s3.eu-west-1.amazonaws.com\n{JAVA_FRAMES}\t... 3 more\n"
    )
    assert cause_and_error({"stderr": stderr}) == ("network", "java.net.UnknownHostException: s3.eu-west-1.amazonaws.com")


def test_a_cause_that_stands_behind_the_driver_s_frames_is_shown() -> None:
    stdout = f"{aborted('org.apache.spark.SparkException: Exception thrown in awaitResult')}Caused by: java.io.IOException: ENOSPC\n"
    found = diagnose({"stdout": stdout})
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
        'ERROR:root:Exception while sending command.\nTraceback (most recent call last):\n  File "/usr/lib/spark/python/lib/py4j.zip/py4j/'
        'clientserver.py", line 516, in send_command\npy4j.protocol.Py4JNetworkError: Answer from Java side is empty\n\n'
        f"{HANDLING}\n\n{DRIVER_FRAMES}py4j.protocol.Py4JNetworkError: Error while sending or receiving\n"
        f'{DRIVER_FRAMES}  File "/usr/lib/spark/python/lib/py4j.zip/py4j/clientserver.py", line 438, in connect_to_java_server\n'
        "ConnectionRefusedError: [Errno 111] Connection refused\n"
    )
    found = diagnose({"stdout": stdout, "stderr": stderr})
    assert (found.cause.name, found.log, found.error) == ("out_of_memory", "stderr", "java.lang.OutOfMemoryError: Java heap space")


def test_warnings_that_mention_exceptions_are_passed_over() -> None:
    stderr = (
        f"{STAMP} WARN NativeCodeLoader: Unable to load native-hadoop library for your platform... using builtin-java classes\n"
        f"{STAMP} WARN DFSClient: Caught exception java.lang.InterruptedException\njava.lang.InterruptedException\n{JAVA_FRAMES}"
        f"{STAMP} WARN S3Client: AccessDenied for s3:GetBucketLocation, going on without it: "
        f"java.nio.file.AccessDeniedException: x\n{JAVA_FRAMES}"
        f"{STAMP} WARN Client: Neither spark.yarn.jars nor spark.yarn.archive is set, falling back to uploading "
        "libraries under SPARK_HOME.\n"
        f"{STAMP} ERROR TransportRequestHandler: Error sending result: java.io.IOException: Broken pipe\n"
    )
    stdout = (
        "Progress can't be written, the step goes on without it: An error occurred (AccessDenied) when calling the PutObject operation\n"
        'Traceback (most recent call last):\n  File "job.py", line 1, in <module>\n    1 / 0\nZeroDivisionError: division by zero\n'
        "Exception ignored in: <function Session.__del__ at 0x7f>\nTraceback (most recent call last):\n  File "
        '"job.py", line 9, in __del__\n'
        "ModuleNotFoundError: No module named 'closed'\n"
    )
    assert cause_and_error({"stderr": stderr, "stdout": stdout}) == ("code_error", "ZeroDivisionError: division by zero")
    assert diagnose({"stderr": stderr}).cause.name == "unknown"


def test_a_failure_that_spark_healed_is_not_the_reason() -> None:
    stderr = (
        f"{STAMP} WARN TaskSetManager: Lost task 1.0 in stage 0.0 (TID 1) (ip-10 executor 1): ExecutorLostFailure (executor 1 exited "
        f"unrelated to the running tasks) Reason: Container released on a *lost* node.\n{STAMP} ERROR YarnScheduler: "
        "Lost executor 1 on ip-10: Slave lost\n"
    )
    stdout = 'Traceback (most recent call last):\n  File "job.py", line 1, in <module>\nTypeError: unhashable\n'
    assert cause_and_error({"stderr": stderr, "stdout": stdout}) == ("code_error", "TypeError: unhashable")


def test_without_the_driver_s_words_the_task_that_aborted_the_job_counts() -> None:
    def lost(task: str, said: str) -> str:
        return f"{STAMP} WARN TaskSetManager: Lost task {task} in stage 2.0 (TID 9) (ip-10 executor 1): {said}\n"

    stderr = (
        lost("1.0", "ExecutorLostFailure (executor 1 exited) Reason: Slave lost")
        + lost("5.0", f"org.apache.spark.api.python.PythonException: {WORKER_TRACEBACK}ValueError: bad batch\n\n{JAVA_FRAMES}")
        + f"{STAMP} ERROR TaskSetManager: Task 5 in stage 2.0 failed 4 times; aborting job\n"
        + f'Exception in thread "main" {EXITED}\n'
    )
    assert cause_and_error({"stderr": stderr}) == ("code_error", "ValueError: bad batch")


def test_a_handled_error_that_the_step_names_as_such_is_passed_over() -> None:
    frames = 'Traceback (most recent call last):\n  File "job.py", line 1, in <module>\n'
    stdout = f"Trying again without the cache:\n{frames}FileNotFoundError: cache\n{frames}ValueError: 3\n"
    assert cause_and_error({"stdout": stdout}) == ("code_error", "ValueError: 3")


def test_the_first_of_two_errors_counts() -> None:
    frames = 'Traceback (most recent call last):\n  File "job.py", line 1, in <module>\n'
    stdout = f"Exception in thread Thread-3 (fetch):\n{frames}ValueError: 3\n{frames}RuntimeError: no answer\n"
    assert cause_and_error({"stdout": stdout}) == ("code_error", "ValueError: 3")


def test_a_mixed_log_in_which_chatter_cuts_a_traceback_is_read() -> None:
    stderr = (
        f'Traceback (most recent call last):\n  File "job.py", line 1, in <module>\n{CHATTER}    main()\n{CHATTER}ValueError: 3\n{CHATTER}'
    )
    assert cause_and_error({"stderr": stderr}) == ("code_error", "ValueError: 3")


def test_a_script_that_does_not_compile_is_told() -> None:
    stdout = "  File \"/mnt/tmp/job.py\", line 3\n    return (\n           ^\nSyntaxError: '(' was never closed\n"
    assert cause_and_error({"stdout": stdout}) == ("code_error", "SyntaxError: '(' was never closed")


def test_a_java_that_went_away_without_a_word_is_no_network_failure() -> None:
    frame = '  File "/usr/lib/spark/python/lib/py4j.zip/py4j/clientserver.py", line 4'
    stdout = f"{DRIVER_FRAMES}{frame}\nConnectionRefusedError: [Errno 111] Refused\n"
    assert diagnose({"stdout": stdout}).cause.name == "unknown"
    assert diagnose({"stdout": stdout}, ["exit code 1: ConnectionRefusedError: [Errno 111] Refused"]).cause.name == "unknown"
    assert diagnose({"stdout": stdout}, ["The step's process ended with exit code 137"]).cause.name == "out_of_memory"


def test_a_worker_s_own_error_is_no_broken_link_though_spark_called_it() -> None:
    worker = '  File "/usr/lib/spark/python/lib/pyspark.zip/pyspark/util.py", line 83, in wrapper\n  File "job.py", line 9, in spill\n'
    for error, cause in (("OSError: [Errno 28] No space left on device", "disk_full"), ("TimeoutError: x", "network")):
        reason = f"org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n{worker}{error}\n"
        assert cause_and_error({"stdout": aborted(reason)}) == (cause, error)


def test_what_a_driver_stumbles_over_without_its_java_is_no_defect() -> None:
    lost = "py4j.protocol.Py4JNetworkError: Answer from Java side is empty"
    stdout = chain(lost, HANDLING, "AttributeError: 'NoneType' object has no attribute 'setCallSite'")
    assert diagnose({"stdout": stdout}).cause.name == "unknown"
    assert diagnose({"stdout": stdout}, ["The step's process was ended by signal 9"]).cause.name == "out_of_memory"
    known = "fruit_features.extraction.step.BooksError: The books of 'Kiwi' of 2026-11-22 do not balance"
    assert cause_and_error({"stdout": chain(lost, HANDLING, known)}) == ("books_do_not_balance", known)


# --- plain lines


@pytest.mark.parametrize(
    ("log", "cause", "error"),
    [
        (
            (
                "usage: extract_features.py [-h] --lake-bucket LAKE_BUCKET\n"
                "extract_features.py: error: the following arguments are required: --release\n"
            ),
            "bad_arguments",
            "extract_features.py: error: the following arguments are required: --release",
        ),
        (
            "Error: Unrecognized option: --deploy-mod\n\nUsage: spark-submit [options]\n",
            "bad_arguments",
            "Error: Unrecognized option: --deploy-mod",
        ),
        ("python3: can't open file '/mnt/x.py': [Errno 2] No such file or directory\n", "key_not_found", "python3: can't open file"),
        ("/bin/bash: line 1: 14553 Killed   /usr/bin/java -server -Xmx4096m\n", "out_of_memory", "/bin/bash: line 1: 14553 Killed"),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n", "out_of_memory", "terminate called after"),
        (
            (
                "OpenJDK 64-Bit Server VM warning: INFO: os::commit_memory(0x0, 1, 0) failed; error='Not enough space' (errno=12)\n"
                "#\n# There is insufficient memory for the Java Runtime Environment to continue.\n"
            ),
            "out_of_memory",
            "# There is insufficient memory",
        ),
        ("Error: Failed to load class org.example.Main.\n", "package_missing", "Error: Failed to load class"),
        (
            (
                "==> installing the pins from the package index\n"
                "ERROR: Could not find a version that satisfies the requirement numpy==2.1 (from versions: 1.0, 2.0)\n"
                "ERROR: No matching distribution found for numpy==2.1\n"
                "bootstrap failed: installing the pins from the package index (exit code 1). The node reaches no index\n"
            ),
            "package_missing",
            "ERROR: No matching distribution found for numpy==2.1",
        ),
        (
            (
                "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n    numpy from https://x:\n"
                "bootstrap failed: installing the pins from the release's wheels (exit code 1). A wheel that differs\n"
            ),
            "package_missing",
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES",
        ),
        (
            (
                "fatal error: An error occurred (403) when calling the HeadObject operation: Forbidden\n"
                "bootstrap failed: downloading s3://b/code/r/bootstrap/requirements.txt (exit code 1). Does the release exist?\n"
            ),
            "permission",
            "fatal error: An error occurred (403)",
        ),
        (
            (
                'fatal error: An error occurred (404) when calling the HeadObject operation: Key "code/r/x" does not exist\n'
                "bootstrap failed: downloading s3://b/code/r/x (exit code 1). Does the release exist?\n"
            ),
            "key_not_found",
            "fatal error: An error occurred (404)",
        ),
        (
            "numpy: 1.26.4 installed, 2.1.0 pinned\nbootstrap failed: checking what was installed (exit code 1). x\n",
            "package_missing",
            "numpy: 1.26.4",
        ),
        (
            "tar: /opt/fruits: Cannot write: No space left on device\nbootstrap failed: x (exit code 2). y\n",
            "disk_full",
            "tar: /opt/fruits",
        ),
        (
            "bootstrap failed: making the environment /opt/fruits/venv (exit code 1). Is there space?\n",
            "bootstrap_failed",
            "bootstrap failed: making",
        ),
    ],
)
def test_a_plain_line_is_an_error_too(log: str, cause: str, error: str) -> None:
    found = diagnose({"stderr": log})
    assert found.cause.name == cause
    assert found.error.startswith(error)
    assert any(line.startswith("bootstrap failed") for line in found.context) == ("bootstrap failed" in log)


def test_an_index_that_is_not_reached_is_no_missing_package() -> None:
    log = (
        "WARNING: Retrying (Retry(total=3)) after connection broken by 'NewConnectionError(': [Errno 101] Network is "
        "unreachable')': /simple/x/\n"
        "ERROR: Could not find a version that satisfies the requirement x==1 (from versions: none)\nERROR: No matching "
        "distribution found for x==1\n"
    )
    found = diagnose({"stderr": log})
    assert (found.cause.name, found.error[:20]) == ("network", "WARNING: Retrying (R")


def test_a_script_s_last_words_are_shown_where_nothing_names_an_error() -> None:
    found = diagnose({"stdout": "step 1\nThere is nothing to do here.\n", "stderr": CHATTER})
    assert (found.cause.name, found.log, found.error) == ("unknown", "stdout", "There is nothing to do here.")
    assert found.context == ("step 1", "There is nothing to do here.")


def test_a_log_that_airflow_may_not_read_is_not_taken_for_the_step_s_failure() -> None:
    found = diagnose(
        {"stderr": "(this log can't be read: An error occurred (AccessDenied) when calling the GetObject operation: Access Denied)"}
    )
    assert found.cause.name == "unknown"
    assert found.error.startswith("(this log can't be read")


def test_executors_that_fit_into_no_node_are_told() -> None:
    stderr = (
        f"{STAMP} ERROR SparkContext: Error initializing SparkContext.\n"
        "java.lang.IllegalArgumentException: Required executor memory (4096 MB), offHeap memory (0) MB, overhead (9216 MB), and PySpark "
        f"memory (0 MB) is above the max threshold (12288 MB) of this cluster!\n{JAVA_FRAMES}"
    )
    assert diagnose({"stderr": stderr}).cause.name == "node_too_small"


# --- EMR's own words


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("INSTANCE_FAILURE: All slaves in the job flow were terminated", "node_lost"),
        ("INSTANCE_FLEET_TIMEOUT: Provisioning of the fleet timed out", "capacity"),
        ("INTERNAL_ERROR: We currently do not have sufficient m5.xlarge capacity in the Availability Zone you requested", "capacity"),
        (
            "VALIDATION_ERROR: The VPC/subnet configuration was invalid: No route to any external sources detected in Route Table",
            "cluster_settings",
        ),
        ("VALIDATION_ERROR: Service role fruits-emr-service has insufficient EC2 permissions", "cluster_settings"),
        ("VALIDATION_ERROR: Invalid InstanceProfile: fruits-emr-nodes.", "cluster_settings"),
        ("BOOTSTRAP_FAILURE: On the master instance (i-1), bootstrap action 1 returned a non-zero return code", "bootstrap_failed"),
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
        f"{STAMP} ERROR ApplicationMaster: RECEIVED SIGNAL TERM\n{STAMP} ERROR Utils: Aborting task\norg.apache.spark.TaskKilledException\n"
    )
    for words in ((), ("Cancelled by user", "The step's process was ended by signal 9")):
        assert diagnose({"stdout": stdout, "stderr": stderr}, words).cause.name == "cancelled"


# --- what is shown


def test_no_secret_is_shown() -> None:
    stdout = (
        "Traceback (most recent call last):\n"
        '  File "job.py", line 1, in <module>\n'
        '    boto3.client("s3", aws_access_key_id="AKIAABCDEFGHIJKLMNOP", aws_secret_access_key="wJalrXUtnFEMI/K7MDENG")\n'
        "RuntimeError: GET "
        "https://b.s3.amazonaws.com/k?X-Amz-Security-Token=FwoGZXIvYXdzEBYaDH%2F&X-Amz-Signature=0a1b2c3d&x=1 for ASIAQRSTUVWXYZ234567\n"
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
@given(st.dictionaries(st.sampled_from(["stdout", "stderr", "controller", "other"]), TEXTS), st.lists(TEXTS, max_size=3))
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
