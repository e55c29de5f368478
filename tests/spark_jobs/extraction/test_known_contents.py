"""Content that is featurised already is found under other keys, and only what is proved to be the same is copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from fruit_contract import lake
from fruit_contract.commit import file_key
from fruit_features.extraction import known_contents
from fruit_features.extraction.known_contents import SourceFiles, find_sources, write_content_index
from fruit_features.lake.store import Store
from tests.spark_jobs.written_dates import content, damage, keys_in, put_features, vector, write_date

if TYPE_CHECKING:
    from tests.spark_jobs.lake_folder import LakeFolder

DAYS = ("2026-11-20", "2026-11-21", "2026-11-22")
KIWI = "category=Kiwi/w1-000000.parquet"
NAMES = [f"category=Kiwi/w1-{number:06d}.parquet" for number in range(4)]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list that gets the keys that are read, in order."""
    found: list[str] = []
    find = Store.find_with_etag

    def noted(store: Store, key: str) -> object:
        found.append(key)
        return find(store, key)

    monkeypatch.setattr(Store, "find_with_etag", noted)
    return found


def image(number: int, day: str = DAYS[0]) -> str:
    return keys_in(day, KIWI, [f"{number}.jpg"])[0]


def key(number: int) -> str:
    return file_key(DAYS[0], NAMES[number])


def images_like(*keys: str) -> pa.Table:
    """Returns images of a listing that look like those of `keys` in a ledger."""
    return pa.table(
        {
            "image_key": [f"new {name}" for name in keys],
            "etag": [f"etag of {name}" for name in keys],
            "size_bytes": [7] * len(keys),
        }
    )


def remember(store: Store, day: str, *keys: str, embedder_id: str = "m", whole: bool = True) -> None:
    write_content_index(store, embedder_id, day, [(f"etag of {name}", 7) for name in keys], whole=whole)


def test_a_content_is_found_in_the_file_that_a_ledger_names_for_it(test_lake: LakeFolder) -> None:
    store = test_lake.store
    for day in DAYS[:2]:
        write_date(store, day, {KIWI: ("1.jpg", "2.jpg")})
        remember(store, day, *(image(number, day) for number in (1, 2)))

    found = find_sources(store, "m", images_like(image(1), "new", image(2, DAYS[1])))

    assert found == [file_key(DAYS[0], KIWI), None, file_key(DAYS[1], KIWI)]
    assert find_sources(store, "other", images_like(image(1))) == [None]
    assert find_sources(store, "m", images_like()) == []


def test_of_several_dates_the_latest_is_asked(test_lake: LakeFolder) -> None:
    store = test_lake.store
    for day in DAYS[:2]:
        write_date(store, day, {KIWI: ("1.jpg",)})
        remember(store, day, image(1, DAYS[1]))
    assert find_sources(store, "m", images_like(image(1, DAYS[1]))) == [file_key(DAYS[1], KIWI)]


def test_what_is_remembered_and_no_longer_true_has_no_source(test_lake: LakeFolder) -> None:
    """An index only points at dates: what a ledger does not say is not there."""
    store = test_lake.store
    write_date(store, DAYS[0], {"former": {KIWI: ("1.jpg",)}}, rejected={"Kiwi/2.jpg": "truncated"})
    remember(store, DAYS[0], image(1), image(2), image(3))
    remember(store, DAYS[1], "of a date without a ledger")

    assert (
        find_sources(store, "m", images_like(image(1), image(2), image(3), "of a date without a ledger")) == [None] * 4
    )


def test_only_ledgers_of_dates_that_have_such_a_content_are_read(test_lake: LakeFolder, reads: list[str]) -> None:
    store = test_lake.store
    for day in DAYS:
        write_date(store, day, {KIWI: ("1.jpg",)})
        remember(store, day, image(1, day))
    reads.clear()

    find_sources(store, "m", images_like(image(1, DAYS[1])))
    assert [name for name in reads if name.endswith("ledger.parquet")] == [lake.ledger_key(DAYS[1])]

    reads.clear()
    find_sources(store, "m", images_like("new"))
    assert [name for name in reads if name.endswith("ledger.parquet")] == []


