"""Checks the figures of the scale benchmark, and its tables."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.scale.result import ScaleBenchmark, ScaleSizes, Stage, Written, cost_of, sizes_with, written_since

SIZES = ScaleSizes(images=2_000, categories=13, known=20_000, dates=10, per_partition=2, milliseconds=60)
PART = "2,000 new images"


def stage(what="features step", part=PART, n_images=2_000, **changed):
    values: dict[str, Any] = {
        "seconds": 4.0,
        "cpu_seconds": 6.0,
        "memory": {"Java": 500.0, "driver's Python": 200.0},
        "requests": {"GET": 2_000, "PUT": 20},
        "written": {"features": Written(14, 10_000_000), "ledger": Written(1, 200_000)},
        "stages": {"find_known_contents": 1.0},
    }
    return Stage(part, what, n_images, **values | changed)


def rows(grid):
    return [dict(zip(grid.header, row, strict=True)) for row in grid.rows]


def test_other_sizes_are_read_from_words():
    assert sizes_with(SIZES, "") == SIZES
    changed = sizes_with(SIZES, "images=20, known=0")
    assert (changed.images, changed.known, changed.dates) == (20, 0, SIZES.dates)


@pytest.mark.parametrize("text", ["kiwis=3", "images", "images=-1", "images=many"])
def test_refuses_a_size_that_is_none(text):
    with pytest.raises(ValueError, match="is no size: write one of images, categories"):
        sizes_with(SIZES, text)


def test_new_and_replaced_files_count_as_written():
    before = {"ledger/a": (1, 10), "features/kept": (1, 5), "features/gone": (1, 5)}
    now = {"ledger/a": (2, 12), "features/kept": (1, 5), "features/new": (2, 7), "features/other": (2, 8)}
    assert written_since(before, now) == {"features": Written(2, 15), "ledger": Written(1, 12)}


def test_what_a_thousand_images_cost_is_the_sum_of_the_stages():
    cost = cost_of([stage(), stage("refit", requests={"GET": 40}, written={}, cpu_seconds=2.0)], 2_000)
    assert cost.cpu_seconds == pytest.approx(4.0)
    assert cost.requests == {"GET": pytest.approx(1_020), "PUT": pytest.approx(10)}
    assert cost.n_bytes["features"] == pytest.approx(5_000_000)


def test_every_stage_has_a_line_with_its_memory_and_requests():
    late = stage("features step of one late image", "known", 1, written={}, stages={})
    seconds, requests, written, stopwatches, costs = ScaleBenchmark(SIZES, 1_600_000, [stage(), late]).grids()
    first, one = rows(seconds)
    assert (first["stage"], first["images/s"], first["own Python MB"], first["largest worker MB"]) == (
        f"{PART}: features step",
        "500",
        "200",
        "",
    )
    assert one["images/s"] == ""
    assert (rows(requests)[0]["GET"], rows(requests)[0]["a thousand images"]) == ("2,000", "1,010.0")
    assert rows(written)[0]["together"] == "15, 10.2"
    assert len(written.rows) == len(stopwatches.rows) == 1
    # Only of the new images: the other parts have costs of another kind.
    assert ["GET requests", "1,000.0"] in [list(row) for row in costs.rows]


def test_without_new_images_there_is_no_cost_of_an_image():
    sizes = sizes_with(SIZES, "images=0")
    result = ScaleBenchmark(sizes, 0, [stage(part="known")])
    assert len(result.grids()) == 4
    assert "60 ms" in result.notes()[-1]
