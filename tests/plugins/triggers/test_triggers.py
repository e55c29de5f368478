# ruff: noqa: ARG002, N803  # boto3 names its arguments so

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

import boto3
import pytest
from asgiref.sync import sync_to_async
from botocore.exceptions import ClientError, CredentialRetrievalError, NoCredentialsError, ReadTimeoutError

from fruit_contract.lake import failure_key, progress_key
from tests.plugins.triggers.async_body import Body

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

BUCKET = "my-lake"
RUN_ID = "manual__1"
NOW = datetime.now(UTC)
LOGS = "logs/j-1/steps/s-1/"
PENDING, RUNNING, FAILED, COMPLETED = "PENDING", "RUNNING", "FAILED", "COMPLETED"


class NoSuchKeyError(Exception):
    pass


class S3:
    meta = Mock()
    exceptions = SimpleNamespace(NoSuchKey=NoSuchKeyError)

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.modified: dict[str, datetime] = {}
        self.lists = 0

    async def get_object(self, *, Bucket: str, Key: str) -> Any:
        if Key not in self.objects:
            raise NoSuchKeyError(Key)
        return {"Body": Body(self.objects[Key])}

    async def list_objects_v2(self, *, Bucket: str, Prefix: str) -> Any:
        self.lists += 1
        found = {key: moment for key, moment in self.modified.items() if key.startswith(Prefix)}
        return {"Contents": [{"Key": key, "LastModified": moment} for key, moment in found.items()]} if found else {}


class Emr:
    """Tells what `states` hold, one after another; the last one stays."""

    def __init__(self, *states: Any, started: bool = True, cluster: dict[str, Any] | None = None) -> None:
        self.states = list(states)
        self.started = started
        self.cluster = cluster or {"Id": "j-1", "Name": "fruits x", "Status": {"State": "RUNNING"}}
        self.cancelled: list[str] = []
        self.looks = 0

    def _next(self) -> Any:
        self.looks += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return state

    async def describe_step(self, *, ClusterId: str, StepId: str) -> Any:
        state = self._next()
        timeline = {"StartDateTime": NOW, "EndDateTime": NOW} if self.started else {}
        return {"Step": {"Id": StepId, "Status": {"State": state, "Timeline": timeline}}}

    async def describe_cluster(self, *, ClusterId: str) -> Any:
        return {"Cluster": self.cluster}

    async def cancel_steps(self, *, ClusterId: str, StepIds: list[str], StepCancellationOption: str) -> Any:
        self.cancelled += StepIds
        return {"CancelStepsInfoList": [{"StepId": step_id, "Status": "SUBMITTED"} for step_id in StepIds]}


class Hook:
    def __init__(self, client: Any) -> None:
        self.client = client

    async def get_async_conn(self) -> Hook:
        return self

    async def __aenter__(self) -> Any:
        return self.client

    async def __aexit__(self, *_: object) -> None: ...


def waiting(minutes: float = 60) -> dict[str, Any]:
    until = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()
    return {
        "region": "eu-west-1",
        "aws_conn_id": "aws_default",
        "lake_bucket": BUCKET,
        "poll_seconds": 0,
        "until": until,
    }


def step_trigger(minutes: float = 60, log_wait_minutes: float = 5) -> Any:
    from fruit_pipeline.triggers.step_end import StepEndTrigger

    return StepEndTrigger(waiting(minutes), "j-1", "s-1", "extract_features", RUN_ID, log_wait_minutes)


