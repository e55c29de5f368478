"""Tells which image batches are complete, by what S3 says through a queue.

An event only means "go and look": S3 may tell twice, late or in another order, messages are deleted when they are
received, and Airflow may hand the events of one moment to several runs or to none. So nothing here raises, and nothing
may rely on an event alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote_plus

from fruit_contract.lake import LakeNameError, parse_ingest_date, partition_values, success_marker_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_OBJECT_CREATED: Final = "ObjectCreated:"
_OBJECT_CREATED_BY_EVENTBRIDGE: Final = "Object Created"
_TEST_EVENT: Final = "s3:TestEvent"
_LONGEST_QUOTE: Final = 160


@dataclass(frozen=True)
class BatchEvents:
    """Says what the asset events of a run tell: the dates whose marker was written, sorted, and for each of the other
    events or messages a line why it says nothing.
    """

    ingest_dates: tuple[str, ...]
    ignored: tuple[str, ...]


class _NewObject(NamedTuple):
    bucket: str
    key: str


class _Ignored(NamedTuple):
    reason: str


def ingest_dates_of_events(extras: Iterable[object], bucket: str) -> BatchEvents:
    """Returns the ingest dates whose marker was written to `bucket`, from the `extra` of the asset events that started
    a run.

    It understands S3's own notifications, the same through SNS, and EventBridge's. Anything else is named and raises no
    error: the message is gone from the queue by now, and a run that fails over it would help nobody. What a message
    holds beside its key (the sender's address and identity) does not appear in `ignored`.
    """
    ingest_dates: set[str] = set()
    ignored: list[str] = []
    for extra in extras:
        for found in _objects_of_extra(extra):
            day = _day_of_marker(found, bucket) if isinstance(found, _NewObject) else found
            if isinstance(day, _Ignored):
                ignored.append(day.reason)
            else:
                ingest_dates.add(day)
    return BatchEvents(tuple(sorted(ingest_dates)), tuple(ignored))


def _day_of_marker(found: _NewObject, bucket: str) -> str | _Ignored:
    if found.bucket != bucket:
        return _Ignored(f"{_quoted(found.key)} is in another bucket, {_quoted(found.bucket)}")
    try:
        day = parse_ingest_date(partition_values(found.key).get("ingest_date", ""))
    except LakeNameError:
        day = ""
    return (
        day
        if day and found.key == success_marker_key(day)
        else _Ignored(f"{_quoted(found.key)} is not the marker of an image batch")
    )


def _objects_of_extra(extra: object) -> Iterator[_NewObject | _Ignored]:
    """Yields the objects that the messages name which the queue's trigger leaves on an asset event.

    It leaves them as {"from_trigger": true, "payload": {"message_batch": [{"Body": "..."}]}}.
    """
    messages = _at(extra, "payload", "message_batch")
    if not isinstance(messages, list):
        yield _Ignored("an event without messages of a queue")
        return
    for message in messages:
        yield from _objects_of_notification(_json(_at(message, "Body")))


def _objects_of_notification(notification: object) -> Iterator[_NewObject | _Ignored]:
    through_sns = _at(notification, "Message")
    if isinstance(through_sns, str):
        notification = _json(through_sns)
    records = _at(notification, "Records")
    if isinstance(records, list):
        for record in records:
            yield _object_of_record(record)
    elif _at(notification, "detail-type") == _OBJECT_CREATED_BY_EVENTBRIDGE:
        yield _new_object(_at(notification, "detail"))
    elif _at(notification, "Event") != _TEST_EVENT:  # S3 sends one when a bucket's notifications are set up
        yield _Ignored("a message that is no notification of S3 about a new object")


def _object_of_record(record: object) -> _NewObject | _Ignored:
    name = _at(record, "eventName")
    if not isinstance(name, str) or not name.removeprefix("s3:").startswith(_OBJECT_CREATED):
        return _Ignored(f"the event {_quoted(name)} is not about a new object")
    return _new_object(_at(record, "s3"))


def _new_object(place: object) -> _NewObject | _Ignored:
    bucket, key = _at(place, "bucket", "name"), _at(place, "object", "key")
    if not isinstance(bucket, str) or not isinstance(key, str):
        return _Ignored("a notification without the object's bucket and key")
    # S3 writes keys as in a form (`=` is %3D, a space is +), EventBridge as they are: a marker's key reads the same
    # both ways.
    return _NewObject(bucket, unquote_plus(key))


def _at(value: object, *names: str) -> Any:
    """Returns `value[name][name]...`, or None where the way ends."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _json(text: object) -> object:
    """Returns what the JSON says, or None if it is none. Text that is nested without end raises a RecursionError and no
    ValueError.
    """
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _quoted(value: object) -> str:
    """Returns the value for a line of a log, without line breaks and of bounded length."""
    text = ascii(value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
