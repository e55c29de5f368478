"""Checks that objects are read ahead and put beside the computation in order and within bounds, and that no error is
lost.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from fruit_contract.listing import ListedObject
from fruit_features.lake import transfer
from fruit_features.lake.store import ObjectNotFoundError, Store
from fruit_features.lake.transfer import Uploads, read_ahead

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.spark_jobs.lake_folder import LakeFolder


def objects(n: int, size_bytes: int = 10) -> list[ListedObject]:
    return [ListedObject(f"a/{number:03}", "", size_bytes) for number in range(n)]


class Slow:
    """Stands in for a store: it answers when the test lets it, and counts what is under way and what was asked for."""

    def __init__(self, answer: Callable[[str], bytes | None] = lambda key: key.encode()) -> None:
        self.bucket = "b"
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked: list[str] = []
        self.under_way, self.most_under_way = 0, 0
        self._answer = answer
        self._lock = threading.Lock()

    uri = Store.uri

    def find(self, key: str) -> bytes | None:
        return self._work(key)

    def write(self, key: str, _: bytes) -> None:
        self._work(key)

    def _work(self, key: str) -> bytes | None:
        with self._lock:
            self.asked.append(key)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            assert self.may_answer.wait(10)
            return self._answer(key)
        finally:
            with self._lock:
                self.under_way -= 1


def no_threads(name: str) -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def soon(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 5 seconds")


def test_objects_come_in_the_order_in_which_they_were_asked_for(test_lake: LakeFolder) -> None:
    listed = objects(100)
    for entry in listed:
        test_lake.store.write(entry.key, entry.key.encode())

    found = [(key, bytes(content)) for key, content in read_ahead(test_lake.store, listed[::-1])]

    assert found == [(entry.key, entry.key.encode()) for entry in listed[::-1]]
    assert list(read_ahead(test_lake.store, [])) == []


def test_an_answer_that_comes_late_does_not_change_the_order() -> None:
    def answer(key: str) -> bytes:
        time.sleep(0.05 if key.endswith("0") else 0)
        return key.encode()

    assert [key for key, _ in read_ahead(Slow(answer), objects(40))] == [entry.key for entry in objects(40)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("bytes_ahead", "most"), [(10**9, 2 * transfer._REQUESTS_AT_ONCE), (35, 4), (5, 1)])
def test_no_more_is_asked_for_than_fits_into_memory(
    monkeypatch: pytest.MonkeyPatch, bytes_ahead: int, most: int
) -> None:
    monkeypatch.setattr(transfer, "_BYTES_AHEAD", bytes_ahead)
    store: Any = Slow()
    taken = 0
    for _ in read_ahead(store, objects(100)):
        taken += 1
        # What is waiting, and the one that was taken last.
        assert len(store.asked) <= taken + most
        assert store.most_under_way <= transfer._REQUESTS_AT_ONCE
    assert len(store.asked) == taken == 100


def test_an_object_larger_than_the_bound_still_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_BYTES_AHEAD", 5)
    assert len(list(read_ahead(Slow(), objects(3, size_bytes=10**12)))) == 3  # type: ignore[arg-type]


def test_an_object_that_is_gone_is_named_after_those_before_it(test_lake: LakeFolder) -> None:
    listed = objects(10)
    for entry in listed:
        if entry.key != "a/004":
            test_lake.store.write(entry.key, b"x")
    seen: list[str] = []

    with pytest.raises(ObjectNotFoundError, match=f"s3://{test_lake.bucket}/a/004 does not exist"):
        seen.extend(key for key, _ in read_ahead(test_lake.store, listed))

    assert no_threads("read-ahead")


def test_who_stops_early_leaves_no_request_behind() -> None:
    store: Any = Slow()
    reading: Any = read_ahead(store, objects(1000))
    next(reading)
    reading.close()
    assert no_threads("read-ahead")
    assert len(store.asked) <= 1 + 2 * transfer._REQUESTS_AT_ONCE


def test_what_was_put_is_there_at_the_end(test_lake: LakeFolder) -> None:
    with Uploads(test_lake.store) as uploads:
        for entry in objects(50):
            uploads.put(entry.key, entry.key.encode())
    assert test_lake.store.list_keys("a/") == [entry.key for entry in objects(50)]
    assert no_threads("upload")


def test_a_put_waits_only_when_too_much_is_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_BYTES_AHEAD", 35)
    store: Any = Slow()
    store.may_answer.clear()
    n_put = []

    def put() -> None:
        with Uploads(store) as uploads:
            for entry in objects(10):
                uploads.put(entry.key, b"x" * 10)
                n_put.append(entry.key)

    putting = threading.Thread(target=put, daemon=True)
    putting.start()
    soon(lambda: len(n_put) == 3)
    time.sleep(0.1)
    assert len(n_put) == 3
    store.may_answer.set()
    putting.join(10)
    assert len(n_put) == 10


def test_one_that_is_larger_than_the_bound_is_put_when_nothing_else_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_BYTES_AHEAD", 5)
    store: Any = Slow()
    with Uploads(store) as uploads:
        for entry in objects(3):
            uploads.put(entry.key, b"x" * 100)
    assert len(store.asked) == 3


@pytest.mark.parametrize("n_after", [0, 40])
def test_what_the_store_says_of_one_is_raised_at_the_end_at_the_latest(n_after: int) -> None:
    def answer(key: str) -> bytes:
        if key == "a/003":
            raise PermissionError("403 Forbidden")
        return b""

    def put() -> None:
        with Uploads(Slow(answer)) as uploads:  # type: ignore[arg-type]
            for entry in objects(4 + n_after):
                uploads.put(entry.key, b"x")

    with pytest.raises(PermissionError, match="403"):
        put()
    assert no_threads("upload")


def test_an_error_of_the_computation_is_not_hidden_by_one_of_an_upload() -> None:
    def answer(key: str) -> bytes:
        raise PermissionError("403 Forbidden")

    def put() -> None:
        with Uploads(Slow(answer)) as uploads:  # type: ignore[arg-type]
            uploads.put("a/001", b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        put()
    assert no_threads("upload")
