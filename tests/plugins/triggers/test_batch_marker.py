# ruff: noqa: N803  # boto3 names its arguments so

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, Self
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

BUCKET, KEY = "my-lake", "raw/ingest_date=2026-11-22/_SUCCESS"
THERE: list[dict[str, str]] = [{"Key": KEY}]
NOT_YET: list[dict[str, str]] = []
# A key that only begins like the marker's is none.
SOMETHING_ELSE = [{"Key": f"{KEY}.tmp"}]


class S3:
    """Plays the hook and its client, with one answer for each look; the last one stays. An exception is raised."""

    meta = Mock()

    def __init__(self, *answers: Any, connecting_fails: int = 0) -> None:
        self.answers = list(answers)
        self.connecting_fails = connecting_fails
        self.connections = 0

    async def get_async_conn(self) -> Self:
        self.connections += 1
        if self.connections <= self.connecting_fails:
            raise NoCredentialsError
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def list_objects_v2(self, *, Bucket: str, Prefix: str) -> Any:
        assert (Bucket, Prefix) == (BUCKET, KEY)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {"Contents": answer} if answer else {}


def trigger_until(until: datetime) -> Any:
    from fruit_pipeline.triggers.batch_marker import BatchMarkerTrigger

    waiting = {
        "region": "eu-west-1",
        "aws_conn_id": "aws_default",
        "lake_bucket": BUCKET,
        "poll_seconds": 0,
        "until": until.isoformat(),
    }
    return BatchMarkerTrigger(waiting, KEY)


def status_of(s3: S3, *, minutes: float = 60) -> str:
    trigger = trigger_until(datetime.now(UTC) + timedelta(minutes=minutes))
    trigger._s3_hook = lambda: s3

    async def first_event() -> Any:
        return await trigger.wait()

    return str(asyncio.run(first_event()).payload["status"])


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "ListObjectsV2")


def test_the_marker_alone_ends_the_waiting() -> None:
    s3 = S3(NOT_YET, SOMETHING_ELSE, THERE)
    assert status_of(s3) == "ended"
    assert s3.answers == [THERE]


@pytest.mark.parametrize(
    "failing",
    [
        error("InternalError"),
        error("ExpiredToken"),
        error("AccessDenied"),
        EndpointConnectionError(endpoint_url="x"),
        TimeoutError(),
        ValueError(),
    ],
)
def test_hours_of_errors_do_not_end_it_and_each_makes_a_new_connection(failing: Exception) -> None:
    s3 = S3(*[failing] * 500, NOT_YET, THERE)
    assert status_of(s3) == "ended"
    assert s3.connections == 501


def test_it_waits_for_credentials_too() -> None:
    assert status_of(S3(THERE, connecting_fails=500)) == "ended"


@pytest.mark.parametrize("answer", [NOT_YET, error("ExpiredToken")])
def test_its_end_is_a_moment_that_errors_do_not_move(answer: Any) -> None:
    assert status_of(S3(answer), minutes=0.0005) == "time_out"


def test_a_restarted_triggerer_goes_on_until_the_same_moment() -> None:
    before = trigger_until(datetime(2026, 11, 23, 6, tzinfo=UTC))
    path, fields = before.serialize()
    module, _, name = path.rpartition(".")
    again = getattr(import_module(module), name)(**fields)
    assert (again.waiting, again.key) == (before.waiting, before.key)
