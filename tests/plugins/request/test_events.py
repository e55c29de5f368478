from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.lake import success_marker_key
from fruit_pipeline.request.events import BatchEvents, ingest_dates_of_events

BUCKET = "fruits-lake"
DAY = "2026-11-22"
MARKER = success_marker_key(DAY)


def s3_record(key: str, bucket: str = BUCKET, event: str = "ObjectCreated:Put") -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": event,
        "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "203.0.113.7"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": bucket},
            "object": {"key": quote_plus(key, safe="/"), "size": 0},
        },
    }


def s3_notification(*keys: str) -> dict[str, Any]:
    return {"Records": [s3_record(key) for key in keys]}


def eventbridge_notification(key: str, bucket: str = BUCKET) -> dict[str, Any]:
    return {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "detail": {"bucket": {"name": bucket}, "object": {"key": key, "size": 0}, "reason": "PutObject"},
    }


def through_sns(notification: object) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:t",
        "Message": json.dumps(notification),
    }


TEST_EVENT = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-11-22T00:00:00Z", "Bucket": BUCKET}


def extra(*notifications: object) -> dict[str, Any]:
    """Returns what Airflow stores for what its SQS trigger received."""
    messages = [
        {
            "MessageId": str(number),
            "ReceiptHandle": "handle",
            "MD5OfBody": "0",
            "Body": body if isinstance(body, str) else json.dumps(body),
        }
        for number, body in enumerate(notifications)
    ]
    return {"from_trigger": True, "payload": {"status": "success", "message_batch": messages}}


def read(*extras: object) -> BatchEvents:
    return ingest_dates_of_events(extras, BUCKET)


@pytest.mark.parametrize(
    "event",
    ["ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload", "ObjectCreated:Copy", "s3:ObjectCreated:Put"],
)
def test_a_marker_that_was_written_names_its_day(event: str) -> None:
    assert read(extra({"Records": [s3_record(MARKER, event=event)]})) == BatchEvents((DAY,), ())


def test_s3_writes_the_key_as_in_a_form() -> None:
    (record,) = s3_notification(MARKER)["Records"]
    assert record["s3"]["object"]["key"] == "raw/ingest_date%3D2026-11-22/_SUCCESS"


@pytest.mark.parametrize(
    "notification",
    [
        s3_notification(MARKER),
        eventbridge_notification(MARKER),
        eventbridge_notification(quote_plus(MARKER, safe="/")),
        through_sns(s3_notification(MARKER)),
        through_sns(eventbridge_notification(MARKER)),
    ],
)
def test_every_way_a_notification_comes_is_understood(notification: object) -> None:
    assert read(extra(notification)) == BatchEvents((DAY,), ())


def test_days_of_several_messages_and_events_are_sorted_and_named_once() -> None:
    one = extra(s3_notification(MARKER, success_marker_key("2026-11-20")), eventbridge_notification(MARKER))
    other = extra(s3_notification(success_marker_key("2025-12-31")))
    assert read(one, other, one) == BatchEvents(("2025-12-31", "2026-11-20", "2026-11-22"), ())


@pytest.mark.parametrize("notification", [TEST_EVENT, through_sns(TEST_EVENT)])
def test_s3s_test_event_says_nothing_and_is_nothing_to_report(notification: object) -> None:
    assert read(extra(notification)) == BatchEvents((), ())


def test_a_run_without_events_has_no_days() -> None:
    assert read() == BatchEvents((), ())


@pytest.mark.parametrize(
    "key",
    [
        f"raw/ingest_date={DAY}/Kiwi/1.jpg",
        f"raw/ingest_date={DAY}/Kiwi/_SUCCESS",
        f"raw/ingest_date={DAY}//_SUCCESS",
        f"features/ingest_date={DAY}/_SUCCESS",
        f"old/raw/ingest_date={DAY}/_SUCCESS",
        "raw/ingest_date=2026-02-30/_SUCCESS",
        "raw/ingest_date=٢٠٢٦-11-22/_SUCCESS",
        "raw/ingest_date=2026%2D11-22/_SUCCESS",
        "raw/ingest_date=/_SUCCESS",
        "raw/_SUCCESS",
        "_SUCCESS",
        "",
    ],
)
def test_other_keys_are_ignored_and_named(key: str) -> None:
    found = read(extra({"Records": [s3_record(key), s3_record(MARKER)]}))
    assert found.ingest_dates == (DAY,)
    assert found.ignored == (f"{key!a} is not the marker of an image batch",)


