from __future__ import annotations

import asyncio
import json
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from fruit_contract.lake import image_key, success_marker_key
from fruit_pipeline.request.events import BatchEvents, ingest_dates_of_events
from fruit_pipeline.request.params import dates_of_run
from fruit_pipeline.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

BUCKET = "fruits-lake"
DAY = "2026-11-22"
QUEUE_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/fruit-image-batches"
SETTINGS = Settings(lake_bucket=BUCKET, batch_poll_seconds=7)
DAILY = [datetime(2026, 11, day, tzinfo=UTC) for day in (20, 21, 22)]


def serialised(queue_url: str, settings: Settings = SETTINGS) -> Any:
    """Returns a DAG with this schedule as the scheduler gets it, through JSON."""
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    from fruit_pipeline.request.schedule import batch_schedule

    dag = DAG("flow", schedule=batch_schedule(settings, settings.lake_bucket, queue_url), catchup=False)
    return DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))


def watchers(queue_url: str, settings: Settings = SETTINGS) -> list[Any]:
    from fruit_pipeline.request.schedule import batch_schedule

    schedule: Any = batch_schedule(settings, settings.lake_bucket, queue_url)
    return [watcher for asset in schedule.asset_condition.objects for watcher in asset.watchers]


@pytest.mark.parametrize("queue_url", ["", QUEUE_URL])
def test_the_daily_run_stays_and_backfills_are_accepted(queue_url: str) -> None:
    """A backfill asks the stored DAG for `periodic` and for the runs between two dates."""
    dag = serialised(queue_url)
    assert dag.timetable.periodic
    assert dag.timetable.can_be_scheduled
    assert not dag.timetable.partitioned
    runs = list(dag.iter_dagrun_infos_between(DAILY[0], DAILY[-1]))
    assert [run.logical_date for run in runs] == DAILY
    assert [run.run_after for run in runs] == DAILY


@pytest.mark.parametrize(
    ("browser", "timezone"),
    [("Asia/Tokyo", "UTC"), ("Asia/Tokyo", "Asia/Tokyo"), ("Europe/Berlin", "UTC"), ("Europe/Berlin", "Europe/Berlin")],
)
def test_a_backfill_of_whole_days_in_a_browser_has_a_run_for_each_of_them(browser: str, timezone: str) -> None:
    """The form sends the first moment of the first day and the last of the last, by the clock that Airflow's UI is set
    to.
    """
    settings = Settings(lake_bucket=BUCKET, timezone=timezone)
    first, last = (
        datetime(2026, 3, 27, tzinfo=ZoneInfo(browser)),
        datetime(2026, 3, 30, 23, 59, 59, 999000, tzinfo=ZoneInfo(browser)),
    )
    runs = serialised("", settings).iter_dagrun_infos_between(first.astimezone(UTC), last.astimezone(UTC))
    days = [
        dates_of_run({}, "backfill", run.logical_date, run.run_after, lookback_days=0, boundary=settings.day_boundary)
        for run in runs
    ]
    assert [day for found in days for day in found.asked] == ["2026-03-27", "2026-03-28", "2026-03-29", "2026-03-30"]


def test_the_settings_decide_when_the_day_begins() -> None:
    at_six = Settings(lake_bucket=BUCKET, schedule="0 6 * * *")
    for queue_url in ("", QUEUE_URL):
        (run,) = serialised(queue_url, at_six).iter_dagrun_infos_between(DAILY[0], DAILY[1])
        assert run.logical_date == datetime(2026, 11, 20, 6, tzinfo=UTC)


def test_the_day_begins_at_midnight_of_the_farms_time_zone_in_summer_and_winter() -> None:
    in_berlin = serialised("", Settings(lake_bucket=BUCKET, timezone="Europe/Berlin"))
    first, last = datetime(2026, 3, 27, 23, tzinfo=UTC), datetime(2026, 3, 30, 22, tzinfo=UTC)
    runs = [run.logical_date.astimezone(UTC) for run in in_berlin.iter_dagrun_infos_between(first, last)]
    assert [(run.day, run.hour) for run in runs] == [(27, 23), (28, 23), (29, 22), (30, 22)]


def test_without_a_queue_there_is_nothing_but_the_daily_schedule() -> None:
    from airflow.sdk import CronTriggerTimetable

    from fruit_pipeline.request.schedule import batch_schedule

    assert batch_schedule(SETTINGS, SETTINGS.lake_bucket, "") == CronTriggerTimetable("0 0 * * *", timezone="UTC")
    assert serialised("").timetable.asset_condition.as_expression() is None


