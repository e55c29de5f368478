"""Holds what all triggers have in common: where they look, until when, and what they say meanwhile."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.triggers.base import BaseTrigger, TriggerEvent

from fruit_contract.newer_python import UTC
from fruit_pipeline.aws import BOTOCORE_CONFIG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fruit_pipeline.settings import Settings

GRACE: Final = timedelta(minutes=15)
"""A task waits so much longer than its trigger, which may be without a triggerer for a while."""

# Airflow 3.3's scheduler takes a task for lost if it is to go on before the scheduler has heard that its process ended
# when it was deferred. (A resumed task that is queued or runs by then is tried again; apache/airflow issue 67287.)
SETTLE_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Waiting:
    """Says how a trigger reaches AWS, how often it looks, and until when (ISO time, so that a restarted triggerer does
    not begin anew).
    """

    region: str
    aws_conn_id: str
    lake_bucket: str
    poll_seconds: float
    until: str
    lake_owner: str = ""  # a trigger of an earlier release has none

    @classmethod
    def of(cls, settings: Settings, until: datetime) -> Waiting:
        return cls(
            region=settings.region,
            aws_conn_id=settings.aws_conn_id,
            lake_bucket=settings.lake_bucket,
            poll_seconds=settings.poll_seconds,
            until=until.isoformat(),
            lake_owner=settings.lake_owner,
        )

    @property
    def is_over(self) -> bool:
        return datetime.now(UTC) >= datetime.fromisoformat(self.until)


class WaitTrigger(BaseTrigger):
    """Holds what a trigger waits with, how it is kept in Airflow's database, and what it says in the task's log.

    It looks at once, and its event comes no sooner than SETTLE_SECONDS after it began.

    :param waiting: fields of Waiting
    :param fields: the subclass's own arguments
    """

    def __init__(self, waiting: dict[str, Any], **fields: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waiting = Waiting(**waiting)
        self._fields = fields
        self._said = ""

    @abstractmethod
    async def wait(self) -> TriggerEvent:
        """Returns the event that ends the waiting."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        begun = time.monotonic()
        try:
            event = await self.wait()
        except Exception:
            await asyncio.sleep(begun + SETTLE_SECONDS - time.monotonic())
            raise  # Airflow then fails the task, for which it also has to go on
        await asyncio.sleep(begun + SETTLE_SECONDS - time.monotonic())
        yield event

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {"waiting": asdict(self.waiting), **self._fields}

    def say(self, line: str) -> None:
        """Writes the line to the task's log, unless it was written last."""
        if line != self._said:
            self._said = line
            self.log.info("%s", line)

    def _s3_hook(self) -> S3Hook:
        return S3Hook(aws_conn_id=self.waiting.aws_conn_id, region_name=self.waiting.region, config=BOTOCORE_CONFIG)


async def connection_of(hook: Any) -> Any:
    """Returns the asynchronous client of a hook, as a context.

    The hook waits for a thread, in a way that loses with what word it is cancelled. Airflow calls `on_kill` only if the
    cancellation comes back with that word, so it is kept from the hook.
    """
    return await asyncio.shield(asyncio.ensure_future(hook.get_async_conn()))


def event_of(fields: dict[str, Any]) -> TriggerEvent:
    make: Any = TriggerEvent  # Airflow has not typed it
    event: TriggerEvent = make(fields)
    return event
