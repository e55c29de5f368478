"""Checks what a run of the peers is checked for, and what their workers do. Daft and Ray themselves are only installed
by `make bench`.
"""

from __future__ import annotations

import hashlib
import io
from importlib.util import find_spec
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.peers import embedding
from benchmarks.peers.result import DAFT, RAY
from benchmarks.peers.run import _dates, count_rows, installed_peers
from fruit_cli.errors import CommandError
from fruit_contract import tables
from fruit_features.embedding.preprocessing import decode_image, network_input


class MeanEngine:
    """Takes one image, and fills its features with the mean of its pixels."""

    def embed(self, images):
        return np.full((len(images), 1280), images.mean(), dtype=np.float32)


def jpeg(shade):
    stream = io.BytesIO()
    Image.new("RGB", (20, 10), (shade, 0, 0)).save(stream, "JPEG")
    return stream.getvalue()


def test_workers_use_the_features_steps_own_preprocessing(monkeypatch):
    monkeypatch.setattr(embedding, "read_embedder", lambda _: MeanEngine())
    contents = [jpeg(10), jpeg(200)]
    found = embedding.embed_images(None, iter(contents), 2)
    assert found.content_sha256 == [hashlib.sha256(content).hexdigest() for content in contents]
    assert (found.width.tolist(), found.height.tolist()) == ([20, 20], [10, 10])
    for content, features in zip(contents, found.features, strict=True):
        assert np.array_equal(features, MeanEngine().embed(network_input(decode_image(content).pixels[None]))[0])


def test_counts_rows_and_wants_every_column(tmp_path):
    row = {name: ["x"] for name in tables.FEATURES_COLUMNS}
    for category in ("Kiwi", "Lemon"):
        (tmp_path / f"category={category}").mkdir()
        pq.write_table(pa.table(row), tmp_path / f"category={category}" / "part.parquet")
    assert count_rows(tmp_path) == 2
    pq.write_table(pa.table({tables.IMAGE_KEY: ["x"], tables.VECTOR: ["x"]}), tmp_path / "short.parquet")
    with pytest.raises(CommandError, match=r"short\.parquet lacks content_sha256, embedder_id, height, width"):
        count_rows(tmp_path)


def test_every_run_gets_a_date_of_its_own():
    assert list(islice(_dates(), 32))[-1] == "2026-02-01"


def test_what_is_not_installed_is_left_out_with_a_remark():
    peers, remarks = installed_peers()
    assert len(peers) + len(remarks) == 2
    for name, library in ((DAFT, "daft"), (RAY, "ray")):
        assert (name in peers) == (find_spec(library) is not None)
        assert (f"{name} is not installed, its rows are left out: make bench installs it." in remarks) == (
            name not in peers
        )


@pytest.mark.skipif(find_spec("daft") is None, reason="Daft is not installed: `make bench` installs it")
def test_daft_gets_the_columns_of_the_features_table(monkeypatch):
    from daft import Series

    from benchmarks.peers import daft_way

    monkeypatch.setattr(embedding, "read_embedder", lambda _: MeanEngine())
    found = daft_way._computing(None)(Series.from_pylist([jpeg(10), jpeg(200)]))
    assert found.type.field(tables.VECTOR).type == pa.large_list(pa.float32())
    assert [len(row[tables.VECTOR]) for row in found.to_pylist()] == [1280, 1280]


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: `make bench` installs it")
def test_ray_gets_the_columns_of_the_features_table(monkeypatch):
    from benchmarks.peers import ray_way

    monkeypatch.setattr(embedding, "read_embedder", lambda _: MeanEngine())
    artefact = embedding.EmbedderArtefact(None, "release", "embedder", "litert", "key", "digest")
    keys = [f"raw/ingest_date=2026-01-01/{category}/1.jpg" for category in ("Kiwi", "Lemon")]
    found = ray_way.embed_batch(
        pa.table({"bytes": [jpeg(10), jpeg(200)], "path": [f"lake/{key}" for key in keys]}), artefact
    )
    assert set(found.column_names) == {*tables.FEATURES_COLUMNS, tables.CATEGORY}
    assert (found[tables.IMAGE_KEY].to_pylist(), found[tables.CATEGORY].to_pylist()) == (keys, ["Kiwi", "Lemon"])
    assert found[tables.VECTOR].type == pa.list_(pa.float32())
