"""Waits until the marker of an image batch is there."""

from __future__ import annotations

from typing import Any

from fruit_pipeline.triggers.lake_wait import LakeWaitTrigger


class BatchMarkerTrigger(LakeWaitTrigger):
    """Looks until the marker is there. It waits for a batch whatever becomes of S3 meanwhile.

    :param waiting: fields of Waiting
    :param key: the marker's key in the lake
    """

    subject = "the marker"

    def __init__(self, waiting: dict[str, Any], key: str) -> None:
        super().__init__(waiting, key=key)
        self.key = key

    async def look(self, s3: Any) -> bool:
        # HeadObject is not used, because its errors say nothing but a number.
        answer = await s3.list_objects_v2(Bucket=self.waiting.lake_bucket, Prefix=self.key)
        return any(entry["Key"] == self.key for entry in answer.get("Contents", ()))
