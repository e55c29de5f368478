"""Says when an ingest day begins: at midnight in a time zone, or some hours before or after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from fruit_contract.newer_python import UTC

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class DayBoundary:
    """Divides time into ingest days, so that each moment belongs to exactly one.

    A day has 23 or 25 hours if daylight saving begins or ends in it.
    """

    timezone: str = "UTC"
    offset_hours: float = 0.0

    def begin_of(self, day: date) -> datetime:
        """Returns the moment at which `day` begins, in UTC.

        If clocks are put back, and so show that time twice, it is the first of the two moments.
        """
        wall = datetime.combine(day, time()) + timedelta(hours=self.offset_hours)
        return wall.replace(tzinfo=ZoneInfo(self.timezone)).astimezone(UTC)

    def day_at(self, moment: datetime) -> date:
        """Returns the ingest day to which `moment` belongs."""
        wall = moment.astimezone(ZoneInfo(self.timezone)).replace(tzinfo=None)
        day = (wall - timedelta(hours=self.offset_hours)).date()
        # Within an hour of clocks being put forward or back, what they show does not decide it.
        if moment < self.begin_of(day):
            return day - _DAY
        return day + _DAY if moment >= self.begin_of(day + _DAY) else day


UTC_DAYS: Final = DayBoundary()
