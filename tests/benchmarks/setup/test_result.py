from __future__ import annotations

from benchmarks.setup.result import Setup, stage_starts

LINES = [
    (0.1, "==> Environment: .venv from requirements/all.txt"),
    (5.2, "==> Starting the local cloud and Airflow"),
    (6.0, "  Exporting the embedder (once for these weights, about 30 s) ..."),
    (20.3, "==> Drawing 14 kinds of fruit, 36 pictures each"),
    (25.8, "==> Publishing the release"),
    (26.7, "==> Day 1 of 1: 2026-11-25"),
    (65.0, "==> The books balance: every delivered image is featurised or rejected with a reason."),
    (69.0, "  Everything has stopped."),
]


def test_a_stage_lasts_until_the_next_begins():
    moments, stages = Setup(LINES, 40.9).grids()

    assert moments.rows == [("the first features in the lake", "40.9"), ("its end", "69.0")]
    assert [row[1:] for row in stages.rows] == [
        ("0.1", "5.1"), ("5.2", "15.1"), ("20.3", "5.5"), ("25.8", "0.9"), ("26.7", "38.3"), ("65.0", "4.0"),
    ]  # fmt: skip


def test_an_environment_that_is_there_is_no_stage():
    first_stage, _ = stage_starts(Setup(LINES[1:], 40.9))[0]
    assert first_stage.startswith("the local cloud")
