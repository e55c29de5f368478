from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.day_boundary import UTC_DAYS, DayBoundary

BERLIN = DayBoundary("Europe/Berlin")
SECOND = timedelta(seconds=1)
# Clocks change at 01:00 UTC, at midnight (Santiago), and by half an hour (Lord Howe).
ZONES = ["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Pacific/Kiritimati", "America/New_York"]


def test_days_are_those_of_utc_unless_it_is_set_otherwise() -> None:
    assert UTC_DAYS.begin_of(date(2026, 11, 22)) == datetime(2026, 11, 22, tzinfo=UTC)
    assert UTC_DAYS.day_at(datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC)) == date(2026, 11, 22)


def test_a_farm_in_europe_closes_its_day_at_its_own_midnight() -> None:
    assert BERLIN.begin_of(date(2026, 11, 22)) == datetime(2026, 11, 21, 23, tzinfo=UTC)  # winter
    assert BERLIN.begin_of(date(2026, 7, 22)) == datetime(2026, 7, 21, 22, tzinfo=UTC)  # summer
    assert BERLIN.day_at(datetime(2026, 7, 21, 22, tzinfo=UTC)) == date(2026, 7, 22)
    assert BERLIN.day_at(datetime(2026, 7, 21, 21, 59, 59, tzinfo=UTC)) == date(2026, 7, 21)


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)]
)
def test_a_day_on_which_clocks_change_is_shorter_or_longer(day: str, hours: int) -> None:
    begin, end = (BERLIN.begin_of(date.fromisoformat(day) + timedelta(days=number)) for number in range(2))
    assert end - begin == timedelta(hours=hours)


def test_a_day_may_begin_hours_from_midnight() -> None:
    at_four = DayBoundary("Europe/Berlin", 4)
    assert at_four.begin_of(date(2026, 11, 22)) == datetime(2026, 11, 22, 3, tzinfo=UTC)
    the_evening_before = DayBoundary("Europe/Berlin", -2.5)
    assert the_evening_before.day_at(datetime(2026, 11, 21, 20, 30, tzinfo=UTC)) == date(2026, 11, 22)


@given(
    st.integers(0, 2 * 366 * 24 * 60).map(
        lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
    st.sampled_from(ZONES),
    st.sampled_from([0.0, 2.5, 3.0, 24.0, -1.5, -23.75]),
)
def test_each_moment_is_of_exactly_one_day(moment: datetime, zone: str, offset: float) -> None:
    boundary = DayBoundary(zone, offset)
    day = boundary.day_at(moment)
    assert boundary.begin_of(day) <= moment < boundary.begin_of(day + timedelta(days=1))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("offset", [0.0, 2.5, -22.0])
def test_a_day_begins_when_the_one_before_ends_all_year_long(zone: str, offset: float) -> None:
    boundary = DayBoundary(zone, offset)
    for number in range(800):
        day = date(2026, 1, 1) + timedelta(days=number)
        begin = boundary.begin_of(day)
        assert boundary.day_at(begin) == day
        assert boundary.day_at(begin - SECOND) == day - timedelta(days=1)