def event_of(
    trigger: Any, emr: Emr, s3: S3 | None = None, *, emr_hook: Callable[[], Hook] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Returns the event, and what was said in the task's log."""
    said: list[str] = []
    trigger._emr_hook, trigger._s3_hook = (emr_hook or (lambda: Hook(emr))), (lambda: Hook(s3 or S3()))
    trigger._log = SimpleNamespace(
        debug=lambda *_: None,
        info=lambda text, *words: said.append(text % words),
        warning=lambda text, *words: said.append("WARNING " + text % words),
    )

    async def first() -> Any:
        return (await trigger.wait()).payload

    return asyncio.run(asyncio.wait_for(first(), 20)), said


def progress(done: int, updated_at: datetime | None = None) -> bytes:
    fields = {
        "run_id": RUN_ID,
        "step": "extract_features",
        "total": 400,
        "done": done,
        "rejected": 2,
        "images_per_second": 50.0,
    }
    return json.dumps(
        fields | {"seconds": 3.0, "updated_at": (updated_at or datetime.now(UTC)).isoformat(), "state": "computing"}
    ).encode()


def test_tells_when_the_step_has_ended_and_says_each_piece_of_news_once() -> None:
    event, said = event_of(step_trigger(), Emr(PENDING, PENDING, RUNNING, RUNNING, COMPLETED))
    assert event == {"status": "ended", "state": COMPLETED, "step_id": "s-1"}
    assert said == ["The cluster is RUNNING, the step waits for it.", "The step is RUNNING."]


def test_says_how_far_the_step_has_come() -> None:
    s3 = S3()
    s3.objects[progress_key(RUN_ID, "extract_features")] = progress(100)
    _, said = event_of(step_trigger(), Emr(RUNNING, COMPLETED), s3)
    assert said[0].startswith("extract_features: 100 of 400 images")
    assert "2 rejected" in said[0]


def test_what_an_earlier_step_of_the_run_has_left_is_no_progress() -> None:
    s3 = S3()
    s3.objects[progress_key(RUN_ID, "extract_features")] = progress(400, NOW - timedelta(minutes=1))
    assert event_of(step_trigger(), Emr(RUNNING, COMPLETED), s3)[1] == ["The step is RUNNING."]


def test_a_progress_that_can_not_be_read_keeps_nobody_from_waiting() -> None:
    class Broken(S3):
        async def get_object(self, *, Bucket: str, Key: str) -> Any:
            raise AttributeError("a stream that was cut off")

    event, said = event_of(step_trigger(), Emr(RUNNING, COMPLETED), Broken())
    assert (event["state"], said) == (COMPLETED, ["The step is RUNNING."])


@pytest.mark.parametrize(
    "error", [ReadTimeoutError(endpoint_url="x"), ClientError({"Error": {"Code": "ThrottlingException"}}, "x")]
)
def test_an_emr_that_does_not_answer_for_a_while_is_asked_again(error: Exception) -> None:
    event, said = event_of(step_trigger(), Emr(RUNNING, *[error] * 15, COMPLETED))
    assert event["state"] == COMPLETED
    assert said[1].startswith("WARNING AWS does not answer")


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ExpiredTokenException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "x"),
        NoCredentialsError(),
        CredentialRetrievalError(provider="p", error_msg="e"),
    ],
)
def test_credentials_that_are_renewed_meanwhile_do_not_end_the_wait(error: Exception) -> None:
    trigger, old, new = step_trigger(), Emr(RUNNING, error), Emr(RUNNING, COMPLETED)
    made: list[Emr] = []

    def hook() -> Hook:
        made.append(old if len(made) < 3 else new)
        return Hook(made[-1])

    event, said = event_of(trigger, old, emr_hook=hook)
    assert event["state"] == COMPLETED
    assert made == [old, old, old, new]
    assert said[1].startswith("WARNING AWS does not answer")


