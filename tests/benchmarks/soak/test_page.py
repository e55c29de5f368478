"""Checks where the soak's tables go."""

from __future__ import annotations

from benchmarks.soak.__main__ import TABLES


def test_the_manual_has_a_place_for_the_tables() -> None:
    assert TABLES.read()