def test_another_bucket_is_ignored_and_named() -> None:
    found = read(
        extra({"Records": [s3_record(MARKER, bucket="elsewhere")]}),
        extra(eventbridge_notification(MARKER, "elsewhere")),
    )
    assert found == BatchEvents((), (f"'{MARKER}' is in another bucket, 'elsewhere'",) * 2)


@pytest.mark.parametrize("event", ["ObjectRemoved:Delete", "ObjectTagging:Put", "ObjectCreate", "", None, 7])
def test_other_events_are_ignored_and_named(event: Any) -> None:
    assert read(extra({"Records": [s3_record(MARKER, event=event)]})) == BatchEvents(
        (), (f"the event {event!r} is not about a new object",)
    )


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not JSON",
        "null",
        "[]",
        "{}",
        '"raw/"',
        "[" * 100_000,
        '{"Records": {}}',
        '{"Records": null}',
        '{"Message": "not JSON"}',
        {"detail-type": "Object Deleted", "detail": eventbridge_notification(MARKER)["detail"]},
        through_sns(through_sns(s3_notification(MARKER))),
    ],
)
def test_a_message_of_another_kind_is_ignored_and_named(body: object) -> None:
    assert read(extra(body, s3_notification(MARKER))) == BatchEvents(
        (DAY,), ("a message that is no notification of S3 about a new object",)
    )


@pytest.mark.parametrize(
    "place", [None, "", [], {"bucket": BUCKET}, {"bucket": {"name": BUCKET}, "object": {"key": None}}]
)
def test_a_notification_without_its_object_is_ignored_and_named(place: object) -> None:
    found = read(
        extra(
            {"Records": [{"eventName": "ObjectCreated:Put", "s3": place}]},
            {"detail-type": "Object Created", "detail": place},
        )
    )
    assert found == BatchEvents((), ("a notification without the object's bucket and key",) * 2)


@pytest.mark.parametrize(
    "of_another_kind",
    [None, {}, [], "text", {"from_rest_api": True}, {"payload": None}, {"payload": {"message_batch": "text"}}],
)
def test_an_event_that_someone_makes_by_hand_is_ignored_and_named(of_another_kind: object) -> None:
    assert read(of_another_kind, extra(s3_notification(MARKER))) == BatchEvents(
        (DAY,), ("an event without messages of a queue",)
    )


def test_what_is_reported_is_one_short_line_without_the_senders_address() -> None:
    nasty = "raw/x\r\nERROR \x1b[31m" + "y" * 1000
    (line,) = read(extra({"Records": [s3_record(nasty)]})).ignored
    assert line.isprintable()
    assert len(line) < 300
    assert "203.0.113.7" not in line
    assert "AIDAEXAMPLE" not in line


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.sampled_from(["Records", "Message", "detail", "s3"]), inner, max_size=3)
    ),
    max_leaves=10,
)
WAYS = st.sampled_from(
    [
        s3_notification,
        eventbridge_notification,
        lambda key: through_sns(s3_notification(key)),
        lambda key: through_sns(eventbridge_notification(key)),
    ]
)


@pytest.mark.slow
@given(
    days=st.lists(st.tuples(st.dates().map(str), WAYS), max_size=6),
    rubbish=st.lists(JSON.map(json.dumps) | st.text() | JSON, max_size=4),
    bad_extras=st.lists(JSON, max_size=3),
    data=st.data(),
)
def test_whatever_surrounds_them_exactly_the_days_whose_marker_was_written_are_found(
    days: list[tuple[str, Any]], rubbish: list[Any], bad_extras: list[Any], data: st.DataObject
) -> None:
    bodies = data.draw(st.permutations([way(success_marker_key(day)) for day, way in days] + rubbish))
    cut = data.draw(st.integers(0, len(bodies)))
    found = read(*bad_extras, extra(*bodies[:cut]), extra(*bodies[cut:]))
    assert found.ingest_dates == tuple(sorted({day for day, _ in days}))
    assert all(line.isprintable() for line in found.ignored)
