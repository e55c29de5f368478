"""`make estimate` shows what `plan_run` would say."""

from __future__ import annotations

from fruit_cli.__main__ import main
from fruit_pipeline.planning.estimate import estimate
from fruit_pipeline.settings import load_settings


def test_prints_minutes_and_euros_of_each_number_of_images(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["estimate", "--images", "22,688", "--images", "10_000_000"]) == 0
    output = capsys.readouterr().out
    assert f"{estimate(22_688, load_settings()).euros:.2f}" in output
    assert "10,000,000" in output
    assert "images_per_second_per_vcpu" in output


def test_covers_ten_thousand_to_a_billion_images_by_itself(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["estimate"]) == 0
    output = capsys.readouterr().out
    assert "10,000 " in output
    assert "1,000,000,000" in output


def test_a_wrong_setting_is_named(capsys, monkeypatch):
    monkeypatch.setenv("FRUITS_CORE_INSTANCE_TYPE", "m5.metal")
    assert main(["estimate", "--images", "1"]) == 1
    assert "FRUITS_CORE_INSTANCE_TYPE" in capsys.readouterr().err


def test_takes_task_nodes_where_the_core_nodes_do_not_finish_in_time(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["estimate", "--images", "1000000", "--within-minutes", "60"]) == 0
    output = capsys.readouterr().out
    assert "spot task nodes" in output
    (row,) = [line for line in output.splitlines() if "1,000,000" in line]
    assert [cell.strip() for cell in row.split("│")[2:5]] == ["2", "1", "58"]


def test_never_takes_more_nodes_than_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("FRUITS_TASK_MARKET", "on-demand")
    assert main(["estimate", "--images", "1_000_000_000", "--most-nodes", "10"]) == 0
    output = capsys.readouterr().out
    assert "on-demand task nodes" in output
    (row,) = [line for line in output.splitlines() if "1,000,000,000" in line]
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["2", "8"]
    assert main(["estimate", "--images", "1_000_000_000", "--most-nodes", "1"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "1,000,000,000" in line]
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["2", "0"]
