"""Waits, in the triggerer, for what other runs hold."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from fruit_contract.newer_python import UTC
from fruit_pipeline.triggers.claims_free import ClaimsFreeTrigger
from fruit_pipeline.triggers.wait import Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_pipeline.claims.claim_book import ClaimBook
    from fruit_pipeline.settings import Settings

_POLLS_BETWEEN_LOOKS: Final = 10
# Each look takes a worker for some seconds.
_SOONEST_LOOK: Final = timedelta(minutes=1)


def until_free(
    settings: Settings, book: ClaimBook, run_id: str, names: Sequence[str], until: datetime
) -> ClaimsFreeTrigger:
    """Returns the trigger that lets the task go on when `names` are free, when it should look whether their holders
    live, or at `until`.
    """
    again = datetime.now(UTC) + max(_SOONEST_LOOK, timedelta(seconds=_POLLS_BETWEEN_LOOKS * settings.poll_seconds))
    return ClaimsFreeTrigger(asdict(Waiting.of(settings, until)), book.key, run_id, [*names], again.isoformat())
