from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.ingest_days import days_of_span, spans_of_days
from fruit_contract.lake import LakeNameError


@given(st.sets(st.integers(0, 60)))
def test_spans_cover_exactly_the_days_they_were_made_of(numbers: set[int]) -> None:
    days = {(date(2026, 1, 20) + timedelta(days=number)).isoformat() for number in numbers}
    spans = spans_of_days(days)
    assert [day for span in spans for day in days_of_span(span)] == sorted(days)
    assert len(spans) == sum(number - 1 not in numbers for number in numbers)


def test_a_day_alone_is_written_as_a_day() -> None:
    assert spans_of_days(["2026-11-22", "2026-11-20", "2026-11-21", "2026-11-30"]) == [
        "2026-11-20..2026-11-22",
        "2026-11-30",
    ]


@pytest.mark.parametrize(
    "text", ["2026-11-22..2026-11-21", "2026-11-22..", "..2026-11-22", "2026-11-22...2026-11-23", "soon", ""]
)
def test_refuses_what_is_neither_day_nor_span(text: str) -> None:
    with pytest.raises(LakeNameError):
        days_of_span(text)
