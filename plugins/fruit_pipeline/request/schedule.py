"""Says when the main flow runs: every day and, if a queue is set, whenever S3 tells of a new image batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable

from fruit_contract.lake import RAW, uri
from fruit_pipeline.aws import BOTOCORE_CONFIG

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings

BATCHES_ASSET: Final = "fruit_image_batches"
QUEUE_WATCHER: Final = "fruit_image_batch_queue"

# A request for messages stays open this long (SQS' longest), so most messages are received as they come, and an empty
# queue costs little. As many messages as SQS hands out at once share one run.
_LONG_POLL_SECONDS: Final = 20
_MESSAGES_AT_ONCE: Final = 10


def batch_schedule(settings: Settings, bucket: str, queue_url: str) -> CronTriggerTimetable | AssetOrTimeSchedule:
    """Returns the daily schedule if `queue_url` is empty. Otherwise a run also starts on a message in the queue, which
    counts as an event of the batches in `bucket`.

    The daily run stays, because a message is deleted when it is received, before its run exists, so it may get lost.
    Backfills ask the daily schedule in both cases. No connection is opened here: the triggerer opens it, while the DAG
    is not paused.
    """
    # The trigger timetable's logical date is the moment it fires, so a run is about its own day: it starts with the day
    # and waits for the batch. (A data-interval timetable would mean the day before.) At midnight, the last day of a
    # backfill's range is part of it.
    daily = CronTriggerTimetable(settings.schedule, timezone=settings.timezone)
    if not queue_url:
        return daily

    # This is imported only where it is used, because it loads every provider's queues.
    from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger

    messages = MessageQueueTrigger(
        scheme="sqs",
        sqs_queue=queue_url,
        aws_conn_id=settings.aws_conn_id,
        region_name=settings.region,
        botocore_config=BOTOCORE_CONFIG,
        max_messages=_MESSAGES_AT_ONCE,
        wait_time_seconds=_LONG_POLL_SECONDS,
        waiter_delay=settings.batch_poll_seconds,
    )
    batches = Asset(
        name=BATCHES_ASSET,
        uri=uri(bucket, RAW),
        watchers=[AssetWatcher(name=QUEUE_WATCHER, trigger=messages)],
    )
    return AssetOrTimeSchedule(timetable=daily, assets=[batches])
