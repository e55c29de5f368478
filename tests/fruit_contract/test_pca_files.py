from __future__ import annotations

import json
from dataclasses import asdict

from fruit_contract.commit import MomentsObject
from fruit_contract.pca_files import EmbedderDate, Provenance


def test_a_provenance_comes_back_as_it_was_written() -> None:
    said = Provenance(
        "v1", "m", 7, ("2026-11-21", "2026-11-22"), 0.95, 3, 0.96, True, "r", "2026-11-22T00:00:00+00:00", "state"
    )
    assert Provenance.from_json(json.loads(json.dumps(asdict(said)))) == said


def test_a_date_of_an_embedder_comes_back_as_it_was_written() -> None:
    for moments in (None, MomentsObject("moments/x.parquet", 3, "00ff")):
        said = EmbedderDate(3, 4, 2, moments)
        assert EmbedderDate.from_json(json.loads(json.dumps(said.to_json()))) == said
