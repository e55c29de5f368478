from __future__ import annotations

from dataclasses import dataclass

import pytest

from local_cloud.emr.paging import page_of


@dataclass(frozen=True)
class Thing:
    id: str


def things(*names: str) -> list[Thing]:
    return [Thing(name) for name in names]


def anything(_: Thing) -> bool:
    return True


def test_pages_hold_everything_once() -> None:
    everything = things("a", "b", "c", "d", "e")
    first, marker = page_of(everything, None, anything, 2)
    second, next_marker = page_of(everything, marker, anything, 2)
    last, no_marker = page_of(everything, next_marker, anything, 2)
    assert [*first, *second, *last] == everything
    assert no_marker is None


def test_a_page_that_is_just_full_is_the_last() -> None:
    assert page_of(things("a", "b"), None, anything, 2) == (things("a", "b"), None)
    assert page_of([], None, anything, 2) == ([], None)


def test_what_came_to_the_front_or_is_no_longer_wanted_shifts_no_page() -> None:
    _, marker = page_of(things("b", "a"), None, anything, 1)
    assert page_of(things("c", "b", "a"), marker, lambda thing: thing.id != "b", 1) == (things("a"), None)


def test_a_marker_that_was_never_given_is_refused() -> None:
    with pytest.raises(ValueError, match="not in list"):
        page_of(things("a"), "x", anything)
