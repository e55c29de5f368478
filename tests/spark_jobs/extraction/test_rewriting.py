"""Files of features that are written again hold the rows that stay, byte for byte, and their projections go with
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract import lake
from fruit_contract.commit import file_key
from fruit_features.extraction import rewriting
from fruit_features.extraction.rewriting import (
    MOST_SMALL_FILES,
    Rewrite,
    Rewritten,
    plan_merges,
    renamed,
    rewrite_files,
)
from fruit_features.lake import files
from fruit_features.lake.store import ObjectNotFoundError
from fruit_features.lake.vectors import to_list_array, to_matrix
from tests.spark_jobs.written_dates import damage, keys_in, put_features, vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_features.lake.store import Store
    from tests.spark_jobs.lake_folder import LakeFolder

DAY = "2026-11-22"
ONE, TWO = "category=Äpfel 50%25/w1-000001.parquet", "category=Äpfel 50%25/w1-000002.parquet"
TARGET = "category=Äpfel 50%25/w2-c001-r00000.parquet"
IMAGES = {ONE: ("1.jpg", "2.jpg", "3.jpg"), TWO: ("4.jpg", "5.jpg")}

FILE_ROWS = st.dictionaries(
    st.builds(
        lambda category, number: f"category={category}/{number:04}.parquet", st.sampled_from("KL"), st.integers(0, 99)
    ),
    st.integers(1, 3000),
    max_size=80,
)


def is_small(n_rows: int) -> bool:
    return n_rows < rewriting._SMALL_ROWS


@given(file_rows=FILE_ROWS)
def test_only_small_files_of_partitions_with_too_many_of_them_are_merged_each_once(file_rows: dict[str, int]) -> None:
    groups = plan_merges(file_rows)

    merged = [name for group in groups for name in group]
    assert len(merged) == len(set(merged))
    small = {
        category: [name for name in file_rows if name.startswith(category) and is_small(file_rows[name])]
        for category in CATEGORIES
    }
    assert set(merged) == {name for names in small.values() if len(names) > MOST_SMALL_FILES for name in names}
    for group in groups:
        assert len({name.partition("/")[0] for name in group}) == 1
        assert group == sorted(group)
        assert sum(file_rows[name] for name in group) <= rewriting._MOST_ROWS


CATEGORIES = ("category=K/", "category=L/")


@given(file_rows=FILE_ROWS)
def test_merging_comes_to_an_end(file_rows: dict[str, int]) -> None:
    """Each round leaves fewer files, so that a step does not merge the same again and again."""
    now = dict(file_rows)
    for round_number in range(100):
        groups = plan_merges(now)
        if not groups:
            break
        n_before = len(now)
        for number, group in enumerate(groups):
            folder = group[0].rpartition("/")[0]
            now[f"{folder}/r{round_number}-{number}.parquet"] = sum(now.pop(name) for name in group)
        assert len(now) < n_before
    assert plan_merges(now) == []
    assert sum(now.values()) == sum(file_rows.values())


def test_as_many_small_files_as_are_allowed_are_left_alone() -> None:
    few = {f"category=K/{number:03}.parquet": 1 for number in range(MOST_SMALL_FILES)}
    assert plan_merges(few) == []
    assert plan_merges(few | {"category=K/more.parquet": 1}) == [sorted([*few, "category=K/more.parquet"])]
    assert plan_merges(few | {"category=K/large.parquet": 5000}) == []


def test_files_that_are_projected_under_other_versions_stay_apart() -> None:
    """A file of both would have the projections of neither until the next PCA step."""
    names = [f"category=K/{number:03}.parquet" for number in range(2 * MOST_SMALL_FILES + 1)]
    file_rows = dict.fromkeys(names, 1)
    few, many = names[:MOST_SMALL_FILES], names[MOST_SMALL_FILES:]

    assert plan_merges(file_rows, dict.fromkeys(few, frozenset({"v1"}))) == [many]
    assert plan_merges(file_rows, dict.fromkeys(many, frozenset({"v1", "v2"}))) == [many]
    assert plan_merges(file_rows, dict.fromkeys(names, frozenset({"v1"}))) == [names]


@pytest.fixture
def filled(test_lake: LakeFolder) -> Store:
    for name, images in IMAGES.items():
        put_features(test_lake.store, DAY, name, images)
    return test_lake.store


def keys_of(*names: str) -> list[str]:
    return [key for name in names for key in keys_in(DAY, name, IMAGES[name])]


def put_projections(store: Store, version: str, name: str, k: int = 3) -> None:
    keys = keys_of(name)
    rows = pa.Table.from_arrays(
        [pa.array(keys), to_list_array([vectors([key])[0][:k] for key in keys])], schema=files.PROJECTIONS
    )
    store.write(lake.projections_file_key(version, file_key(DAY, name)), files.projections_to_parquet(rows))


def rewrite(sources: Sequence[str], leaving: dict[str, Sequence[str]]) -> Rewrite:
    return Rewrite(DAY, "m", tuple(sources), TARGET, {name: frozenset(keys) for name, keys in leaving.items()})


def assert_target(store: Store, keys: Sequence[str]) -> None:
    rows = files.read_rows(TARGET, store.read(file_key(DAY, TARGET)), files.FEATURES.names)
    assert rows.column("image_key").to_pylist() == list(keys)
    np.testing.assert_array_equal(to_matrix(rows.column("features").combine_chunks(), 1280), vectors(keys))


def test_images_that_leave_are_left_out(filled: Store) -> None:
    first, second, third = keys_of(ONE)

    done = rewrite_files(filled, rewrite([ONE], {ONE: [second, "not in this file"]}), ())

    assert (done.n_rows, done.n_left, done.is_changed) == (2, 1, True)
    assert_target(filled, [first, third])
    # The former file counts until a ledger says otherwise.
    assert filled.find(file_key(DAY, ONE)) is not None


def test_an_image_leaves_only_the_file_that_it_is_said_to_leave(filled: Store) -> None:
    """A replaced image is in the new file under the same key."""
    replaced = keys_of(TWO)[0]

    done = rewrite_files(filled, rewrite([ONE, TWO], {ONE: [replaced]}), ())

    assert (done.n_rows, done.n_left) == (5, 0)
    assert_target(filled, keys_of(ONE, TWO))


def test_small_files_become_one_and_what_leaves_them_is_left_out(filled: Store) -> None:
    done = rewrite_files(filled, rewrite([ONE, TWO], {ONE: keys_of(ONE)[:1], TWO: keys_of(TWO)[1:]}), ())

    assert (done.n_rows, done.n_left) == (3, 2)
    assert_target(filled, keys_of(ONE, TWO)[1:4])


def test_a_file_without_any_of_the_images_is_left_as_it_is(filled: Store) -> None:
    done = rewrite_files(filled, rewrite([ONE], {ONE: ["elsewhere"]}), ())

    assert (done.n_rows, done.n_left, done.is_changed) == (3, 0, False)
    assert filled.find(file_key(DAY, TARGET)) is None


def test_a_file_that_all_images_leave_has_no_successor(filled: Store) -> None:
    put_projections(filled, "v1", ONE)

    done = rewrite_files(filled, rewrite([ONE], {ONE: keys_of(ONE)}), ("v1",))

    assert (done.n_rows, done.n_left, done.is_changed) == (0, 3, True)
    assert filled.find(file_key(DAY, TARGET)) is None
    assert len(filled.list_keys("projections/")) == 1


def test_versions_that_have_the_projections_of_all_sources_have_those_of_the_target(filled: Store) -> None:
    for version, names in (("all", (ONE, TWO)), ("some", (TWO,)), ("none", ())):
        for name in names:
            put_projections(filled, version, name)

    rewrite_files(filled, rewrite([ONE, TWO], {ONE: keys_of(ONE)[:1]}), ("all", "some", "none"))

    assert [key for key in filled.list_keys("projections/") if key.endswith(TARGET)] == [
        lake.projections_file_key("all", file_key(DAY, TARGET))
    ]
    rows = files.read_rows(
        TARGET, filled.read(lake.projections_file_key("all", file_key(DAY, TARGET))), files.PROJECTIONS.names
    )
    staying = keys_of(ONE, TWO)[1:]
    assert rows.column("image_key").to_pylist() == staying
    np.testing.assert_array_equal(to_matrix(rows.column("components").combine_chunks(), 3), vectors(staying)[:, :3])


def test_projections_come_before_the_features_that_they_are_of(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that who finds the features also finds the projections."""
    put_projections(filled, "v1", ONE)
    written: list[str] = []
    write = type(filled).write

    def noted(store: Store, key: str, content: memoryview) -> None:
        written.append(key.partition("/")[0])
        write(store, key, content)

    monkeypatch.setattr(type(filled), "write", noted)
    rewrite_files(filled, rewrite([ONE], {ONE: keys_of(ONE)[:1]}), ("v1",))
    assert written == ["projections", "features"]


