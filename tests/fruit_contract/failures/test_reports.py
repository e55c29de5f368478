from __future__ import annotations

import pytest

from tests.fruit_contract.failures.log_samples import JAVA_FRAMES, STAMP, found_in


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
        (
            "python3: can't open file '/mnt/x.py': [Errno 2] No such file or directory\n",
            "key_not_found",
            "python3: can't open file",
        ),
        (
            "/bin/bash: line 1: 14553 Killed   /usr/bin/java -server -Xmx4096m\n",
            "out_of_memory",
            "/bin/bash: line 1: 14553 Killed",
        ),
        (
            "terminate called after throwing an instance of 'std::bad_alloc'\n",
            "out_of_memory",
            "terminate called after",
        ),
        (
            (
                "OpenJDK 64-Bit Server VM warning: INFO: os::commit_memory(0x0, 1, 0) failed; error='Not enough space' "
                "(errno=12)\n"
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
                "bootstrap failed: installing the pins from the package index (exit code 1). The node reaches no "
                "index\n"
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
                "bootstrap failed: downloading s3://b/code/r/bootstrap/requirements.txt (exit code 1). Does the "
                "release exist?\n"
            ),
            "permission",
            "fatal error: An error occurred (403)",
        ),
        (
            (
                'fatal error: An error occurred (404) when calling the HeadObject operation: Key "code/r/x" does not '
                "exist\n"
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
    found = found_in(stderr=log)
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
    found = found_in(stderr=log)
    assert (found.cause.name, found.error[:20]) == ("network", "WARNING: Retrying (R")


def test_executors_that_fit_into_no_node_are_told() -> None:
    stderr = (
        f"{STAMP} ERROR SparkContext: Error initializing SparkContext.\n"
        "java.lang.IllegalArgumentException: Required executor memory (4096 MB), offHeap memory (0) MB, overhead (9216 "
        "MB), and PySpark "
        f"memory (0 MB) is above the max threshold (12288 MB) of this cluster!\n{JAVA_FRAMES}"
    )
    assert found_in(stderr=stderr).cause.name == "node_too_small"
