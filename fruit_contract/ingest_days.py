"""Writes many ingest dates in few words: consecutive days become a span, `2026-11-01..2026-11-30`."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from fruit_contract.lake import LakeNameError, parse_ingest_date

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
    return [first.isoformat() if first == last else f"{first.isoformat()}{SPAN}{last.isoformat()}" for first, last in spans]


def days_of_span(text: str) -> list[str]:
    """Returns the days of a span, or a single day. Raises LakeNameError if `text` is neither."""
    first, separator, last = text.partition(SPAN)
    begin = date.fromisoformat(parse_ingest_date(first))
    end = date.fromisoformat(parse_ingest_date(last)) if separator else begin
    if end < begin:
        raise LakeNameError(f"The span '{text}' is upside down: write the earlier date first.")
    return [(begin + timedelta(days=number)).isoformat() for number in range((end - begin).days + 1)]
