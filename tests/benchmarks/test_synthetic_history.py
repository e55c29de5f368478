"""A synthetic history is a lake as the contract describes it."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import synthetic_history
from benchmarks.history_run import NEW_DAY
from benchmarks.synthetic_history import (
    CATEGORIES,
    History,
    Partition,
    clone_lake,
    days_before,
    features_table,
    ledger_table,
    moments_table,
    partitions_of,
    projections_table,
    synthetic_vectors,
    write_history,
)
from fruit_contract import lake, tables
from fruit_features.extraction.content_hashes import common_hashes, hash_contents
from fruit_features.moments.algebra import empty_moments, moments_of, unpack_upper_triangle
from fruit_features.moments.history_tree import HistoryTree, Read
from fruit_features.moments_states import fingerprint
from fruit_features.pca.fit import fit_pca


@pytest.fixture(scope="module")
def model():
    return fit_pca(moments_of(synthetic_vectors(50, seed=1)), 0.95)


def partition(category="Kiwi", n=3, seed=2):
    return Partition("2026-01-01", category, "embedder", synthetic_vectors(n, seed))


def kind(arrow_type):
    if pa.types.is_list(arrow_type):
        return f"list<{arrow_type.value_type}>"
    return "int" if pa.types.is_integer(arrow_type) else str(arrow_type)


def test_every_table_has_the_columns_of_the_contract(model):
    expected = {
        tables.FEATURES_COLUMNS: features_table(partition()),
        tables.PROJECTIONS_COLUMNS: projections_table(partition(), model),
        tables.LEDGER_COLUMNS: ledger_table([partition()]),
        tables.MOMENTS_COLUMNS: moments_table([partition()]),
    }
    for columns, table in expected.items():
        assert tuple(table.column_names) == columns
        assert {name: kind(table.schema.field(name).type) for name in columns} == {name: tables.COLUMN_TYPES[name] for name in columns}


def test_moments_are_those_of_the_date_s_features():
    parts = [partition("Banana", seed=3), partition("Kiwi", seed=4)]
    row = moments_table(parts).to_pylist()[0]
    expected = moments_of(np.concatenate([part.vectors for part in parts]))
    assert row[tables.N_SAMPLES] == 6
    np.testing.assert_allclose(row[tables.MEAN], expected.mean)
    scatter = unpack_upper_triangle(np.array(row[tables.SCATTER]), tables.N_FEATURES)
    np.testing.assert_allclose(scatter, expected.scatter, atol=1e-12)


def test_every_image_of_a_date_has_a_ledger_line_and_a_content_of_its_own():
    parts = [partition("Banana"), partition("Kiwi")]
    lines = ledger_table(parts).to_pylist()
    assert {line[tables.IMAGE_KEY] for line in lines} == {key for part in parts for key in part.image_keys}
    assert len({line[tables.CONTENT_SHA256] for line in lines}) == len({line[tables.ETAG] for line in lines}) == 6
    assert {lake.parse_image_key(line[tables.IMAGE_KEY]).category for line in lines} == {"Banana", "Kiwi"}


def test_a_date_has_the_same_features_whenever_it_is_drawn_and_no_other_date_s():
    history = History(("2026-01-01", "2026-01-02"), 2, "release", "embedder")
    first, again, other = (partitions_of(history, day) for day in ("2026-01-01", "2026-01-01", "2026-01-02"))
    assert [part.category for part in first] == list(CATEGORIES)
    np.testing.assert_array_equal(first[0].vectors, again[0].vectors)
    assert not np.array_equal(first[0].vectors, other[0].vectors)
    assert not np.array_equal(first[0].vectors, first[1].vectors)


def test_the_days_end_the_day_before():
    assert days_before("2026-03-02", 3) == ("2026-02-27", "2026-02-28", "2026-03-01")


def test_a_written_history_has_a_state_an_index_and_a_projection_for_every_date(tmp_path, monkeypatch, model):
    monkeypatch.setattr(synthetic_history, "synthetic_model", lambda: model)
    history = History(("2026-01-01", "2026-01-02"), 1, "release", "embedder")
    write_history(tmp_path, history)
    version = json.loads((tmp_path / lake.CURRENT_PCA_KEY).read_text())["version"]
    states = json.loads((tmp_path / lake.projected_record_key(version)).read_text())
    assert sorted(states) == list(history.days)
    for day, state in states.items():
        assert (tmp_path / lake.moments_state_key(day, "embedder", state)).read_bytes() == b""
        (file,) = (tmp_path / lake.date_prefix(lake.MOMENTS, day)).glob("*.parquet")
        row = pq.read_table(file, columns=[tables.N_SAMPLES, tables.CONTENT_DIGEST], partitioning=None).to_pylist()[0]
        assert fingerprint(row[tables.N_SAMPLES], row[tables.CONTENT_DIGEST]) == state
        wanted = hash_contents(partitions_of(history, day)[0].contents)
        assert len(common_hashes((tmp_path / lake.content_index_key("embedder", day)).read_bytes(), wanted)) == 1
        for category in CATEGORIES:
            assert list((tmp_path / lake.partition_prefix(lake.FEATURES, day, category)).glob("*.parquet"))
            assert list((tmp_path / lake.projections_partition_prefix(version, day, category)).glob("*.parquet"))


def test_a_clone_keeps_what_is_written_over_apart(tmp_path):
    source, clone = tmp_path / "source", tmp_path / "clone"
    (source / "a").mkdir(parents=True)
    (source / "a" / "record.json").write_text("{}")
    (source / "a" / "rows.parquet").write_bytes(b"rows")
    clone_lake(source, clone)
    assert (clone / "a" / "rows.parquet").samefile(source / "a" / "rows.parquet")
    with (clone / "a" / "record.json").open("r+") as file:
        file.write("[]")
    assert (source / "a" / "record.json").read_text() == "{}"


class _Storage:
    """Has moments of no numbers for everything, and counts what a merge reads."""

    def read(self, sources):
        return {source: Read("state", empty_moments(1)) for source in sources}

    def keep(self, block, fingerprint, moments):
        pass


def moments_read(new_day, n_days):
    states = dict.fromkeys(days_before(new_day, n_days), "state")
    before = HistoryTree(states, {}, _Storage(), 1)
    before.merge_all()
    after = HistoryTree(states | {new_day: "state"}, before.kept, _Storage(), 1)
    after.merge_all()
    return after.n_read


@pytest.mark.parametrize("n_days", [30, 100])
def test_no_day_reads_more_moments_than_the_new_day_of_the_benchmark(n_days):
    others = days_before(NEW_DAY, 256)
    assert moments_read(NEW_DAY, n_days) == max(moments_read(day, n_days) for day in others)