def test_a_source_that_is_gone_is_named(filled: Store) -> None:
    filled.delete([file_key(DAY, TWO)])
    with pytest.raises(ObjectNotFoundError, match=r"w1-000002\.parquet does not exist"):
        rewrite_files(filled, rewrite([ONE, TWO], {}), ())


def test_a_source_in_which_a_bit_has_changed_is_named_and_not_copied(filled: Store) -> None:
    damage(filled, file_key(DAY, TWO))
    with pytest.raises(files.DamagedFileError, match=r"w1-000002\.parquet is not as it was written"):
        rewrite_files(filled, rewrite([ONE, TWO], {}), ())


def test_damaged_projections_are_left_to_the_pca_step(filled: Store) -> None:
    put_projections(filled, "v1", ONE)
    damage(filled, lake.projections_file_key("v1", file_key(DAY, ONE)))
    rewrite_files(filled, rewrite([ONE], {ONE: keys_of(ONE)[:1]}), ("v1",))
    assert filled.find(file_key(DAY, TARGET)) is not None
    assert filled.find(lake.projections_file_key("v1", file_key(DAY, TARGET))) is None


def test_files_that_were_written_again_have_their_new_names() -> None:
    done = [Rewritten(Rewrite(DAY, "m", (ONE, TWO), TARGET, {}), 5, 0)]
    other = f"features/ingest_date={DAY}/category=Kiwi/w1-000001.parquet"
    column = pa.chunked_array([[file_key(DAY, ONE), None], [other, file_key(DAY, TWO)]], pa.string())

    assert renamed(column, done).to_pylist() == [file_key(DAY, TARGET), None, other, file_key(DAY, TARGET)]
    assert renamed(column, []).equals(column)
