"""Checks a reader who lists projections while a run replaces those of a date."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fruit_lake
from fruit_contract import lake
from fruit_contract.commit import METADATA_KEY, Commit, EmbedderFiles, commit_to_json

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

EMBEDDER, VERSION = "e1", "20261120T080000Z-0123456789ab"
DAYS = ("2026-11-21", "2026-11-22")


def file_of(write: str) -> str:
    return f"category=Kiwi/{write}-0.parquet"


def projected(day: str, write: str) -> str:
    return lake.projections_file_key(VERSION, lake.date_prefix(lake.FEATURES, day) + file_of(write))


def commit(folder: Path, day: str, write: str, *, is_projected: bool = True) -> None:
    """Does what a run does that has written a date: it removes the former projections and leaves its own and the
    ledger.
    """
    for former in folder.glob(f"{lake.projections_date_prefix(VERSION, day)}/**/*.parquet"):
        former.unlink()
    if is_projected:
        path = folder / projected(day, write)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    said = Commit(day, write, 1, 0, {EMBEDDER: EmbedderFiles(1, {file_of(write): 1}, None)})
    ledger = folder / lake.ledger_key(day)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image_key": ["x"]}).replace_schema_metadata({METADATA_KEY: commit_to_json(said)}), ledger)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for day in DAYS:
        commit(tmp_path, day, "first")
    provenance = tmp_path / lake.pca_provenance_key(VERSION)
    provenance.parent.mkdir(parents=True)
    provenance.write_text(json.dumps({"embedder_id": EMBEDDER}))
    return tmp_path


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
