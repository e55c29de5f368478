from __future__ import annotations

import re

import pytest

from fruit_contract.failures.causes import CODE_ERROR, UNKNOWN
from fruit_contract.failures.rules import cause_of
from local_cloud.project import PROJECT

# The steps catch three of their errors themselves (two kinds of reject; no PCA yet), and one is a base class that
# nobody raises.
NOT_ENDING_A_STEP = {"UnreadableImageError", "UnusableFileError", "TooFewImagesError", "RefusedError"}


def test_every_error_of_the_steps_has_a_cause() -> None:
    classes = re.compile(r"^class (\w+Error)\(", re.MULTILINE)
    folders = (PROJECT / "spark_jobs", PROJECT / "fruit_contract")
    own = {
        name
        for folder in folders
        for file in folder.rglob("*.py")
        for name in classes.findall(file.read_text(encoding="utf-8"))
    }
    assert "BooksError" in own
    for name in own - NOT_ENDING_A_STEP:
        assert cause_of(f"fruit_features.module.{name}: words") not in (UNKNOWN, CODE_ERROR), name


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ("BooksError", "books_do_not_balance"),
        ("FeaturesDifferError", "features_changed"),
        ("LostPlaceError", "another_writer"),
        ("UnusualRejectsError", "unusual_rejects"),
        ("ImagesDifferError", "moments_differ"),
        ("FeaturesGoneError", "features_changed"),
        ("LostMomentsError", "moments_differ"),
        ("MomentsLostError", "moments_differ"),
        ("TooManyImagesError", "too_many_images"),
        ("CommitFormatError", "later_format"),
    ],
)
def test_an_error_of_the_steps_has_its_cause(error: str, name: str) -> None:
    assert (
        cause_of(
            f"fruit_features.lake.ledger.{error}: The ledger of 2026-11-22 says 404 images, of 500 that are there"
        ).name
        == name
    )


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (
            "Container exited with a non-zero exit code 137. Container killed on request. Exit code is 137",
            "out_of_memory",
        ),
        ("Exit status: 137. Container released on a *lost* node", "node_lost"),
        ("Cancelled by user; The step's process was ended by signal 9", "cancelled"),
        ("Exit status: 143. Container killed on request. Exit code is 143", "cancelled"),
        ("Command exiting with ret '137'", "out_of_memory"),
        ("exit code 1370", "unknown"),
        ("Killed", "out_of_memory"),
        ("Killed by external signal", "unknown"),
        ("The step's process ended with exit code 1: ValueError: 3", "code_error"),
        ("BooksErrorBar", "unknown"),
        ("(Service: Amazon S3; Status Code: 503; Error Code: SlowDown)", "throttled"),
        (
            (
                "An error occurred (ThrottlingException) when calling the DescribeStep operation (reached max retries: "
                "9): Rate exceeded"
            ),
            "throttled",
        ),
        ("(Service: Amazon S3; Status Code: 403; Error Code: AccessDenied)", "permission"),
        ("(Service: Amazon S3; Status Code: 404; Error Code: NoSuchKey)", "key_not_found"),
        ("User: arn:aws:sts::1:assumed-role/x is not authorized to perform: kms:Decrypt", "permission"),
        ("Failed to provision instances due to throttling from Amazon EC2", "throttled"),
        ("You have exceeded your EC2 instance limit", "capacity"),
        (
            "VALIDATION_ERROR: You have requested more vCPU capacity than your current vCPU limit of 32 allows for",
            "capacity",
        ),
        ("VALIDATION_ERROR: Instance type 'm5.xlarge' is not supported in this Availability Zone", "cluster_settings"),
        (
            "VALIDATION_ERROR: The request failed: service-linked role AWSServiceRoleForEMRCleanup does not exist",
            "no_service_linked_role",
        ),
        (
            (
                "AuthFailure.ServiceLinkedRoleCreationNotPermitted: The provided credentials do not have permission to "
                "create it"
            ),
            "no_service_linked_role",
        ),
        (
            (
                "User: arn:aws:sts::1:assumed-role/x is not authorized to perform: iam:CreateServiceLinkedRole on "
                "resource: x"
            ),
            "no_service_linked_role",
        ),
        ("VALIDATION_ERROR: Service role fruits-emr-service has insufficient EC2 permissions", "cluster_settings"),
        ("Could not execute broadcast in 300 secs", "time_out"),
        ("java.util.concurrent.TimeoutException: Futures timed out after [300 seconds]", "time_out"),
        ("a plain sentence about a fruit", "unknown"),
        ("", "unknown"),
    ],
)
def test_words_have_their_cause(words: str, name: str) -> None:
    assert cause_of(words).name == name