@pytest.mark.parametrize("owner", ["", "123456789012"])
def test_requests_of_triggers_name_the_lakes_owner(owner: str) -> None:
    from fruit_pipeline.triggers.batch_marker import BatchMarkerTrigger
    from fruit_pipeline.triggers.step_end import StepEndTrigger

    client = boto3.client("s3", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
    sent: list[dict[str, str]] = []

    class Asked:
        meta = client.meta
        exceptions = client.exceptions

        async def list_objects_v2(self, **request: Any) -> Any:
            sent.append(dict(request))
            client.meta.events.emit(
                "before-parameter-build.s3.ListObjectsV2",
                params=sent[-1],
                model=client.meta.service_model.operation_model("ListObjectsV2"),
                context={},
            )
            return {"Contents": [{"Key": request["Prefix"]}]}

    with_owner = waiting() | {"lake_owner": owner}
    trigger = BatchMarkerTrigger(with_owner, "raw/ingest_date=2026-01-01/_SUCCESS")
    assert event_of(trigger, Emr(RUNNING), cast("S3", Asked()))[0] == {"status": "ended"}
    assert [request.get("ExpectedBucketOwner", "") for request in sent] == [owner]
    assert StepEndTrigger(with_owner, "j-1", "s-1", "x", RUN_ID, 5).serialize()[1]["waiting"]["lake_owner"] == owner


def test_a_person_who_ends_the_task_while_the_connection_is_made_is_heard() -> None:
    """Airflow calls on_kill if the cancellation comes back with its own word."""
    is_made = threading.Event()

    class SlowHook(Hook):
        async def get_async_conn(self) -> Hook:
            await sync_to_async(is_made.wait)()
            return self

    async def cancelled() -> tuple[Any, ...]:
        trigger = step_trigger()
        trigger._emr_hook = lambda: SlowHook(Emr(RUNNING))
        heard: list[Any] = []

        async def as_airflow_runs_it() -> None:
            try:
                await anext(trigger.run())
            except asyncio.CancelledError as error:
                # Python 3.10 tells the word in here alone, and not whoever awaits this task.
                heard.extend(error.args)

        running = asyncio.ensure_future(as_airflow_runs_it())
        await asyncio.sleep(0.1)
        running.cancel("a person")
        await asyncio.wait([running], timeout=20)
        is_made.set()
        return tuple(heard)

    assert asyncio.run(cancelled()) == ("a person",)


@pytest.mark.parametrize("outcome", [COMPLETED, RuntimeError("a defect")])
@pytest.mark.parametrize("settle_seconds", [0, 3600])
def test_the_event_waits_until_the_scheduler_has_heard_that_the_task_was_deferred(
    monkeypatch: pytest.MonkeyPatch, settle_seconds: float, outcome: object
) -> None:
    from fruit_pipeline.triggers import wait

    monkeypatch.setattr(wait, "SETTLE_SECONDS", settle_seconds)
    trigger, emr = step_trigger(), Emr(outcome)
    trigger._emr_hook, trigger._s3_hook = (lambda: Hook(emr)), (lambda: Hook(S3()))

    async def is_given() -> bool:
        running = asyncio.ensure_future(anext(trigger.run()))
        await asyncio.wait([running], timeout=0.5 if settle_seconds else 20)
        given = running.done()
        running.cancel()
        return given

    assert asyncio.run(is_given()) == (settle_seconds == 0)


def test_an_emr_that_never_answers_or_refuses_is_an_error_and_no_end() -> None:
    from fruit_pipeline.triggers.emr_wait import LOOKS_THAT_MAY_FAIL

    silent = Emr(ReadTimeoutError(endpoint_url="x"))
    assert event_of(step_trigger(), silent)[0]["status"] == "error"
    assert silent.looks == LOOKS_THAT_MAY_FAIL
    refusing = Emr(ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DescribeStep"))
    assert event_of(step_trigger(), refusing)[0]["status"] == "error"
    assert refusing.looks == 1


def test_gives_up_at_a_moment_that_a_restart_does_not_move() -> None:
    trigger = step_trigger(minutes=-1)
    path, fields = trigger.serialize()
    again = type(trigger)(**json.loads(json.dumps(fields)))
    assert path == "fruit_pipeline.triggers.step_end.StepEndTrigger"
    assert again.serialize() == trigger.serialize()
    assert event_of(again, Emr(RUNNING))[0]["status"] == "time_out"


def test_a_step_that_ended_badly_is_told_when_its_whole_logs_are_there() -> None:
    s3 = S3()
    s3.modified = {f"{LOGS}stderr.gz": NOW - timedelta(minutes=4), f"{LOGS}stdout.gz": NOW - timedelta(minutes=4)}

    class LateLogs(Emr):
        async def describe_step(self, *, ClusterId: str, StepId: str) -> Any:
            if self.looks == 3:
                s3.modified = dict.fromkeys(s3.modified, NOW + timedelta(minutes=3))
            return await super().describe_step(ClusterId=ClusterId, StepId=StepId)

    event, said = event_of(step_trigger(), LateLogs(FAILED), s3)
    assert event == {"status": "ended", "state": FAILED, "step_id": "s-1"}
    assert s3.lists == 1 + 4  # first whether the step told why itself
    assert said == [
        "The step ended as FAILED. Waiting for its logs, which EMR copies to the lake within about five minutes."
    ]


def test_a_step_that_told_its_failure_itself_needs_no_logs() -> None:
    s3 = S3()
    s3.modified = {failure_key(RUN_ID, "extract_features"): NOW}
    event, said = event_of(step_trigger(), Emr(FAILED), s3)
    assert event == {"status": "ended", "state": FAILED, "step_id": "s-1"}
    assert (s3.lists, said) == (1, [])


def test_what_an_earlier_try_told_keeps_no_one_from_waiting_for_the_logs() -> None:
    s3 = S3()
    s3.modified = {failure_key(RUN_ID, "extract_features"): NOW - timedelta(hours=2)}
    _, said = event_of(step_trigger(log_wait_minutes=0.002), Emr(FAILED), s3)
    assert "Waiting for its logs" in said[0]


def test_logs_that_never_come_are_waited_for_only_so_long() -> None:
    event, _ = event_of(step_trigger(log_wait_minutes=0.002), Emr(FAILED))
    assert event == {"status": "ended", "state": FAILED, "step_id": "s-1"}


def test_a_step_that_never_started_has_no_logs_to_wait_for() -> None:
    s3 = S3()
    assert event_of(step_trigger(), Emr("CANCELLED", started=False), s3)[0]["state"] == "CANCELLED"
    assert s3.lists == 0


def test_for_a_failed_bootstrap_action_the_nodes_logs_are_waited_for() -> None:
    s3 = S3()
    reason = {"Code": "BOOTSTRAP_FAILURE", "Message": "bootstrap action 1 returned a non-zero return code"}
    ended = {
        "Id": "j-1",
        "Name": "fruits x",
        "Status": {"State": "TERMINATED_WITH_ERRORS", "StateChangeReason": reason},
    }

    class LateLogs(Emr):
        async def describe_step(self, *, ClusterId: str, StepId: str) -> Any:
            if self.looks == 2:
                s3.modified = {"logs/j-1/node/i-1/bootstrap-actions/1/stderr.gz": NOW}
            return await super().describe_step(ClusterId=ClusterId, StepId=StepId)

    assert event_of(step_trigger(), LateLogs("CANCELLED", started=False, cluster=ended), s3)[0]["state"] == "CANCELLED"
    assert s3.lists == 3


def test_a_person_who_ends_the_task_ends_the_step() -> None:
    trigger, emr = step_trigger(), Emr(RUNNING)
    trigger._emr_hook = lambda: Hook(emr)
    asyncio.run(trigger.on_kill())
    assert emr.cancelled == ["s-1"]


def test_waits_until_all_clusters_have_ended() -> None:
    from fruit_pipeline.triggers.clusters_end import ClustersEndTrigger

    class Ending(Emr):
        async def describe_cluster(self, *, ClusterId: str) -> Any:
            return {"Cluster": {"Id": ClusterId, "Status": {"State": self._next()}}}

    emr = Ending("TERMINATING", "TERMINATED", "TERMINATING", "TERMINATED_WITH_ERRORS", "TERMINATED")
    event, _ = event_of(ClustersEndTrigger(waiting(), ["j-1", "j-2"]), emr)
    assert set(event["states"].values()) <= {"TERMINATED", "TERMINATED_WITH_ERRORS"}
    assert emr.looks == 6
