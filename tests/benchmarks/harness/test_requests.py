"""Checks how requests are counted between two looks."""

from __future__ import annotations

from benchmarks.harness.requests import kinds_of, requests_since


def test_what_came_since_is_counted():
    assert requests_since({"GET": 3, "LIST": 1}, {"GET": 5, "LIST": 1, "PUT": 2}) == {"GET": 2, "PUT": 2}


def test_kinds_stand_in_the_order_of_a_table():
    assert kinds_of([{"PUT": 1}, {"LIST": 2, "OPTIONS": 1}]) == ["LIST", "PUT", "OPTIONS"]
