"""Checks that Airflow's side reads what a step writes of its failure."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.failures.causes import UNKNOWN, Cause
from fruit_contract.failures.error_text import FoundError, Standing, find_error
from fruit_contract.failures.record import StepFailure
from fruit_contract.failures.rules import CAUSES

FOUND = st.builds(
    FoundError,
    cause=st.sampled_from(CAUSES),
    standing=st.sampled_from(Standing),
    log=st.text(),
    name=st.text(),
    words=st.text(),
    error=st.text(),
    context=st.lists(st.text()).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text(), FOUND)
def test_what_is_written_is_read(step: str, found: FoundError) -> None:
    failure = StepFailure.of(step, found)
    assert StepFailure.read(failure.to_json()) == failure
    assert failure.known_cause() == found.cause


@given(st.text(), FOUND, st.dictionaries(st.text(), st.integers()), st.data())
def test_what_is_something_else_is_not_read_and_what_a_later_release_adds_does_not_matter(
    step: str, found: FoundError, more: dict[str, int], data: st.DataObject
) -> None:
    failure = StepFailure.of(step, found)
    fields = asdict(failure)
    assert StepFailure.read(json.dumps(more | fields).encode()) == failure
    lost = data.draw(st.sampled_from(sorted(fields)))
    assert (
        StepFailure.read(json.dumps({name: value for name, value in fields.items() if name != lost}).encode()) is None
    )
    assert StepFailure.read(json.dumps(fields | {lost: {"a": 1}}).encode()) is None


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_content_is_read_or_passed_over(content: bytes) -> None:
    assert StepFailure.read(content) is None


def test_a_cause_that_only_another_release_knows_keeps_its_advice() -> None:
    told = StepFailure(
        "extract_features", "moon_phase", "x.MoonError", "x.MoonError: full", "full", True, "Wait a night.", (), "2026"
    )
    assert told.known_cause() == Cause("moon_phase", UNKNOWN.usually, "Wait a night.", passes=True)


@pytest.mark.parametrize("text", ["x" * 100_000, "ä 🍎 " * 20_000, "Error: " * 10_000])
def test_the_size_of_a_failure_has_a_bound(text: str) -> None:
    lines = "\n".join([f"x.BooksError: {text}", *[f"  {text}"] * 100])
    found = find_error(
        {"": f'Traceback (most recent call last):\n  File "job.py", line 1, in main\n    {text}\n{lines}'}
    )
    assert found
    assert len(StepFailure.of("extract_features", found).to_json()) < 1_000_000
