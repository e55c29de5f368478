"""A large date is what its ledger says it is."""

from __future__ import annotations

import hashlib

import pyarrow.parquet as pq

from benchmarks.scale.made_up_stores import FolderStore
from benchmarks.scale.synthetic_date import (
    KnownDate,
    add_late_image,
    category_names,
    draw_batch,
    draw_tiny,
    write_known_date,
)
from fruit_contract import lake, tables
from fruit_contract.commit import METADATA_KEY, commit_from_json
from fruit_features.embedding.preprocessing import decode_image

DATE = KnownDate("2026-01-01", 50, category_names(3), "embedder")


def names_of(folder):
    return sorted(str(file.relative_to(folder)) for file in (folder / lake.raw_prefix(DATE.ingest_date)).rglob("*.jpg"))


def test_images_are_spread_over_the_categories_in_the_order_of_their_keys():
    keys = [key for key, _, _ in DATE.images()]
    assert keys == sorted(set(keys))
    assert len(keys) == 50
    assert {len(numbers) for _, numbers in DATE.parts()} == {16, 17}


def test_a_tiny_picture_can_be_decoded_and_no_two_are_alike():
    decoded = decode_image(draw_tiny(7))
    assert (decoded.width, decoded.height) == (24, 24)
    assert len({draw_tiny(number) for number in range(200)}) == 200


def test_a_drawn_batch_is_complete(tmp_path):
    n_bytes = draw_batch(tmp_path, DATE, 1)
    assert names_of(tmp_path) == [key for key, _, _ in DATE.images()]
    assert n_bytes == sum((tmp_path / name).stat().st_size for name in names_of(tmp_path))
    assert (tmp_path / lake.success_marker_key(DATE.ingest_date)).exists()


def test_a_known_date_has_its_images_as_the_ledger_says(tmp_path):
    write_known_date(FolderStore("lake", tmp_path / "lake"), DATE, tmp_path / "pictures")
    ledger = pq.ParquetFile(tmp_path / "lake" / lake.ledger_key(DATE.ingest_date))
    commit = commit_from_json(ledger.metadata.metadata[METADATA_KEY.encode()].decode())
    rows = ledger.read().to_pylist()
    assert [row[tables.IMAGE_KEY] for row in rows] == names_of(tmp_path / "lake")
    for row in rows:
        content = (tmp_path / "lake" / row[tables.IMAGE_KEY]).read_bytes()
        assert row[tables.ETAG] == hashlib.md5(content, usedforsecurity=False).hexdigest()
        assert (row[tables.CONTENT_SHA256], row[tables.SIZE_BYTES]) == (
            hashlib.sha256(content).hexdigest(),
            len(content),
        )
        assert row[tables.FILE] in commit.features_keys()
    assert all((tmp_path / "lake" / key).exists() for key in commit.features_keys() | commit.moments_keys())
    assert commit.embedders["embedder"].n_rows == commit.n_images == 50


def test_a_late_image_is_no_content_that_is_known(tmp_path):
    draw_batch(tmp_path, DATE, 1)
    before = {(tmp_path / name).read_bytes() for name in names_of(tmp_path)}
    add_late_image(tmp_path, DATE)
    (late,) = [name for name in names_of(tmp_path) if name.endswith("late.jpg")]
    assert (tmp_path / late).read_bytes() not in before
