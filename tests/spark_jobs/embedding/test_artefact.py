from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fruit_contract import lake, release
from fruit_contract.release import DEFAULT_ENGINE
from fruit_features.embedding.artefact import EmbedderChangedError, find_embedder, load_embedder
from fruit_features.embedding.engines import engine_file
from tests.spark_jobs.lake_folder import EMBEDDER_ID, RELEASE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.spark_jobs.lake_folder import LakeFolder

MANIFEST = release.EMBEDDER + release.EMBEDDER_MANIFEST


def test_a_changed_model_is_not_loaded(published: LakeFolder) -> None:
    key = lake.release_prefix(RELEASE) + release.EMBEDDER + engine_file(DEFAULT_ENGINE)
    content = bytes(published.store.read(key))
    published.put(key, content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        EmbedderChangedError,
        match=rf"^The release is not as it was published: s3://.*{engine_file(DEFAULT_ENGINE)} has SHA",
    ):
        load_embedder(find_embedder(published.store, RELEASE, DEFAULT_ENGINE))


def test_the_nodes_checked_copy_says_what_the_model_must_be(published: LakeFolder, tmp_path: Path) -> None:
    key = lake.release_prefix(RELEASE) + MANIFEST
    content = bytes(published.store.read(key))
    (tmp_path / MANIFEST).parent.mkdir()
    (tmp_path / MANIFEST).write_bytes(content)
    published.put(key, json.dumps(json.loads(content) | {"embedder_id": "another", "files": {}}).encode())
    found = find_embedder(published.store, RELEASE, DEFAULT_ENGINE, tmp_path)
    assert found.embedder_id == EMBEDDER_ID
    assert load_embedder(found).embed is not None
