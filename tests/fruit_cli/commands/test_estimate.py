"""Checks that `make estimate` shows what `plan_run` would say."""

from __future__ import annotations

import re

import pytest

from fruit_cli.__main__ import main
from fruit_cli.commands.estimate import DEFAULT_IMAGES, estimates
from fruit_pipeline.planning.estimate import estimate
from fruit_pipeline.settings import Settings, load_settings
from local_cloud.project import PROJECT


@pytest.mark.parametrize(("page", "n_rows"), [("README.md", 4), ("docs/measurements.md", 7)])
def test_the_pages_show_what_it_prints(page: str, n_rows: int) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8")
    shown = [line for line in text.splitlines() if line.startswith(tuple(f"| {n:,} | 2 |" for n in DEFAULT_IMAGES))]
    wanted = [" | ".join(row) for row in estimates(Settings(), DEFAULT_IMAGES[:n_rows], 1440, 100)]
    assert [line.strip("| ") for line in (re.sub(r" \([^)]*\)", "", line) for line in shown)] == wanted


def test_prints_minutes_and_euros_of_each_number_of_images(capsys, monkeypatch):
    assert main(["estimate", "--images", "22,688", "--images", "10_000_000"]) == 0
    output = capsys.readouterr().out
    assert f"{estimate(22_688, load_settings()).euros:.2f}" in output
    assert "10,000,000" in output
    assert "images_per_second_per_vcpu" in output


def test_covers_ten_thousand_to_a_billion_images_by_itself_on_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["estimate"]) == 0
    output = capsys.readouterr().out
    assert "10,000 " in output
    assert "1,000,000,000" in output


def test_a_wrong_setting_is_named(capsys, monkeypatch):
    monkeypatch.setenv("FRUITS_CORE_INSTANCE_TYPE", "m5.metal")
    assert main(["estimate", "--images", "1"]) == 1
    assert "FRUITS_CORE_INSTANCE_TYPE" in capsys.readouterr().err


def test_takes_task_nodes_where_the_core_nodes_do_not_finish_in_time(capsys, monkeypatch):
    assert main(["estimate", "--images", "1000000", "--within-minutes", "60"]) == 0
    output = capsys.readouterr().out
    (row,) = [line for line in output.splitlines() if "1,000,000" in line]
    assert [cell.strip() for cell in row.split("│")[2:5]] == ["2", "1", "58"]


def test_never_takes_more_nodes_than_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("FRUITS_TASK_MARKET", "on-demand")
    assert main(["estimate", "--images", "1_000_000_000", "--most-nodes", "10"]) == 0
    output = capsys.readouterr().out
    assert "on-demand" in output
    (row,) = [line for line in output.splitlines() if "1,000,000,000" in line]
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["2", "8"]
    assert main(["estimate", "--images", "1_000_000_000", "--most-nodes", "1"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "1,000,000,000" in line]
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["2", "0"]
