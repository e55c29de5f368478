from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fruit_contract import lake
from tests.fruit_lake.folders import DAYS, EMBEDDER, VERSION, commit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for day in DAYS:
        commit(tmp_path, day, "first")
    provenance = tmp_path / lake.pca_provenance_key(VERSION)
    provenance.parent.mkdir(parents=True)
    provenance.write_text(json.dumps({"embedder_id": EMBEDDER}))
    return tmp_path