def test_of_each_date_only_the_contents_are_looked_up_that_point_to_it(
    test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step may know a million contents of a thousand dates."""
    store = test_lake.store
    for day in DAYS:
        write_date(store, day, {KIWI: ("1.jpg", "2.jpg")})
        remember(store, day, *(image(number, day) for number in (1, 2)))
    asked: dict[str, int] = {}
    look = known_contents._places

    def noted(store: Store, embedder_id: str, day: str, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], str]:
        asked[day] = len(wanted)
        return look(store, embedder_id, day, wanted)

    monkeypatch.setattr(known_contents, "_places", noted)
    found = find_sources(store, "m", images_like(image(1, DAYS[0]), image(1, DAYS[1]), image(2, DAYS[1])))

    assert asked == {DAYS[0]: 1, DAYS[1]: 2}
    assert found == [file_key(DAYS[0], KIWI), file_key(DAYS[1], KIWI), file_key(DAYS[1], KIWI)]


def test_what_is_looked_up_is_bounded(test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    store = test_lake.store
    write_date(store, DAYS[0], {KIWI: tuple(f"{number}.jpg" for number in range(5))})
    remember(store, DAYS[0], *map(image, range(5)))
    monkeypatch.setattr(known_contents, "MOST_LOOKED_UP", 2)

    found = find_sources(store, "m", images_like(*map(image, range(5))))

    assert sum(source is not None for source in found) == 2


def test_an_index_grows_by_what_is_added_and_is_replaced_as_a_whole(test_lake: LakeFolder) -> None:
    store = test_lake.store
    write_date(store, DAYS[0], {KIWI: tuple(f"{number}.jpg" for number in range(3))})
    remember(store, DAYS[0], image(0))
    remember(store, DAYS[0], image(1), whole=False)
    assert [source is not None for source in find_sources(store, "m", images_like(*map(image, range(3))))] == [
        True,
        True,
        False,
    ]

    remember(store, DAYS[0], image(2), whole=True)
    assert [source is not None for source in find_sources(store, "m", images_like(*map(image, range(3))))] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("is_gone", [True, False])
def test_to_an_index_that_is_gone_or_was_cut_off_nothing_is_added(test_lake: LakeFolder, is_gone: bool) -> None:
    store = test_lake.store
    key = lake.content_index_key("m", DAYS[0])
    if not is_gone:
        store.write(key, b"\0" * 15)

    assert not write_content_index(store, "m", DAYS[0], [("a", 7)], whole=False)
    assert store.find(key) is None if is_gone else bytes(store.read(key)) == b"\0" * 15
    assert write_content_index(store, "m", DAYS[0], [("a", 7)], whole=True)
    assert len(store.read(key)) == 8


@pytest.fixture
def filled(test_lake: LakeFolder) -> Store:
    for number, name in enumerate(NAMES[:3]):
        put_features(test_lake.store, DAYS[0], name, (f"{number}.jpg", f"{number}-again.jpg"))
    return test_lake.store


def test_features_are_those_of_the_content_and_not_of_the_key(filled: Store) -> None:
    sources = SourceFiles(filled, "m", {"new": key(1)})

    found = sources.find("new", content(image(1)))

    np.testing.assert_array_equal(found.vector, vector(image(1)))
    assert (found.width, found.height) == (60, 60)
    # It looked the same, and is not.
    assert sources.find("new", content(image(0))) is None
    assert sources.find("without a source", content(image(1))) is None


def test_a_file_that_is_gone_has_no_features(filled: Store) -> None:
    assert SourceFiles(filled, "m", {"new": key(3)}).find("new", content(image(3))) is None


def test_a_file_in_which_a_bit_has_changed_has_no_features(filled: Store) -> None:
    assert SourceFiles(filled, "m", {"new": key(1)}).find("new", content(image(1))) is not None
    damage(filled, key(1))
    assert SourceFiles(filled, "m", {"new": key(1)}).find("new", content(image(1))) is None


def test_rows_of_another_embedder_are_no_source(filled: Store) -> None:
    put_features(filled, DAYS[0], NAMES[3], ("3.jpg",), "other")
    assert SourceFiles(filled, "m", {"new": key(3)}).find("new", content(image(3))) is None
    assert SourceFiles(filled, "other", {"new": key(3)}).find("new", content(image(3))) is not None


def test_images_that_come_together_cost_one_read(filled: Store, reads: list[str]) -> None:
    sources = SourceFiles(filled, "m", {f"new {number}": key(0) for number in range(9)})
    for number in range(9):
        assert sources.find(f"new {number}", content(image(0))) is not None
    assert reads == [key(0)]


def test_of_files_that_are_used_in_turn_the_two_last_used_are_kept(filled: Store, reads: list[str]) -> None:
    sources = SourceFiles(filled, "m", {str(number): key(number) for number in range(4)})

    def use(*numbers: int) -> list[str]:
        reads.clear()
        for number in numbers:
            sources.find(str(number), content(image(number)))
        return list(reads)

    assert use(0, 1, 0, 1) == [key(0), key(1)]
    # The first was used last, so that the second goes.
    assert use(0, 2, 0) == [key(2)]
    assert use(1) == [key(1)]


def test_a_file_is_not_kept_for_ever(filled: Store) -> None:
    sources = SourceFiles(filled, "m", {str(number): key(number) for number in range(3)})
    for number in range(3):
        sources.find(str(number), content(image(number)))
    filled.delete([key(number) for number in range(3)])
    assert [sources.find(str(number), content(image(number))) is not None for number in (1, 2, 0)] == [
        True,
        True,
        False,
    ]
