# ruff: noqa: N803  # boto3 names its arguments so

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import Mock

import pytest
from botocore.exceptions import EndpointConnectionError

from fruit_contract.lake import pca_claims_key
from tests.plugins.triggers.async_body import Body

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

BUCKET, RUN_ID = "my-lake", "manual__own"
SINCE = "2026-11-22T08:00:00+00:00"
FREE: list[str] = []


class NoSuchKeyError(Exception):
    pass


class S3:
    """Plays the hook and its client: each look finds who has the turn, or an error. The last answer stays."""

    meta = Mock()

    exceptions = SimpleNamespace(NoSuchKey=NoSuchKeyError)

    def __init__(self, *looks: Any) -> None:
        self.looks = list(looks)

    async def get_async_conn(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def get_object(self, *, Bucket: str, Key: str) -> Any:
        assert (Bucket, Key) == (BUCKET, pca_claims_key())
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, Exception):
            raise found
        if isinstance(found, bytes):
            return {"Body": Body(found)}
        claims = [{"run_id": run_id, "names": ["pca"], "since": SINCE, "cluster_id": ""} for run_id in found]
        return {"Body": Body(json.dumps({"claims": claims, "write": "x"}).encode())}


def after(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


def event_of(s3: S3, *, minutes: float = 60, look_again: float = 60) -> tuple[str, list[str]]:
    """Returns the event's status, and what was said in the task's log."""
    from fruit_pipeline.triggers import claims_free

    waiting = {
        "region": "eu-west-1",
        "aws_conn_id": "aws_default",
        "lake_bucket": BUCKET,
        "poll_seconds": 0,
        "until": after(minutes),
    }
    first = claims_free.ClaimsFreeTrigger(waiting, pca_claims_key(), RUN_ID, ["pca"], after(look_again))
    path, fields = first.serialize()
    assert path == "fruit_pipeline.triggers.claims_free.ClaimsFreeTrigger"
    trigger: Any = claims_free.ClaimsFreeTrigger(**json.loads(json.dumps(fields)))  # as after a restart
    said: list[str] = []

    def say(text: str, *words: Any) -> None:
        said.append(text % words)

    trigger._s3_hook = lambda: s3
    trigger._log = SimpleNamespace(info=say, warning=say)

    async def first_event() -> Any:
        return (await trigger.wait()).payload["status"]

    return asyncio.run(asyncio.wait_for(first_event(), 20)), said


def test_waits_until_what_others_hold_is_given_back_and_says_who_holds_it() -> None:
    status, said = event_of(S3(["a"], ["a"], ["b"], FREE))
    assert status == "ended"
    assert [line.partition("hold: ")[2] for line in said] == [f"pca (a, since {SINCE}).", f"pca (b, since {SINCE})."]


@pytest.mark.parametrize("look", [FREE, [RUN_ID], NoSuchKeyError()])
def test_what_nobody_else_holds_is_free(look: Any) -> None:
    assert event_of(S3(look)) == ("ended", [])


def test_a_book_that_cannot_be_read_is_the_tasks_to_name() -> None:
    assert event_of(S3(b'{"claims'), minutes=0.05) == ("ended", [])


def test_the_task_looks_every_so_often_whether_the_others_still_live() -> None:
    status, said = event_of(S3(["a"]), look_again=0)
    assert (status, len(said)) == ("ended", 1)


def test_no_error_of_s3_ends_the_waiting() -> None:
    status, said = event_of(S3(["a"], EndpointConnectionError(endpoint_url="https://s3"), ["a"], FREE))
    assert status == "ended"
    assert any("S3 could not be asked for the claims of other runs" in line for line in said)


@pytest.mark.parametrize("look", [["a"], EndpointConnectionError(endpoint_url="https://s3")])
def test_the_waiting_has_an_end_that_a_restart_does_not_move(look: Any) -> None:
    assert event_of(S3(look), minutes=-1)[0] == "time_out"
