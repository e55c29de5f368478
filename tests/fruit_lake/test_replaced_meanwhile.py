"""Checks a reader who lists projections while a run replaces those of a date."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import fruit_lake
from fruit_contract import lake
from tests.fruit_lake.folders import DAYS, VERSION, commit, projected

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def listed(folder: Path) -> list[str]:
    return [file.removeprefix(f"{folder}/") for file in fruit_lake.projections_files(str(folder), version=VERSION)]


def replace_before_the_listing(monkeypatch: pytest.MonkeyPatch, folder: Path, *writes: str) -> None:
    """Has a run replace the files of the second day before each of the reader's first listings."""
    left, list_them = list(writes), fruit_lake._files_below

    def replaced(*arguments: Any) -> set[str]:
        if left:
            commit(folder, DAYS[1], left.pop(0))
        return list_them(*arguments)

    monkeypatch.setattr(fruit_lake, "_files_below", replaced)


@pytest.mark.parametrize("writes", [("second",), ("second", "third")])
def test_the_reader_finds_the_new_ones(monkeypatch: pytest.MonkeyPatch, folder: Path, writes: tuple[str, ...]) -> None:
    replace_before_the_listing(monkeypatch, folder, *writes)
    assert listed(folder) == [projected(DAYS[0], "first"), projected(DAYS[1], writes[-1])]


def test_a_date_that_leaves_the_lake_meanwhile_is_left_out(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    list_them = fruit_lake._files_below

    def removed(*arguments: Any) -> set[str]:
        (folder / lake.ledger_key(DAYS[1])).unlink(missing_ok=True)
        (folder / projected(DAYS[1], "first")).unlink(missing_ok=True)
        return list_them(*arguments)

    monkeypatch.setattr(fruit_lake, "_files_below", removed)
    assert listed(folder) == [projected(DAYS[0], "first")]


def test_what_is_committed_and_not_yet_projected_is_left_out(folder: Path) -> None:
    commit(folder, DAYS[1], "second", is_projected=False)
    assert listed(folder) == [projected(DAYS[0], "first")]
