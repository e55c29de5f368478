"""Where the soak's tables go."""

from __future__ import annotations

import pytest

from benchmarks.soak.__main__ import BEGIN, END, OPERATIONS, with_tables


def test_the_manual_has_a_place_for_the_tables_and_keeps_the_rest():
    manual = OPERATIONS.read_text(encoding="utf-8")
    before, after = manual.split(BEGIN)[0], manual.split(END)[1]
    assert with_tables(manual, "a table\n") == f"{before}{BEGIN}\na table\n{END}{after}"


def test_a_manual_without_that_place_is_not_written():
    with pytest.raises(ValueError, match="no '<!-- soak"):
        with_tables(f"a manual\n{BEGIN}\n", "a table\n")
