"""Reads and writes through the fast store, and through boto3 where that can't name a key, on an S3 API that holds any
key.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from fruit_contract.listing import ListedObject
from fruit_features.lake import store as store_module
from fruit_features.lake.store import LostPlaceError, ObjectNotFoundError, Store, at_once, listed_table

if TYPE_CHECKING:
    import pyarrow as pa

    from tests.spark_jobs.lake_folder import LakeFolder

PREFIX = "raw/ingest_date=2026-11-22/"
PLAIN = ("Kiwi/1.jpg", "Kiwi/a b%41+é.jpg", "Äpfel 50%/~^\\.jpg", "Kiwi/e\u0301.jpg", "Kiwi/deep/er/2.jpg", "_SUCCESS")
# Not nameable for the fast store: empty path segments, control characters, dots.
ODD = ("Kiwi//x.jpg", "Kiwi/\x01.jpg", "Kiwi/./x.jpg")
KEY = "ledger/ingest_date=2026-11-22/ledger.parquet"


def put(store: Store, names: tuple[str, ...], content: bytes = b"x") -> None:
    for name in names:
        store_module.s3_client().put_object(Bucket=store.bucket, Key=PREFIX + name, Body=content)


def keys_of(listed: pa.Table) -> list[str]:
    return listed.column("image_key").to_pylist()


def names_of(listed: pa.Table) -> set[str]:
    return {key.removeprefix(PREFIX) for key in keys_of(listed)}


def test_the_fast_listing_is_the_exact_one(store: Store) -> None:
    put(store, PLAIN)

    listed = store.list_images(PREFIX)

    assert listed == listed_table(store_module._pages_of_any(store.bucket, PREFIX))
    assert listed.num_rows == len(PLAIN)
    assert names_of(listed) == set(PLAIN)


@pytest.mark.slow
def test_a_folder_of_several_pages_is_listed_and_removed_whole(store: Store) -> None:
    at_once(lambda number: store.write(f"{PREFIX}Kiwi/{number}.jpg", b"x"), range(1_050))
    store.write("raw/ingest_date=2026-11-23/Kiwi/1.jpg", b"x")

    listed = store.list_images(PREFIX)
    assert listed.num_rows == 1_050
    assert keys_of(listed) == sorted(keys_of(listed))
    store.delete_below(PREFIX)

    assert store.list_keys("raw/") == ["raw/ingest_date=2026-11-23/Kiwi/1.jpg"]


@pytest.mark.slow
@pytest.mark.parametrize("odd", ODD)
def test_keys_that_the_fast_store_cannot_name_are_listed_and_read_all_the_same(store: Store, odd: str) -> None:
    put(store, (*PLAIN, odd))

    assert names_of(store.list_images(PREFIX)) == {*PLAIN, odd}
    content, etag = store.find_any(PREFIX + odd)
    etags = {found["image_key"]: found["etag"] for found in store.list_images(PREFIX).to_pylist()}
    assert (content, etag) == (b"x", etags[PREFIX + odd])
    assert store.find_any(f"{PREFIX}{odd}.gone") is None


def test_a_folders_placeholder_is_not_taken_for_an_image(store: Store) -> None:
    put(store, PLAIN)
    put(store, ("Kiwi/empty/", "Kiwi/_empty/"), b"")

    assert {"Kiwi/empty/", "Kiwi/_empty/"} <= names_of(store.list_images(PREFIX))
    assert not {"Kiwi/empty", "Kiwi/_empty"} & names_of(store.list_images(PREFIX))


@pytest.mark.parametrize(
    "beside",
    [(), ("Kiwi/full",), ("Kiwi/full/1.jpg",)],
    ids=["alone", "beside a file of its name", "with a file below"],
)
def test_a_placeholder_that_holds_bytes_is_no_image_either(store: Store, beside: tuple[str, ...]) -> None:
    put(store, (*PLAIN, *beside, "Kiwi/full/"))

    assert names_of(store.list_images(PREFIX)) == {*PLAIN, *beside, "Kiwi/full/"}


def test_names_without_an_ending_are_asked_for_while_they_are_few(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, (*PLAIN, "Kiwi/one", "Kiwi.2/two"))
    asked: list[str] = []
    look = Store.find_etag

    def noted(self: Store, key: str) -> str | None:
        asked.append(key.removeprefix(PREFIX))
        return look(self, key)

    monkeypatch.setattr(Store, "find_etag", noted)
    # The marker's is a third one.
    for most, expected in ((3, ["Kiwi.2/two", "Kiwi/one"]), (2, [])):
        monkeypatch.setattr(store_module, "_MOST_ASKED_FOR", most)
        asked.clear()
        assert names_of(store.list_images(PREFIX)) == {*PLAIN, "Kiwi/one", "Kiwi.2/two"}
        assert sorted(asked) == expected


def test_an_empty_image_is_listed(store: Store) -> None:
    put(store, ("Kiwi/empty.jpg",), b"")

    (found,) = store.list_images(PREFIX).to_pylist()

    assert (found["image_key"], found["size_bytes"]) == (PREFIX + "Kiwi/empty.jpg", 0)


def test_a_folder_that_is_not_there_is_empty(store: Store) -> None:
    assert store.list_images(PREFIX).num_rows == 0
    assert store.list_folders(PREFIX) == []


def test_a_listing_that_comes_in_another_order_is_sorted() -> None:
    pages = [[ListedObject("b", "2", 2), ListedObject("c", "3", 3)], [], [ListedObject("a", "1", 1)]]
    assert listed_table(pages).to_pydict() == {
        "image_key": ["a", "b", "c"],
        "etag": ["1", "2", "3"],
        "size_bytes": [1, 2, 3],
    }


def test_folders_are_those_directly_below_by_their_names(store: Store) -> None:
    put(store, PLAIN)
    assert store.list_folders("raw/") == ["ingest_date=2026-11-22"]
    assert store.list_folders(PREFIX) == ["Kiwi", "Äpfel 50%"]


@pytest.mark.slow
def test_what_is_not_there_is_none_or_said_by_its_address(store: Store) -> None:
    assert (store.find(KEY), store.find_with_etag(KEY), store.find_any(KEY), store.find_json(KEY)) == (None,) * 4
    assert store.find_end(ListedObject(KEY, "e", 10), 4) is None
    with pytest.raises(ObjectNotFoundError, match=f"s3://{store.bucket}/{KEY} does not exist"):
        store.read(KEY)


def test_the_end_of_an_object_is_read_without_the_rest_while_it_is_as_it_was_listed(store: Store) -> None:
    store.write(KEY, b"0123456789")
    (entry,) = store.list_objects("ledger/")

    assert bytes(store.find_end(entry, 4)) == b"6789"
    assert bytes(store.find_end(entry, 99)) == b"0123456789"
    for other in (b"9876543210", b"short", b"longer than it was"):
        store.write(KEY, other)
        assert store.find_end(entry, 4) is None


def test_an_object_is_made_where_there_is_none(store: Store) -> None:
    etag = store.replace(KEY, b"one", None)

    content, found = store.find_with_etag(KEY)
    assert (bytes(content), found) == (b"one", etag)


def test_an_object_is_replaced_while_it_is_what_was_read(store: Store) -> None:
    first = store.replace(KEY, b"one", None)
    second = store.replace(KEY, memoryview(b"two"), first)

    assert store.find_with_etag(KEY)[1] == second != first
    for lost in (None, first, "another"):
        with pytest.raises(
            LostPlaceError, match=f"{KEY} was replaced by another writer meanwhile. Nothing was overwritten"
        ):
            store.replace(KEY, b"three", lost)
    assert bytes(store.read(KEY)) == b"two"


def test_an_object_that_is_gone_meanwhile_is_not_made_again(store: Store) -> None:
    etag = store.replace(KEY, b"one", None)
    store.delete([KEY])

    with pytest.raises(LostPlaceError):
        store.replace(KEY, b"two", etag)

    assert store.find(KEY) is None


@pytest.mark.parametrize("was_there", [True, False])
def test_no_moment_lies_between_the_look_and_the_write(
    store: Store, monkeypatch: pytest.MonkeyPatch, was_there: bool
) -> None:
    """Somebody else writes after the look: the store itself refuses."""
    etag = store.replace(KEY, b"one", None) if was_there else None
    look = Store.find_etag

    def look_and_lose(self: Store, key: str) -> str | None:
        found = look(self, key)
        self.write(key, b"another's")
        return found

    monkeypatch.setattr(Store, "find_etag", look_and_lose)
    with pytest.raises(LostPlaceError):
        store.replace(KEY, b"two", etag)

    assert bytes(store.read(KEY)) == b"another's"


def test_of_many_writers_one_has_its_way(store: Store) -> None:
    start = threading.Barrier(8)

    def write(number: int) -> bool:
        start.wait()
        try:
            store.replace(KEY, str(number).encode(), None)
        except LostPlaceError:
            return False
        return True

    won = at_once(write, range(8), 8)

    assert won.count(True) == 1
    assert bytes(store.read(KEY)) == str(won.index(True)).encode()


def test_the_local_cloud_tells_a_lost_place_too(test_lake: LakeFolder) -> None:
    store = test_lake.store
    first = store.replace(KEY, b"one", None)
    second = store.replace(KEY, b"two", first)
    for lost in (None, first):
        with pytest.raises(LostPlaceError):
            store.replace(KEY, b"three", lost)
    assert store.find_with_etag(KEY)[1] == second
    (entry,) = store.list_objects("ledger/")
    assert bytes(store.find_end(entry, 2)) == b"wo"


def test_a_store_without_conditional_writes_still_tells_who_came_too_late(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every S3 has them: then the look before the write decides."""
    written: list[bytes] = []
    monkeypatch.setattr(Store, "find_etag", lambda *_: "another")
    monkeypatch.setattr(
        store_module, "_connect", lambda _: SimpleNamespace(put=lambda _key, content, **_rest: written.append(content))
    )
    for lost in (None, "mine"):
        with pytest.raises(LostPlaceError):
            store.replace(KEY, b"one", lost)
    assert written == []


@pytest.mark.slow
def test_nothing_happens_if_what_is_removed_is_not_there(store: Store) -> None:
    store.write(KEY, b"x")
    store.delete([f"{KEY}.gone", KEY])
    store.delete([])
    assert store.list_keys("ledger/") == []


def test_nothing_happens_if_what_is_removed_is_not_there_in_a_folder(test_lake: LakeFolder) -> None:
    test_lake.put(KEY, b"x")
    test_lake.store.delete([f"{KEY}.gone", "no/such/folder/x", KEY])
    assert test_lake.store.list_keys("ledger/") == []


def test_requests_that_wait_together_give_their_answers_in_order() -> None:
    assert at_once(lambda number: number * 2, range(100)) == [number * 2 for number in range(100)]
    assert at_once(str, []) == []


def test_of_requests_that_wait_together_the_first_that_fails_is_raised() -> None:
    def work(number: int) -> int:
        if number in (3, 7):
            raise ValueError(f"number {number}")
        return number

    with pytest.raises(ValueError, match="number 3"):
        at_once(work, range(10))
