from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from fruit_pipeline.failures.logs import have_arrived, logs_prefix, read_bootstrap_logs, read_step_logs
from fruit_pipeline.lake.store import Lake
from tests.plugins.sample_lake import BUCKET, MemoryS3

ENDED = datetime(2026, 11, 22, 8, 30, 0, 500_000, tzinfo=UTC)
STEP = "logs/j-1/steps/s-1/"
NODE = "logs/j-1/node/i-1/bootstrap-actions/1/"


@pytest.fixture
def lake() -> Lake:
    return Lake(MemoryS3(), BUCKET)


def put(lake: Lake, key: str, text: str) -> None:
    lake.write(key, gzip.compress(text.encode()), "application/gzip")


@pytest.mark.parametrize("seconds", [-0.5, 0, 240])
def test_logs_are_whole_when_both_were_copied_after_the_end(seconds: float) -> None:
    later = ENDED + timedelta(seconds=seconds)  # S3 tells whole seconds
    assert have_arrived({f"{STEP}stdout.gz": later, f"{STEP}stderr.gz": later}, "s-1", ENDED)
    assert not have_arrived({f"{STEP}stderr.gz": later, f"{STEP}controller.gz": later}, "s-1", ENDED)


def test_a_copy_made_while_the_step_ran_lacks_its_end() -> None:
    before = ENDED - timedelta(minutes=3)
    assert not have_arrived({f"{STEP}stdout.gz": before, f"{STEP}stderr.gz": before}, "s-1", ENDED)
    # Of a log that did not grow any more there is no later copy.
    assert have_arrived({f"{STEP}stdout.gz": before, f"{STEP}stderr.gz": ENDED}, "s-1", ENDED)
    assert not have_arrived({}, "s-1", ENDED)


def test_one_nodes_bootstrap_log_is_enough() -> None:
    assert have_arrived({f"{NODE}stderr.gz": ENDED}, None, None)
    assert not have_arrived({f"{NODE}stdout.gz": ENDED}, None, None)
    assert not have_arrived({"logs/j-1/node/i-1/daemons/instance-state.gz": ENDED}, None, None)


def test_reads_what_is_there(lake: Lake) -> None:
    assert read_step_logs(lake, "j-1", "s-1") == {}
    put(lake, f"{STEP}stderr.gz", "ValueError: Äpfel\n")
    assert read_step_logs(lake, "j-1", "s-1") == {"stderr": "ValueError: Äpfel\n"}
    assert logs_prefix("j-1", "s-1") == STEP


def test_reads_the_last_bootstrap_action_of_one_node(lake: Lake) -> None:
    assert read_bootstrap_logs(lake, "j-1") == {}
    put(lake, f"{NODE}stderr.gz", "the first")
    put(lake, "logs/j-1/node/i-1/bootstrap-actions/2/stderr.gz", "the second")
    put(lake, "logs/j-1/node/i-2/bootstrap-actions/1/stdout.gz", "another node's first")
    assert read_bootstrap_logs(lake, "j-1") == {"stderr": "the second"}
    assert read_bootstrap_logs(lake, "j-1", "On the slave instance (i-2), bootstrap action 1") == {
        "stdout": "another node's first"
    }


def test_a_log_that_can_not_be_read_or_unpacked_says_so_instead_of_hiding_the_failure(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write(f"{STEP}stdout.gz", b"no gzip", "application/gzip")
    lake.write(f"{STEP}stderr.gz", gzip.compress(b"x" * 1000)[:20], "application/gzip")
    logs = read_step_logs(lake, "j-1", "s-1")
    assert all("can't be unpacked" in text for text in logs.values())
    assert len(logs) == 2

    def refuse(_: str) -> bytes:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")

    monkeypatch.setattr(lake, "read_bytes", refuse)
    assert "AccessDenied" in read_step_logs(lake, "j-1", "s-1")["stdout"]