def test_with_a_queue_new_objects_in_the_raw_zone_start_a_run_too() -> None:
    from airflow.timetables.assets import AssetOrTimeSchedule

    timetable = serialised(QUEUE_URL).timetable
    assert isinstance(timetable, AssetOrTimeSchedule)
    ((_, asset),) = timetable.asset_condition.iter_assets()
    assert (asset.name, asset.uri) == ("fruit_image_batches", "s3://fruits-lake/raw")


def test_the_watcher_asks_the_queue_as_the_settings_say_and_opens_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    (watcher,) = watchers(QUEUE_URL)
    classpath, arguments = watcher.trigger.serialize()
    assert classpath == "airflow.providers.amazon.aws.triggers.sqs.SqsSensorTrigger"
    expected = {
        "sqs_queue": QUEUE_URL,
        "aws_conn_id": "aws_default",
        "region_name": "eu-west-1",
        "max_messages": 10,
        "wait_time_seconds": 20,
        "waiter_delay": 7,
        "delete_message_on_reception": True,
    }
    assert {name: arguments[name] for name in expected} == expected


def test_the_trigger_stays_the_same_one_at_every_parse() -> None:
    """Airflow finds a watcher's running trigger again by a hash of its arguments: if it changed, messages would be lost
    at every parse.
    """
    from airflow.models.trigger import Trigger
    from airflow.serialization.encoders import encode_trigger
    from airflow.triggers.base import BaseEventTrigger

    parsed = [encode_trigger(watcher.trigger) for watcher in watchers(QUEUE_URL) + watchers(QUEUE_URL)]
    stored = Trigger(classpath=parsed[0]["classpath"], kwargs=parsed[0]["kwargs"])
    hashes = {BaseEventTrigger.hash(trigger["classpath"], trigger["kwargs"]) for trigger in parsed}
    assert hashes == {BaseEventTrigger.hash(stored.classpath, stored.kwargs)}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Yields clients of an S3 and an SQS for one test. The two tell each other, and Airflow's connection leads to them
    as well.
    """
    import boto3
    from moto.server import ThreadedMotoServer

    for name in [name for name in os.environ if name.startswith(("AWS_", "AIRFLOW_CONN_"))]:
        monkeypatch.delenv(name)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        extra = {"service_config": {"sqs": {"endpoint_url": address}}}
        connection = {"conn_type": "aws", "login": "testing", "password": "testing", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        session = boto3.Session("testing", "testing", region_name="eu-west-1")
        clients = {name: session.client(name, endpoint_url=address) for name in ("s3", "sqs")}
        yield clients
        for client in clients.values():
            client.close()
    finally:
        server.stop()


def tell_of_new_markers(aws: dict[str, Any]) -> str:
    """Has the bucket tell a queue of new markers, as in bootstrap/README.md, and returns the queue's address."""
    queue_url = str(aws["sqs"].create_queue(QueueName="fruit-image-batches")["QueueUrl"])
    queue = aws["sqs"].get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rules = [{"Name": "prefix", "Value": "raw/"}, {"Name": "suffix", "Value": "_SUCCESS"}]
    told = {"QueueArn": queue, "Events": ["s3:ObjectCreated:*"], "Filter": {"Key": {"FilterRules": rules}}}
    aws["s3"].create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    aws["s3"].put_bucket_notification_configuration(
        Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [told]}
    )
    return queue_url


async def first_event(trigger: Any) -> Any:
    async for event in trigger.run():
        return event
    return None


def test_a_marker_in_s3_reaches_the_real_trigger_names_its_day_and_leaves_the_queue_empty(aws: dict[str, Any]) -> None:
    from airflow.providers.amazon.aws.triggers.sqs import SqsSensorTrigger

    queue_url = tell_of_new_markers(aws)
    for key in (image_key(DAY, "Kiwi", "1.jpg"), success_marker_key(DAY)):
        aws["s3"].put_object(Bucket=BUCKET, Key=key, Body=b"")
    (watcher,) = watchers(queue_url)
    _, arguments = watcher.trigger.serialize()

    event = asyncio.run(asyncio.wait_for(first_event(SqsSensorTrigger(**arguments)), timeout=60))

    # What Airflow keeps of it with the asset event: airflow.models.trigger.Trigger.submit_event.
    extra = json.loads(json.dumps({"from_trigger": True, "payload": event.payload}))
    assert ingest_dates_of_events([extra], BUCKET) == BatchEvents((DAY,), ())
    count = "ApproximateNumberOfMessages"
    left = aws["sqs"].get_queue_attributes(QueueUrl=queue_url, AttributeNames=[count, f"{count}NotVisible"])[
        "Attributes"
    ]
    assert set(left.values()) == {"0"}
