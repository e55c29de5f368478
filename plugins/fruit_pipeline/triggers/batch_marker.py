"""Waits for the marker of an image batch, whatever becomes of S3 meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.triggers.base import BaseTrigger

from fruit_pipeline.aws import BOTOCORE_CONFIG
from fruit_pipeline.triggers.emr_wait import Waiting, connection_of, event_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.triggers.base import TriggerEvent


class BatchMarkerTrigger(BaseTrigger):
    """Looks until the marker is there (the event's `status` is `ended`) or the time is over (`time_out`).

    No error ends it: a batch is waited for longer than S3 is ever out of reach, or than it takes somebody to renew credentials. After
    each error the connection is made anew, with what Airflow's connection says by then.

    :param waiting: fields of Waiting
    :param key: the marker's key in the lake
    """

    def __init__(self, waiting: dict[str, Any], key: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waiting = Waiting(**waiting)
        self.key = key

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {"waiting": asdict(self.waiting), "key": self.key}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        trouble = ""
        while not self.waiting.is_over:
            try:
                async with await connection_of(self._s3_hook()) as s3:
                    while not self.waiting.is_over:
                        if await self._is_there(s3):
                            yield event_of({"status": "ended"})
                            return
                        if trouble:
                            self.log.info("S3 answers again.")
                            trouble = ""
                        await asyncio.sleep(self.waiting.poll_seconds)
            except Exception as error:  # noqa: BLE001  # whatever it is, it may be over before the batch is due
                if str(error) != trouble:
                    trouble = str(error)
                    self.log.warning("S3 could not be asked for the marker. It is asked again until %s: %s", self.waiting.until, trouble)
                await asyncio.sleep(self.waiting.poll_seconds)
        yield event_of({"status": "time_out"})

    async def _is_there(self, s3: Any) -> bool:
        # Not HeadObject, whose errors say nothing but a number.
        answer = await s3.list_objects_v2(Bucket=self.waiting.lake_bucket, Prefix=self.key)
        return any(entry["Key"] == self.key for entry in answer.get("Contents", ()))

    def _s3_hook(self) -> S3Hook:
        return S3Hook(aws_conn_id=self.waiting.aws_conn_id, region_name=self.waiting.region, config=BOTOCORE_CONFIG)
