from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.day_boundary import UTC_DAYS, DayBoundary
from fruit_contract.lake import LakeNameError
from fruit_contract.limits import MOST_DATES_A_RUN
from fruit_pipeline.errors import ParamsRefusedError
from fruit_pipeline.request.params import (
    RunDates,
    categories_as_meant,
    categories_of_run,
    dates_of_run,
    marker_uri_of_run,
    require_params_as_given,
)

LOGICAL = datetime(2026, 11, 22, tzinfo=UTC)
STARTED = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)


def dates(
    run_type: str = "manual",
    logical_date: datetime | None = LOGICAL,
    run_after: datetime = STARTED,
    *,
    lookback_days: int = 3,
    event_dates: tuple[str, ...] = (),
    **params: Any,
) -> RunDates:
    return dates_of_run(params, run_type, logical_date, run_after, lookback_days=lookback_days, event_dates=event_dates)


def test_the_day_a_person_names_comes_first() -> None:
    assert dates(ingest_date="2026-01-31") == RunDates(("2026-01-31",))


def test_then_the_schedules_day() -> None:
    assert dates(ingest_date=None).asked == dates(ingest_date="").asked == ("2026-11-22",)


def test_then_the_day_the_run_was_started() -> None:
    assert dates(logical_date=None).asked == ("2026-11-25",)


def test_days_are_those_of_utc() -> None:
    late_in_new_york = datetime(2026, 11, 24, 23, 0, tzinfo=timezone(timedelta(hours=-5)))
    assert dates(logical_date=None, run_after=late_in_new_york).asked == ("2026-11-25",)


@pytest.mark.parametrize(
    ("midnight", "day"),
    [
        (datetime(2026, 3, 28, 23, tzinfo=UTC), "2026-03-29"),  # the last midnight of winter
        (datetime(2026, 3, 29, 22, tzinfo=UTC), "2026-03-30"),
        (datetime(2026, 10, 24, 22, tzinfo=UTC), "2026-10-25"),
        (datetime(2026, 10, 25, 23, tzinfo=UTC), "2026-10-26"),
    ],
)
def test_the_schedules_day_is_that_of_the_farm(midnight: datetime, day: str) -> None:
    berlin = DayBoundary("Europe/Berlin")
    assert dates_of_run({}, "scheduled", midnight, STARTED, lookback_days=0, boundary=berlin).asked == (day,)
    run = SimpleNamespace(run_type="scheduled", logical_date=midnight, run_after=midnight)
    assert marker_uri_of_run("lake", berlin, {}, run) == f"s3://lake/raw/ingest_date={day}/_SUCCESS"


def test_a_scheduled_run_also_looks_at_the_days_before_it() -> None:
    assert dates("scheduled") == RunDates(("2026-11-22",), ("2026-11-19", "2026-11-20", "2026-11-21"))
    assert dates("scheduled", lookback_days=0).looked_back == ()
    assert dates("manual").looked_back == dates("backfill").looked_back == ()


def test_a_range_is_every_day_of_it_and_waits_for_none() -> None:
    assert dates(ingest_date="2026-11-29", last_ingest_date="2026-12-01") == RunDates(
        ("2026-11-29", "2026-11-30", "2026-12-01"), waits=False
    )


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (None, "2026-11-22", "needs its first ingest date"),
        ("2026-11-23", "2026-11-22", "upside down"),
        ("1026-11-23", "2026-11-22", "at most 4,000"),
        ("2015-12-10", "2026-11-22", "4,001 days"),
        ("2026-11-01", "2026-11-31", "yyyy-mm-dd"),
    ],
)
def test_refuses_ranges_that_make_no_sense(first: str | None, last: str, message: str) -> None:
    with pytest.raises(LakeNameError, match=message):
        dates(ingest_date=first, last_ingest_date=last)


def test_ten_years_are_not_too_long_a_range() -> None:
    assert len(dates(ingest_date="2015-12-11", last_ingest_date="2026-11-22").asked) == MOST_DATES_A_RUN


def test_events_tell_the_dates_and_the_days_before_the_last_are_looked_at() -> None:
    told = dates("asset_triggered", None, event_dates=("2026-11-22", "2026-11-20"))
    assert told == RunDates(("2026-11-20", "2026-11-22"), ("2026-11-19", "2026-11-21"), waits=False)


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(0, 400))
def test_a_range_has_every_day_once_from_the_first_to_the_last(first: date, n_more: int) -> None:
    last = first + timedelta(days=n_more)
    asked = dates(ingest_date=first.isoformat(), last_ingest_date=last.isoformat()).asked
    assert (asked[0], asked[-1], len(set(asked)), len(asked)) == (
        first.isoformat(),
        last.isoformat(),
        n_more + 1,
        n_more + 1,
    )
    assert list(asked) == sorted(asked)


@given(st.sets(st.integers(1, 28).map(lambda day: f"2026-11-{day:02}"), min_size=1), st.integers(0, 30))
def test_events_look_back_from_their_last_date_at_what_they_did_not_tell(told: set[str], lookback_days: int) -> None:
    found = dates("asset_triggered", None, lookback_days=lookback_days, event_dates=tuple(told))
    first = (date.fromisoformat(max(told)) - timedelta(days=lookback_days)).isoformat()
    assert found.asked == tuple(sorted(told))
    assert not set(found.looked_back) & told
    assert all(first <= day < max(told) for day in found.looked_back)
    assert len(found.looked_back) + len([day for day in told if first <= day < max(told)]) == lookback_days


