"""The peers benchmark's tables say what was measured."""

from __future__ import annotations

from benchmarks.engines.field import EngineSpeed
from benchmarks.harness.agreement import Agreement
from benchmarks.peers.result import COLD, DAFT, OURS, RAY, WARM, PeerRun, PeersBenchmark

CEILING = EngineSpeed(500.0, 0.0037)


def benchmark(remarks=(), peak_megabytes=812.4):
    runs = []
    for number, factor in enumerate((1, 1, 2)):
        for way, seconds, cpu_seconds in ((OURS, 16.0, 28.0), (DAFT, 20.0, 35.0), (RAY, 32.0, 42.0)):
            cold, warm = (
                (4 * factor * seconds, 5 * cpu_seconds, 6.0, CEILING, CEILING, 2000.0),
                (factor * seconds, cpu_seconds, 1.5, CEILING, CEILING, peak_megabytes),
            )
            runs.append(PeerRun(way, 20_000, *cold, kind=COLD, round=number, n_cores=2))
            runs.append(PeerRun(way, 5000, *warm, kind=WARM, round=number, n_cores=2))
    agreements = {DAFT: Agreement(20_000, 1.0, 1.0, 0.0), RAY: Agreement(20_000, 1.0, 1.0, 2.4e-07)}
    return PeersBenchmark(2, [CEILING], runs, agreements, remarks)


def rows(grid):
    return [dict(zip(grid.header, row, strict=True)) for row in grid.rows]


def test_the_ways_stand_side_by_side_with_what_ours_is_faster_by():
    ours, daft, ray = rows(benchmark().grids()[0])
    assert (ours["way"], ours["runs"], ours["s"], ours["images/s"], ours["ours / it"]) == (
        OURS,
        "3",
        "16.0",
        "312.5",
        "",
    )
    assert (ours["CPU ms/image"], ours["S3 CPU ms/image"], ours["of ceiling"], ours["peak MB"]) == (
        "5.6",
        "0.30",
        "62 %",
        "812",
    )
    assert (daft["way"], daft["ours / it"], daft["from, to"], daft["CPU x ours"]) == (
        DAFT,
        "1.25",
        "1.25 to 1.25",
        "1.25",
    )
    assert (ray["way"], ray["ours / it"], ray["CPU x ours"]) == (RAY, "2.00", "1.50")


def test_each_table_is_named_by_what_the_engine_alone_takes():
    warm, cold = (grid.title for grid in benchmark().grids()[:2])
    assert warm.startswith("Warm: 5,000 images, everything started")
    assert cold.startswith("Cold: 20,000 images, from the start of the process")
    assert all(title.endswith("the engine alone takes 3.70 ms an image)") for title in (warm, cold))


def test_every_run_is_shown():
    runs = rows(benchmark().grids()[2])
    assert len(runs) == 18
    assert (runs[1]["run"], runs[1]["round"], runs[1]["ceilings"]) == ("ours, warm", "1", "500, 500")


def test_the_agreement_is_shown():
    assert benchmark().grids()[3].rows[1] == ("ours and Ray Data", "20,000", "2.4e-07", "1.000000")


def test_the_notes_say_the_ratios_and_what_was_left_out():
    notes = benchmark(remarks=["Daft is not installed."]).notes()
    assert notes[0] == "Daft is not installed."
    assert (
        notes[1] == "Warm, 5,000 images: ours / Daft = 1.25 in images/s (1.25 to 1.25), Daft takes 1.25 times the CPU."
    )
    assert (
        notes[4]
        == "Cold, 20,000 images: ours / Ray Data = 2.00 in images/s (2.00 to 2.00), Ray Data takes 1.50 times the CPU."
    )


def test_where_the_kernel_tells_no_memory_the_cell_is_empty():
    assert {row["peak MB"] for row in rows(benchmark(peak_megabytes=None).grids()[0])} == {""}
