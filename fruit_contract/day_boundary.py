"""When an ingest day begins: at midnight of a time zone, or some hours from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class DayBoundary:
    """Each moment is of exactly one ingest day; a day has 23 or 25 hours where daylight saving begins or ends."""

    timezone: str = "UTC"
    offset_hours: float = 0.0

    def begin_of(self, day: date) -> datetime:
        """Returns the moment at which `day` begins, in UTC. Where clocks are put back over it, it is the first time they show it."""
        wall = datetime.combine(day, time()) + timedelta(hours=self.offset_hours)
        return wall.replace(tzinfo=ZoneInfo(self.timezone)).astimezone(UTC)

    def day_at(self, moment: datetime) -> date:
        """Returns the ingest day that `moment` is of."""
        wall = moment.astimezone(ZoneInfo(self.timezone)).replace(tzinfo=None)
        day = (wall - timedelta(hours=self.offset_hours)).date()
        # What clocks show is not enough within an hour of their being put forward or back.
        if moment < self.begin_of(day):
            return day - _DAY
        return day + _DAY if moment >= self.begin_of(day + _DAY) else day


UTC_DAYS: Final = DayBoundary()
