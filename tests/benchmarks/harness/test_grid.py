"""Checks tables that are made from a description of their columns."""

from __future__ import annotations

from typing import Any

from benchmarks.harness.grid import Column, column_each, grid, two_columns

STAGES = {"list": 0.5, "compute": 2.25}


def test_a_cell_is_what_a_columns_form_makes_of_its_value():
    columns: list[Any] = [Column("way", "{}", lambda run: run[0]), Column("s", "{:,.1f}", lambda run: run[1])]
    table = grid("Title", columns, [("ours", 1234.56), ("theirs", 2.0)])
    assert (table.title, table.header, table.rows) == ("Title", ["way", "s"], [("ours", "1,234.6"), ("theirs", "2.0")])


def test_nothing_leaves_a_cell_empty_and_a_tuple_fills_several_places():
    assert Column("MB", "{:.0f}", lambda run: run).cell(None) == ""
    assert Column("from, to", "{:.2f} to {:.2f}", lambda run: run).cell((1.0, 2.5)) == "1.00 to 2.50"


def test_a_column_for_each_name():
    columns: Any = column_each(["list", "write", "compute"], "{:.2f}", lambda run, stage: run.get(stage), "{} s".format)
    table = grid("Stages", columns, [STAGES])
    assert (table.header, table.rows) == (["list s", "write s", "compute s"], [("0.50", "", "2.25")])


def test_what_was_measured_and_its_figure():
    assert two_columns("Costs", ("what", "s"), "{:.1e}", [("fixed", 0.002)]).rows == [("fixed", "2.0e-03")]
