from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from fruit_contract.lake import LakeNameError
from fruit_pipeline.ingest_dates import categories_of_run, ingest_date_of_run, marker_uri_of_run

LOGICAL = datetime(2026, 11, 22, tzinfo=UTC)
STARTED = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)


def test_the_day_a_person_names_comes_first() -> None:
    assert ingest_date_of_run("2026-01-31", LOGICAL, STARTED) == "2026-01-31"


def test_then_the_schedules_day() -> None:
    assert ingest_date_of_run(None, LOGICAL, STARTED) == "2026-11-22"
    assert ingest_date_of_run("", LOGICAL, STARTED) == "2026-11-22"


def test_then_the_day_the_run_was_started() -> None:
    assert ingest_date_of_run(None, None, STARTED) == "2026-11-25"


def test_days_are_those_of_utc() -> None:
    late_in_new_york = datetime(2026, 11, 24, 23, 0, tzinfo=timezone(timedelta(hours=-5)))
    assert ingest_date_of_run(None, None, late_in_new_york) == "2026-11-25"


@pytest.mark.parametrize("text", ["2026-02-30", "22.11.2026", "2026-11-22T00:00:00", "2026-11-22/../x", "tomorrow"])
def test_refuses_what_is_no_calendar_day(text: str) -> None:
    with pytest.raises(LakeNameError, match="yyyy-mm-dd"):
        ingest_date_of_run(text, LOGICAL, STARTED)


def test_categories_are_sorted_and_named_once() -> None:
    assert categories_of_run(["Kiwi", "Äpfel 50%", "Kiwi", "007"]) == ["007", "Kiwi", "Äpfel 50%"]
    assert categories_of_run(None) == categories_of_run([]) == []


@pytest.mark.parametrize("category", ["", "a/b", "_SUCCESS", ".hidden", "a\nb"])
def test_refuses_what_is_no_category(category: str) -> None:
    with pytest.raises(LakeNameError, match="is not a category"):
        categories_of_run(["Kiwi", category])


def test_waits_for_the_marker_of_the_runs_own_day() -> None:
    run = SimpleNamespace(logical_date=LOGICAL, run_after=STARTED)
    assert marker_uri_of_run("lake", {"ingest_date": None}, run) == "s3://lake/raw/ingest_date=2026-11-22/_SUCCESS"
    assert marker_uri_of_run("lake", {"ingest_date": "2026-11-20"}, run) == "s3://lake/raw/ingest_date=2026-11-20/_SUCCESS"
