"""The tables say what was measured, in the terminal and in a file."""

from __future__ import annotations

import io

from rich.console import Console

from benchmarks.engines.field import EngineSpeed
from benchmarks.features.result import FeaturesBenchmark, FixedCosts, WayRun
from benchmarks.harness.agreement import Agreement
from benchmarks.harness.grid import Grid, markdown_page


def benchmark():
    fast, slow = EngineSpeed(240.0, 0.0082), EngineSpeed(200.0, 0.0098)
    stages = {"list": 0.1, "compute": 2.25, "write_ledger": 0.3, "total": 2.65}
    runs = [
        WayRun("ours, warm", 400, 2.5, 4.8, 0.12, fast, slow, 512.4, stages, n_cores=2),
        WayRun("notebook way", 200, 10.0, 16.0, 0.0, slow, fast, 1300.0, n_cores=2),
    ]
    return FeaturesBenchmark(
        2,
        [fast, slow, fast],
        runs,
        "notebook way",
        FixedCosts(6.14, 60, 1.26, 0.2, 100_000, 0.71),
        Agreement(200, 1.0, 0.999, 2.4e-05),
    )


def test_ways_stand_side_by_side_with_the_ceiling_first():
    ways = benchmark().grids()[0]
    assert [row[0] for row in ways.rows] == ["ceiling (2 engines)", "ours, warm", "notebook way"]
    ceiling, ours, notebook = (dict(zip(ways.header, row, strict=True)) for row in ways.rows)
    assert (ceiling["images/s"], ceiling["of ceiling"], ceiling["CPU ms/image"]) == ("240.0", "100 %", "8.2")
    assert (ours["images/s"], ours["of ceiling"], ours["S3 apart"], ours["x notebook way"]) == (
        "160.0",
        "73 %",
        "75 %",
        "8.0",
    )
    assert (ours["CPU ms/image"], ours["S3 CPU ms/image"], ours["worker MB"]) == ("12.0", "0.30", "512")
    assert notebook["x notebook way"] == "1.0"


def test_stages_of_a_way_without_stages_stay_empty():
    runs = benchmark().grids()[1]
    ours, notebook = (dict(zip(runs.header, row, strict=True)) for row in runs.rows)
    assert (ours["compute"], ours["ledger"], ours["ceilings"]) == ("2.25", "0.30", "240, 200")
    assert ours["cores busy"] == "98 %"  # (4.8 + 0.12) CPU seconds in 2.5 s on two cores
    assert (notebook["compute"], notebook["seconds"]) == ("", "10.0")
    assert "total" not in runs.header


def test_markdown_keeps_a_cell_with_a_bar_in_one_cell():
    lines = Grid("Title", ("way", "n"), [("a|b", "1")]).to_markdown().splitlines()
    assert lines == ["**Title**", "", "| way | n |", "| --- | ---: |", "| a\\|b | 1 |"]


def test_the_page_holds_facts_tables_and_notes():
    page = markdown_page("Features, small", {"cores": "2"}, benchmark().grids(), ["A note."])
    assert page.startswith("# Features, small\n\n- cores: 2\n\n**Ways")
    assert page.endswith("- A note.\n")
    assert "| from the start of the process to a Spark session | 6.1 |" in page


def test_the_terminal_shows_the_same_cells():
    output = io.StringIO()
    console = Console(file=output, width=160)
    for grid in benchmark().grids():
        console.print(grid.to_rich())
    assert all(cell in output.getvalue() for grid in benchmark().grids() for row in grid.rows for cell in row)