def test_the_day_a_person_names_is_the_only_one_whatever_started_the_run() -> None:
    for run_type in ("manual", "scheduled", "asset_triggered"):
        assert dates(run_type, event_dates=("2026-11-22",), ingest_date="2026-01-31") == RunDates(("2026-01-31",))


def test_a_backfill_is_about_the_day_of_each_run_and_waits_for_it() -> None:
    assert dates("backfill") == RunDates(("2026-11-22",))


@pytest.mark.parametrize("days", [{"ingest_date": "2026-11-01"}, {"last_ingest_date": "2026-11-01"}])
def test_a_backfill_that_is_given_a_day_is_refused_for_all_its_runs_would_be_about_it(days: dict[str, str]) -> None:
    with pytest.raises(LakeNameError, match="all of them would be about 2026-11-01: leave the ingest dates empty"):
        dates_of_run(days, "backfill", LOGICAL, STARTED, lookback_days=0)


def test_events_that_tell_nothing_mean_go_and_look() -> None:
    assert dates("asset_triggered", None, lookback_days=1) == RunDates(("2026-11-25",), ("2026-11-24",), waits=False)


@pytest.mark.parametrize("text", ["2026-02-30", "22.11.2026", "2026-11-22T00:00:00", "2026-11-22/../x", "tomorrow"])
def test_refuses_what_is_no_calendar_day(text: str) -> None:
    with pytest.raises(LakeNameError, match="yyyy-mm-dd"):
        dates(ingest_date=text)


def test_categories_are_sorted_and_named_once() -> None:
    assert categories_of_run(["Kiwi", "Äpfel 50%", "Kiwi", "007"]) == ["007", "Kiwi", "Äpfel 50%"]
    assert categories_of_run(None) == categories_of_run([]) == []


def test_empty_lines_and_what_can_be_in_no_name_are_left_out() -> None:
    assert (
        categories_of_run(["Kiwi", ""])
        == categories_of_run(["", "Kiwi\t"])
        == categories_of_run(["Kiwi\r", "\t"])
        == ["Kiwi"]
    )
    assert categories_of_run([""]) == []


def test_blanks_around_a_name_stay_until_it_is_known_what_is_there() -> None:
    assert categories_of_run([" Kiwi ", "Kiwi"]) == [" Kiwi ", "Kiwi"]


@pytest.mark.parametrize(
    ("asked", "there", "meant"),
    [
        (["Kiwi "], {"Kiwi"}, ["Kiwi"]),
        (["Kiwi "], {"Kiwi", "Kiwi "}, ["Kiwi "]),
        ([" Kiwi"], {"Kiwi "}, [" Kiwi"]),
        (["Kiwi ", "Lemon"], set(), ["Kiwi ", "Lemon"]),
        (["   ", "Kiwi"], {"Kiwi"}, ["Kiwi"]),
        (["   "], {"   "}, ["   "]),
        (["Apple\u00a0"], {"Apple"}, ["Apple"]),
    ],
)
def test_a_name_is_exact_where_it_is_there_and_else_taken_without_its_outer_blanks(
    asked: list[str], there: set[str], meant: list[str]
) -> None:
    assert list(categories_as_meant(asked, there).values()) == meant


@pytest.mark.parametrize("category", ["a/b", "_SUCCESS", ".hidden", "a\nb", "\t_x"])
def test_refuses_what_is_no_category(category: str) -> None:
    with pytest.raises(LakeNameError, match="is not a category"):
        categories_of_run(["Kiwi", category])


def test_waits_for_the_marker_of_the_runs_own_day() -> None:
    run = SimpleNamespace(run_type="scheduled", logical_date=LOGICAL, run_after=STARTED)
    assert (
        marker_uri_of_run("lake", UTC_DAYS, {"ingest_date": None}, run)
        == "s3://lake/raw/ingest_date=2026-11-22/_SUCCESS"
    )
    assert (
        marker_uri_of_run("lake", UTC_DAYS, {"ingest_date": "2026-11-20"}, run)
        == "s3://lake/raw/ingest_date=2026-11-20/_SUCCESS"
    )


def test_a_run_started_by_hand_without_a_logical_date_waits_for_the_marker_of_the_day_it_was_started() -> None:
    run = SimpleNamespace(run_type="manual", logical_date=None, run_after=STARTED)
    assert (
        marker_uri_of_run("lake", UTC_DAYS, {"ingest_date": None, "last_ingest_date": None}, run)
        == "s3://lake/raw/ingest_date=2026-11-25/_SUCCESS"
    )


def test_waits_for_nothing_in_a_range_or_after_an_event() -> None:
    run = SimpleNamespace(run_type="manual", logical_date=None, run_after=STARTED)
    assert (
        marker_uri_of_run("lake", UTC_DAYS, {"ingest_date": "2026-11-20", "last_ingest_date": "2026-11-21"}, run) == ""
    )
    run.run_type = SimpleNamespace(value="asset_triggered")
    assert marker_uri_of_run("lake", UTC_DAYS, {}, run) == ""


def test_what_airflows_own_providers_add_is_no_param_and_hides_none() -> None:
    given = {"ingest_date": "2026-11-22", "openlineage": {"parentRunId": "x"}}
    require_params_as_given(given, {"ingest_date"}, {"ingest_date": "2026-11-22"})
    require_params_as_given({"openlineage": {}}, {"ingest_date"}, {})
    with pytest.raises(ParamsRefusedError, match=r"do not exist: ingest_dat\."):
        require_params_as_given({**given, "ingest_dat": "2026-11-20"}, {"ingest_date"}, given)
    with pytest.raises(ParamsRefusedError, match=r"does not hand on what the run was given: ingest_date\."):
        require_params_as_given(given, {"ingest_date"}, {})
