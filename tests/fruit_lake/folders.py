"""Writes a lake of two committed dates into a folder: ledgers, a PCA version and the names of its projections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from fruit_contract import lake
from fruit_contract.commit import METADATA_KEY, Commit, EmbedderFiles, commit_to_json

if TYPE_CHECKING:
    from pathlib import Path

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


def point_at_the_version(folder: Path) -> None:
    (folder / lake.CURRENT_PCA_KEY).write_text(json.dumps({"version": VERSION}))
