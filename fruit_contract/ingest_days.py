"""Writes many ingest dates in few words: consecutive days become a span, `2026-11-01..2026-11-30`."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from fruit_contract.lake import LakeNameError, parse_ingest_date
from fruit_contract.limits import MOST_DATES_A_RUN

if TYPE_CHECKING:
    from collections.abc import Iterable

SPAN: Final = ".."


def spans_of_days(ingest_dates: Iterable[str]) -> list[str]:
    """Returns the fewest spans and single days that cover exactly these dates, in ascending order."""
    days = sorted({date.fromisoformat(parse_ingest_date(text)) for text in ingest_dates})
    spans: list[list[date]] = []
    for day in days:
        if spans and day - spans[-1][1] == timedelta(days=1):
            spans[-1][1] = day
        else:
            spans.append([day, day])
    return [
        first.isoformat() if first == last else f"{first.isoformat()}{SPAN}{last.isoformat()}" for first, last in spans
    ]


def days_of_span(text: str) -> list[str]:
    """Returns the days of a span, or a single day. Raises LakeNameError if `text` is neither."""
    first, separator, last = text.partition(SPAN)
    return days_between(first, last if separator else first)


def days_between(first: str, last: str) -> list[str]:
    """Returns the days from `first` to `last`, both included.

    Raises LakeNameError if one is no calendar day, the range is upside down, or it has more days than a run takes.
    """
    begin, end = (date.fromisoformat(parse_ingest_date(text)) for text in (first, last))
    n_days = (end - begin).days + 1
    if n_days < 1:
        raise LakeNameError(f"The range is upside down: {first} is after {last}. Give the earlier date first.")
    if n_days > MOST_DATES_A_RUN:
        raise LakeNameError(
            f"The range from {first} to {last} has {n_days:,} days: at most {MOST_DATES_A_RUN:,} are run at once."
        )
    return [(begin + timedelta(days=number)).isoformat() for number in range(n_days)]
