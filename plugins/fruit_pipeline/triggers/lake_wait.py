"""Waits for something in the lake, whatever becomes of S3 meanwhile."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from fruit_pipeline.lake.location import stay_here
from fruit_pipeline.triggers.wait import WaitTrigger, connection_of, event_of

if TYPE_CHECKING:
    from airflow.triggers.base import TriggerEvent


class LakeWaitTrigger(WaitTrigger):
    """Looks every `poll_seconds` until `look` is true (the event's `status` is `ended`) or the time is over
    (`time_out`).

    No error ends it: it waits for longer than S3 is ever out of reach, or than it takes somebody to renew credentials.
    After each error the connection is made anew, with what Airflow's connection says by then.
    """

    subject: ClassVar[str]
    """What S3 is asked for, in words."""

    @abstractmethod
    async def look(self, s3: Any) -> bool:
        """Returns whether what was waited for has happened."""

    async def wait(self) -> TriggerEvent:
        trouble = ""
        while not self.waiting.is_over:
            try:
                async with await connection_of(self._s3_hook()) as s3:
                    stay_here(s3, self.waiting.lake_owner)
                    while not self.waiting.is_over:
                        if await self.look(s3):
                            return event_of({"status": "ended"})
                        if trouble:
                            self.log.info("S3 answers again.")
                            trouble = ""
                        await asyncio.sleep(self.waiting.poll_seconds)
            except Exception as error:  # noqa: BLE001  # whatever it is, it may be over before the time is
                if str(error) != trouble:
                    trouble = str(error)
                    self.log.warning(
                        "S3 could not be asked for %s. It is asked again until %s: %s",
                        self.subject,
                        self.waiting.until,
                        trouble,
                    )
                await asyncio.sleep(self.waiting.poll_seconds)
        return event_of({"status": "time_out"})
