"""docs/operations.md has the table of causes; FRUITS_WRITE_DOCS=1 writes it there."""

from __future__ import annotations

import os
import re

import pytest

from fruit_contract.failures.causes import CODE_ERROR, UNKNOWN, Cause
from fruit_contract.failures.rules import CAUSES, cause_of
from fruit_pipeline.settings import VARIABLES
from local_cloud.project import PROJECT

OPERATIONS = PROJECT / "docs" / "operations.md"
BEGIN = "<!-- causes, written by tests/fruit_contract/failures/test_causes.py -->"
END = "<!-- end of the causes -->"
# The steps catch two of their errors themselves (a reject; no PCA yet), and one is a base class that nobody raises.
NOT_ENDING_A_STEP = {"UnreadableImageError", "TooFewImagesError", "RefusedError"}


def table() -> str:
    """Returns all causes as a Markdown table, as docs/operations.md has it."""
    rows = [("cause", "usually", "what to do", "tried again"), ("---",) * 4]
    rows += [
        (f"`{cause.name}`", cause.usually, cause.what_to_do, "yes, while its cluster is up" if cause.passes else "no") for cause in CAUSES
    ]
    # Markdown would take <words> for a tag and | for the end of a cell.
    lines = (" | ".join(cell.replace("<", "&lt;").replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join(f"| {line} |" for line in lines)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_every_cause_says_what_to_do_in_a_line(cause: Cause) -> None:
    for words in (cause.usually, cause.what_to_do):
        assert words.endswith((".", "?"))
        assert "\n" not in words
        assert len(words) < 500
    assert re.fullmatch(r"[a-z_]+", cause.name)


def test_names_are_unique() -> None:
    names = [cause.name for cause in CAUSES]
    assert len(set(names)) == len(names)


def test_advice_names_only_settings_files_and_targets_that_there_are() -> None:
    advice = " ".join(f"{cause.usually} {cause.what_to_do}" for cause in CAUSES)
    assert set(re.findall(r"FRUITS_[A-Z_]+[A-Z]", advice)) <= set(VARIABLES.values())
    for file in set(re.findall(r"(?:bootstrap|docs)/[\w./-]+\w", advice)):
        assert (PROJECT / file).exists()
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", advice)) <= targets


def test_only_what_may_pass_by_itself_is_tried_again() -> None:
    assert {cause.name for cause in CAUSES if cause.passes} == {"another_writer", "node_lost", "throttled", "network"}


def test_every_error_of_the_steps_has_a_cause() -> None:
    classes = re.compile(r"^class (\w+Error)\(", re.MULTILINE)
    folders = (PROJECT / "spark_jobs", PROJECT / "fruit_contract")
    own = {name for folder in folders for file in folder.rglob("*.py") for name in classes.findall(file.read_text(encoding="utf-8"))}
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
    assert cause_of(f"fruit_features.lake.ledger.{error}: The ledger of 2026-11-22 says 404 images, of 500 that are there").name == name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("Container exited with a non-zero exit code 137. Container killed on request. Exit code is 137", "out_of_memory"),
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
            "An error occurred (ThrottlingException) when calling the DescribeStep operation (reached max retries: 9): Rate exceeded",
            "throttled",
        ),
        ("(Service: Amazon S3; Status Code: 403; Error Code: AccessDenied)", "permission"),
        ("(Service: Amazon S3; Status Code: 404; Error Code: NoSuchKey)", "key_not_found"),
        ("User: arn:aws:sts::1:assumed-role/x is not authorized to perform: kms:Decrypt", "permission"),
        ("Failed to provision instances due to throttling from Amazon EC2", "throttled"),
        ("You have exceeded your EC2 instance limit", "capacity"),
        ("VALIDATION_ERROR: You have requested more vCPU capacity than your current vCPU limit of 32 allows for", "capacity"),
        ("VALIDATION_ERROR: Instance type 'm5.xlarge' is not supported in this Availability Zone", "cluster_settings"),
        (
            "VALIDATION_ERROR: The request failed: service-linked role AWSServiceRoleForEMRCleanup does not exist",
            "no_service_linked_role",
        ),
        (
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted: The provided credentials do not have permission to create it",
            "no_service_linked_role",
        ),
        (
            "User: arn:aws:sts::1:assumed-role/x is not authorized to perform: iam:CreateServiceLinkedRole on resource: x",
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


def test_the_table_has_a_row_of_four_cells_for_every_cause() -> None:
    rows = table().splitlines()
    assert len(rows) == 2 + len(CAUSES)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    for row, cause in zip(rows[2:], CAUSES, strict=True):
        assert row.startswith(f"| `{cause.name}` | ")
        assert row.endswith(" | yes, while its cluster is up |" if cause.passes else " | no |")


def test_the_operations_manual_has_this_table() -> None:
    page = OPERATIONS.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin
    assert end
    wanted = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if os.environ.get("FRUITS_WRITE_DOCS"):
        OPERATIONS.write_text(wanted, encoding="utf-8")
    assert page == wanted or os.environ.get("FRUITS_WRITE_DOCS"), "FRUITS_WRITE_DOCS=1 writes the table anew"
