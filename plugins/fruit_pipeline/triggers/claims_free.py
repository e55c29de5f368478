"""Waits until other runs have given back what a run wants."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from fruit_contract.newer_python import UTC
from fruit_pipeline.claims.claim_book import claims_from
from fruit_pipeline.claims.claims import Wish, held_by_others, who_holds
from fruit_pipeline.triggers.lake_wait import LakeWaitTrigger


class ClaimsFreeTrigger(LakeWaitTrigger):
    """Looks at the book of claims until none of `names` is another run's, or until `look_again_at`.

    A trigger can't ask Airflow whether the run that holds them has ended, so the task looks by itself every so often.

    :param waiting: fields of Waiting
    :param key: the book's key in the lake
    :param run_id: the run that waits
    :param names: what it needs
    :param look_again_at: when the task is to look by itself (ISO time)
    """

    subject = "the claims of other runs"

    def __init__(self, waiting: dict[str, Any], key: str, run_id: str, names: list[str], look_again_at: str) -> None:
        super().__init__(waiting, key=key, run_id=run_id, names=names, look_again_at=look_again_at)
        self.key, self.wish, self.look_again_at = key, Wish(run_id, tuple(names)), datetime.fromisoformat(look_again_at)

    async def look(self, s3: Any) -> bool:
        try:
            answer = await s3.get_object(Bucket=self.waiting.lake_bucket, Key=self.key)
        except s3.exceptions.NoSuchKey:
            return True
        async with answer["Body"] as body:
            content = await body.read()
        try:
            busy = held_by_others(claims_from(json.loads(content)), self.wish)
        except ValueError:
            return True  # the task looks by itself, and names the book that can't be read
        if busy:
            self.say(f"This run waits, until {self.waiting.until} at most, for what others hold: {who_holds(busy)}.")
        return not busy or datetime.now(UTC) >= self.look_again_at
