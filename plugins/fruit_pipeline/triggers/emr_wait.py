"""Waits for something in EMR, with patience for an EMR that does not answer."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.amazon.aws.hooks.emr import EmrHook
from botocore.exceptions import BotoCoreError, ClientError

from fruit_pipeline.aws import BOTOCORE_CONFIG, is_of_credentials, may_pass
from fruit_pipeline.lake.location import stay_here
from fruit_pipeline.triggers.wait import WaitTrigger, connection_of, event_of

if TYPE_CHECKING:
    from airflow.triggers.base import TriggerEvent

# Each of these looks comes after botocore's own retries, so EMR has been out of reach for long when they are used up.
LOOKS_THAT_MAY_FAIL: Final = 20


class EmrWaitTrigger(WaitTrigger):
    """Looks every `poll_seconds` until `look` has an answer, which becomes the event.

    After an error that may pass the connections are made anew, with what Airflow's connection says by then.

    The event's `status` is `ended` (what was waited for has happened), `time_out` or `error`. Its other fields are
    those of the subclass, and `about`, which says what was waited for.
    """

    @property
    def about(self) -> dict[str, Any]:
        return {}

    @abstractmethod
    async def look(self, emr: Any, s3: Any) -> dict[str, Any] | None:
        """Returns the event's fields if what was waited for has happened, else None."""

    async def wait(self) -> TriggerEvent:
        failed = 0
        while True:
            try:
                async with await connection_of(self._emr_hook()) as emr, await connection_of(self._s3_hook()) as s3:
                    stay_here(s3, self.waiting.lake_owner)
                    while True:
                        event = await self.look(emr, s3)
                        failed = 0
                        if event is not None or self.waiting.is_over:
                            break
                        await asyncio.sleep(self.waiting.poll_seconds)
            except (BotoCoreError, ClientError) as error:
                failed += 1
                if not (may_pass(error) or is_of_credentials(error)) or failed >= LOOKS_THAT_MAY_FAIL:
                    return event_of({"status": "error", "message": str(error), **self.about})
                self.log.warning("AWS does not answer, it is asked again: %s", error)
                event = None
            if event is not None:
                return event_of({"status": "ended", **event, **self.about})
            if self.waiting.is_over:
                return event_of({"status": "time_out", "message": self._said, **self.about})
            await asyncio.sleep(self.waiting.poll_seconds)

    def _emr_hook(self) -> EmrHook:
        waiting = self.waiting
        return EmrHook(
            aws_conn_id=waiting.aws_conn_id, region_name=waiting.region, emr_conn_id=None, config=BOTOCORE_CONFIG
        )
