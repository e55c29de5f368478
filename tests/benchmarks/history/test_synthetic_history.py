"""A synthetic history is a lake as the contract describes it."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.history import synthetic_history
from benchmarks.history.run import NEW_DAY
from benchmarks.history.synthetic_history import (
    CATEGORIES,
    Partition,
    SyntheticHistory,
    clone_lake,
    days_before,
    features_table,
    ledger_table,
    partitions_of,
    projections_table,
    synthetic_vectors,
    write_features,
    write_history,
)
from benchmarks.scale.made_up_stores import FolderStore
from fruit_contract import lake, tables
from fruit_contract.commit import METADATA_KEY, commit_from_json, images_digest
from fruit_features.extraction.content_hashes import common_hashes, hash_contents
from fruit_features.moments.algebra import empty_moments, moments_of, unpack_upper_triangle
from fruit_features.moments.history_tree import HistoryTree
from fruit_features.pca.fit import Projector, fit_pca

HISTORY = SyntheticHistory(("2026-01-01", "2026-01-02"), 2, "release", "embedder")


@pytest.fixture(scope="module")
def model():
    return fit_pca(moments_of(synthetic_vectors(50, seed=1)), 0.95)


@pytest.fixture
def written(tmp_path, monkeypatch, model):
    """Returns the folder of a lake with HISTORY."""
    monkeypatch.setattr(synthetic_history, "synthetic_model", lambda: model)
    write_history(FolderStore("lake", tmp_path), HISTORY)
    return tmp_path


def partition(category="Kiwi", n=3, seed=2):
    return Partition("2026-01-01", category, "embedder", synthetic_vectors(n, seed))


def kind(arrow_type):
    if pa.types.is_list(arrow_type):
        return f"list<{arrow_type.value_type}>"
    return "int" if pa.types.is_integer(arrow_type) else str(arrow_type)


def commit_of_date(folder, day):
    """Returns the commit in the ledger's footer, and the ledger's rows."""
    ledger = pq.ParquetFile(folder / lake.ledger_key(day))
    return commit_from_json(ledger.metadata.metadata[METADATA_KEY.encode()].decode()), ledger.read().to_pylist()


def keys_below(folder, prefix):
    return {str(file.relative_to(folder)) for file in (folder / prefix).rglob("*.parquet")}


@pytest.mark.slow
def test_every_table_has_the_columns_of_the_contract(model):
    expected = {
        tables.FEATURES_COLUMNS: features_table(partition()),
        tables.PROJECTIONS_COLUMNS: projections_table(partition(), Projector(model)),
        tables.LEDGER_COLUMNS: ledger_table([partition()]),
    }
    for columns, table in expected.items():
        assert tuple(table.column_names) == columns
        assert {name: kind(table.schema.field(name).type) for name in columns} == {
            name: tables.COLUMN_TYPES[name] for name in columns
        }


def test_every_image_of_a_date_has_a_ledger_line_and_a_content_of_its_own():
    parts = [partition("Banana"), partition("Kiwi")]
    lines = ledger_table(parts).to_pylist()
    assert [line[tables.IMAGE_KEY] for line in lines] == sorted(line[tables.IMAGE_KEY] for line in lines)
    assert {line[tables.IMAGE_KEY] for line in lines} == {key for part in parts for key in part.image_keys}
    assert len({line[tables.CONTENT_SHA256] for line in lines}) == len({line[tables.ETAG] for line in lines}) == 6
    assert {lake.parse_image_key(line[tables.IMAGE_KEY]).category for line in lines} == {"Banana", "Kiwi"}


def test_a_date_has_the_same_features_whenever_it_is_drawn_and_no_other_date_s():
    first, again, other = (partitions_of(HISTORY, day) for day in ("2026-01-01", "2026-01-01", "2026-01-02"))
    assert [part.category for part in first] == list(CATEGORIES)
    np.testing.assert_array_equal(first[0].vectors, again[0].vectors)
    assert not np.array_equal(first[0].vectors, other[0].vectors)
    assert not np.array_equal(first[0].vectors, first[1].vectors)


def test_the_days_end_the_day_before():
    assert days_before("2026-03-02", 3) == ("2026-02-27", "2026-02-28", "2026-03-01")


@pytest.mark.parametrize("day", HISTORY.days)
def test_a_date_s_commit_names_the_files_that_are_there(written, day):
    commit, rows = commit_of_date(written, day)
    assert (
        commit.features_keys()
        == keys_below(written, lake.date_prefix(lake.FEATURES, day))
        == {row[tables.FILE] for row in rows}
    )
    assert commit.moments_keys() == keys_below(written, lake.date_prefix(lake.MOMENTS, day))
    found = commit.embedders["embedder"]
    assert (commit.n_images, found.n_images, found.n_rows, len(rows)) == (8, 8, 8, 8)
    wanted = hash_contents([(row[tables.ETAG], row[tables.SIZE_BYTES]) for row in rows])
    assert len(common_hashes((written / lake.content_index_key("embedder", day)).read_bytes(), wanted)) == 8


@pytest.mark.slow
def test_moments_are_those_of_the_date_s_features(written):
    commit, rows = commit_of_date(written, HISTORY.days[0])
    moments = commit.embedders["embedder"].moments
    row = pq.read_table(written / moments.key, partitioning=None).to_pylist()[0]
    expected = moments_of(np.concatenate([part.vectors for part in partitions_of(HISTORY, HISTORY.days[0])]))
    assert moments.n_samples == row[tables.N_SAMPLES] == 8
    assert int(moments.images_digest, 16) == images_digest(
        (row[tables.IMAGE_KEY], row[tables.CONTENT_SHA256]) for row in rows
    )
    np.testing.assert_allclose(row[tables.MEAN], expected.mean)
    scatter = unpack_upper_triangle(np.array(row[tables.SCATTER]), tables.N_FEATURES)
    np.testing.assert_allclose(scatter, expected.scatter, atol=1e-12)


def test_every_file_of_features_is_projected_under_the_current_version(written):
    version = json.loads((written / lake.CURRENT_PCA_KEY).read_text())["version"]
    features = keys_below(written, lake.FEATURES)
    assert len(features) == HISTORY.n_partitions
    projections = keys_below(written, lake.projections_prefix(version))
    assert projections == {lake.projections_file_key(version, key) for key in features}
    assert (written / lake.pca_provenance_key(version)).exists()


def test_features_alone_are_committed_without_moments(tmp_path):
    write_features(FolderStore("lake", tmp_path), HISTORY)
    commit, _ = commit_of_date(tmp_path, HISTORY.days[0])
    assert commit.embedders["embedder"].moments is None
    assert commit.features_keys() <= keys_below(tmp_path, lake.FEATURES)
    assert not (tmp_path / lake.MOMENTS).exists()


def test_a_clone_keeps_what_is_written_over_apart(tmp_path):
    source, clone = tmp_path / "source", tmp_path / "clone"
    (source / "a").mkdir(parents=True)
    (source / "a" / "record.json").write_text("{}")
    (source / "a" / "rows.parquet").write_bytes(b"rows")
    (source / "a" / "ledger.parquet").write_bytes(b"ledger")
    clone_lake(source, clone)
    assert (clone / "a" / "rows.parquet").samefile(source / "a" / "rows.parquet")
    with (clone / "a" / "record.json").open("r+") as file:
        file.write("[]")
    assert (source / "a" / "record.json").read_text() == "{}"
    assert not (clone / "a" / "ledger.parquet").samefile(source / "a" / "ledger.parquet")


class _Storage:
    """Gives empty moments for everything."""

    def read(self, sources):
        return {source: empty_moments(1) for source in sources}

    def keep(self, block, fingerprint, moments):
        pass


def moments_read(new_day, n_days):
    states = dict.fromkeys(days_before(new_day, n_days), "state")
    before = HistoryTree(states, {}, _Storage(), 1)
    before.merge_all()
    after = HistoryTree(states | {new_day: "state"}, before.kept, _Storage(), 1)
    after.merge_all()
    return after.n_read


@pytest.mark.slow
@pytest.mark.parametrize("n_days", [30, 100])
def test_no_day_reads_more_moments_than_the_new_day_of_the_benchmark(n_days):
    others = days_before(NEW_DAY, 256)
    assert moments_read(NEW_DAY, n_days) == max(moments_read(day, n_days) for day in others)
