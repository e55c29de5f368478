"""Checks that what a step says of itself is understood and put into words.

`spark_jobs/extraction/test_progress.py` compares it with what is written.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.progress import StepProgress, StepState
from fruit_pipeline.progress.tracking import duration, parse_progress, percent, progress_line, rate, time_left

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
SAID = {
    "run_id": "manual__2026-11-22T00:00:00+00:00",
    "step": "extract_features",
    "state": StepState.COMPUTING,
    "total": 22_688,
    "done": 1_024,
    "rejected": 2,
    "images_per_second": 118.2,
    "seconds": 8.7,
    "updated_at": "2026-11-22T05:59:58+00:00",
}

YEARS = (datetime(2020, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001  # `timezones` gives the zone
progress_of_any_kind = st.builds(
    StepProgress,
    run_id=st.text(),
    step=st.text(),
    state=st.sampled_from(StepState),
    total=st.integers(0, 10**12),
    done=st.integers(0, 10**12),
    rejected=st.integers(0, 10**12),
    images_per_second=st.none() | st.floats(0, 1e9),
    seconds=st.floats(0, 1e9),
    updated_at=st.datetimes(*YEARS, timezones=st.just(UTC)),
)


def said(**changes: Any) -> StepProgress:
    progress = parse_progress(SAID | changes)
    assert progress is not None
    return progress


def line(**changes: Any) -> str:
    return progress_line(said(**changes), NOW)


def test_what_a_step_says_is_understood() -> None:
    assert parse_progress(json.dumps(SAID).encode()) == StepProgress(
        run_id="manual__2026-11-22T00:00:00+00:00",
        step="extract_features",
        state=StepState.COMPUTING,
        total=22_688,
        done=1_024,
        rejected=2,
        images_per_second=118.2,
        seconds=8.7,
        updated_at=datetime(2026, 11, 22, 5, 59, 58, tzinfo=UTC),
    )


def test_what_a_later_release_adds_is_left_alone() -> None:
    assert parse_progress(SAID | {"cluster": "j-1"}) == said()


@pytest.mark.parametrize(
    "change",
    [
        {"total": -1}, {"total": None}, {"total": 1.5}, {"total": True}, {"total": "1"}, {"done": []},
        {"rejected": None},
        {"state": "resting"}, {"state": []}, {"images_per_second": -1}, {"images_per_second": math.nan},
        {"images_per_second": "fast"},
        {"images_per_second": 10**400}, {"seconds": math.inf}, {"seconds": None}, {"updated_at": "yesterday"},
        {"updated_at": 5},
        {"updated_at": "2026-11-22T05:59:58"}, {"updated_at": "0001-01-01T00:00:00+23:00"},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_understood(change: dict[str, Any]) -> None:
    assert parse_progress(SAID | change) is None
    assert parse_progress(json.dumps(SAID | change).encode()) is None


@pytest.mark.parametrize("field", SAID)
def test_every_field_is_needed(field: str) -> None:
    assert parse_progress({name: value for name, value in SAID.items() if name != field}) is None


@pytest.mark.slow
@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
)
def test_anything_else_is_not_understood(content: bytes) -> None:
    assert parse_progress(content) is None


def test_a_content_too_deep_to_read_is_not_understood() -> None:
    assert parse_progress(b"[" * 100_000) is None


def test_images_that_were_counted_twice_are_not_more_than_all() -> None:
    progress = said(total=10, done=12, rejected=11)
    assert (progress.done, progress.rejected, progress.share) == (10, 10, 1)


def test_while_it_computes() -> None:
    assert line() == "1,024 of 22,688 images (4.5 %), 118 images/s, 2 rejected so far, about 4 min left"
    assert (
        line(done=22_687)
        == "22,687 of 22,688 images (99.9 %), 118 images/s, 2 rejected so far, less than a minute left"
    )
    assert line(done=0, rejected=0, images_per_second=None) == "none of 22,688 images done yet"
    assert line(images_per_second=None) == "1,024 of 22,688 images (4.5 %), 2 rejected so far"
    assert line(images_per_second=0) == "1,024 of 22,688 images (4.5 %), 2 rejected so far"
    assert line(total=0, done=0) == "none of 0 images done yet"


def test_before_and_after() -> None:
    assert (
        line(state=StepState.LISTING, total=0, done=0, images_per_second=None)
        == "listing the images and what is known of them"
    )
    assert line(state=StepState.WRITING, done=22_688) == "22,688 images computed, 2 rejected, writing the tables"
    assert line(state=StepState.DONE, done=22_688) == "done: 22,688 images, 2 rejected"
    assert line(state=StepState.WRITING, total=0) == "writing the tables"
    assert line(state=StepState.DONE, total=0) == "done: no new images"


def test_a_step_that_says_nothing_any_more() -> None:
    silent = {"updated_at": (NOW - timedelta(minutes=3, seconds=10)).isoformat()}
    assert line(**silent) == "1,024 of 22,688 images (4.5 %), 118 images/s, 2 rejected so far, no news for 4 min"
    assert (
        line(**silent, state=StepState.WRITING, done=22_688)
        == "22,688 images computed, 2 rejected, writing the tables, no news for 4 min"
    )
    assert line(**silent, state=StepState.DONE, done=22_688) == "done: 22,688 images, 2 rejected"


def test_a_node_whose_clock_is_ahead_is_not_silent() -> None:
    assert said(updated_at=(NOW + timedelta(hours=1)).isoformat()).silence(NOW) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute"),
        (59.9, "less than a minute"),
        (60, "1 min"),
        (61, "2 min"),
        (5340, "89 min"),
        (5400, "1 h 30 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_time_left_is_a_guess() -> None:
    assert time_left(200) == "about 4 min left"
    assert time_left(7261) == "about 2 h 2 min left"
    assert time_left(12) == "less than a minute left"


def test_small_rates_keep_their_digits() -> None:
    assert [rate(value) for value in (1234.5, 10, 9.97, 2.345, 0.05)] == ["1,234", "10", "10", "2.3", "0.05"]


def test_a_share_is_whole_only_at_the_end() -> None:
    assert [percent(share) for share in (0, 0.00001, 0.045, 0.99999, 1)] == ["0 %", "0 %", "4.5 %", "99.9 %", "100 %"]


def test_of_a_speed_that_is_next_to_nothing_no_time_left_is_told() -> None:
    said = parse_progress(json.dumps(SAID | {"state": StepState.COMPUTING, "images_per_second": 5e-324}).encode())

    assert said is not None
    assert "left" not in progress_line(said, said.updated_at)


@given(progress_of_any_kind, st.timedeltas(timedelta(-10), timedelta(10)))
def test_there_are_words_for_any_progress(progress: StepProgress, later: timedelta) -> None:
    words = progress_line(progress, progress.updated_at + later)
    assert words
    assert "\n" not in words
    assert ("no news" in words) == (progress.state != StepState.DONE and later >= timedelta(minutes=1))
    assert " -" not in words
    assert 0 <= progress.share <= 1


@given(progress_of_any_kind)
def test_time_left_shrinks_as_images_are_done(progress: StepProgress) -> None:
    computing = replace(progress, state=StepState.COMPUTING)
    before, after = computing.seconds_left, replace(computing, done=computing.done + 1).seconds_left
    assert computing.images_per_second or (before is None and after is None)
    if before is not None and after is not None:
        assert 0 <= after <= before
