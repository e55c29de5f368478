from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.increments import UnsortedImagesError
from fruit_pipeline.lake.dates.image_rows import KNOWN
from fruit_pipeline.lake.dates.range_walk import RangeWalker, split_points
from fruit_pipeline.lake.listing_page import ListedPage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fruit_pipeline.lake.store import Lake

PREFIX = "raw/ingest_date=2026-11-22/"
NAMES = st.text(
    st.sampled_from([*"/ab09", "~", "ä", "\ud7ff", "\ue000", "￿", "\U0001f34e", "\U0010ffff"]), min_size=1, max_size=5
)


class Names:
    """Lists names, a few a page, as S3 does or in another order."""

    def __init__(self, names: Any, page: int = 3, *, is_sorted: bool = True) -> None:
        self.keys = [PREFIX + name for name in (sorted(names) if is_sorted else names)]
        self.page = page
        self.is_sorted = is_sorted
        self.n_pages = 0
        self._lock = Lock()

    def list_pages(self, prefix: str, after: str = "") -> Iterator[ListedPage]:
        assert prefix == PREFIX
        start = bisect_right(self.keys, after) if self.is_sorted else 0
        while True:
            with self._lock:
                self.n_pages += 1
            keys = self.keys[start : start + self.page]
            start += self.page
            n = len(keys)
            yield ListedPage(keys, ["e"] * n, [1] * n, ["2026-11-22T01:02:03"] * n, is_last=start >= len(self.keys))
            if start >= len(self.keys):
                return


def known(names: list[str], rows_a_batch: int = 2) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(names), rows_a_batch):
        keys = [PREFIX + name for name in names[start : start + rows_a_batch]]
        line = {"etag": "e", "category": "a", "status": "featurised", "embedder_id": "m", "has_features": True}
        yield pa.RecordBatch.from_pylist([line | {"image_key": key} for key in keys], schema=KNOWN)


def walked(lister: Names, names: list[str], rows_a_batch: int = 2) -> list[tuple[list[str], list[str]]]:
    """Returns what each visit saw of the two sides."""

    def visit(listed: pa.Table, lines: pa.Table) -> tuple[list[str], list[str]]:
        return listed.column("key").to_pylist(), lines.column("image_key").to_pylist()

    with RangeWalker(cast("Lake", lister)) as walker:
        return walker.walk(PREFIX, lambda: known(names, rows_a_batch), visit)


def check(visits: list[tuple[list[str], list[str]]], listed: list[str], lines: list[str]) -> None:
    """Checks that every key was seen once, on both sides in the same visit."""
    ordered = sorted((visit for visit in visits if visit[0] or visit[1]), key=lambda visit: min(visit[0] + visit[1]))
    assert [key for visit in ordered for key in visit[0]] == listed
    assert [key for visit in ordered for key in visit[1]] == lines
    for before, after in pairwise(ordered):
        assert max(before[0] + before[1]) < min(after[0] + after[1])


@given(st.sets(NAMES, max_size=120), st.sets(NAMES, max_size=30), st.integers(1, 7), st.integers(1, 40))
def test_every_key_is_seen_once_beside_what_is_known_of_it(
    listed: set[str], lines: set[str], page: int, rows: int
) -> None:
    lister = Names(listed, page)
    check(walked(lister, sorted(lines), rows), lister.keys, [PREFIX + name for name in sorted(lines)])


@given(st.lists(NAMES, unique=True, max_size=40), st.sets(NAMES, max_size=30))
def test_a_listing_in_another_order_is_sorted_first(listed: list[str], lines: set[str]) -> None:
    lister = Names(listed, is_sorted=False)
    check(walked(lister, sorted(lines)), sorted(lister.keys), [PREFIX + name for name in sorted(lines)])


def test_a_key_that_is_listed_twice_is_refused() -> None:
    with pytest.raises(UnsortedImagesError, match=r"2026-11-22/b' comes after '.*2026-11-22/b'"):
        walked(Names(["a", "b", "c", "b"], is_sorted=False), [])


def test_an_error_of_a_range_ends_the_walk() -> None:
    class Failing(Names):
        def list_pages(self, prefix: str, after: str = "") -> Iterator[ListedPage]:
            if after > PREFIX + "0500":
                raise ConnectionError("the store is gone")
            return super().list_pages(prefix, after)

    names = [f"{number:04}" for number in range(1000)]
    with pytest.raises(ConnectionError, match="the store is gone"):
        walked(Failing(names), names)


def test_an_error_of_the_ledger_ends_the_walk() -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from known(["a", "b", "c"])
        raise UnsortedImagesError("the ledger")

    with RangeWalker(cast("Lake", Names("abc"))) as walker, pytest.raises(UnsortedImagesError, match="the ledger"):
        walker.walk(PREFIX, broken, lambda *_: None)


def test_a_small_date_is_listed_by_as_few_requests_as_it_has_pages() -> None:
    names = [f"Kiwi/{number:05}.jpg" for number in range(8000)]
    for lines, rows in (([], 1), (names, 8000), (names[:10], 8000)):
        lister = Names(names, 1000)
        walked(lister, lines, rows)
        assert lister.n_pages == 8


def test_the_ranges_of_a_known_date_are_listed_without_a_page_too_many() -> None:
    names = [f"Kiwi/{number:05}.jpg" for number in range(40_000)]
    lister = Names(names, 1000)
    walked(lister, names, 8000)
    assert lister.n_pages == 40


@pytest.mark.parametrize("form", ["IMG_20261122_{:06}.jpg", "{:06}", "{:x}.png", "träd/{:06}.jpg"])
def test_the_names_of_a_new_date_are_split_into_ranges_of_many_pages(form: str) -> None:
    """So that a date which no ledger knows is listed by many requests at once, and by few more than it has pages."""
    lister = Names([form.format(number) for number in range(30_000)], 100)
    visits = walked(lister, [])
    assert len(visits) > 8
    assert lister.n_pages < 300 * 1.5
    check(visits, lister.keys, [])


@given(st.sets(NAMES, min_size=2, max_size=2), st.none() | NAMES)
def test_split_points_ascend_between_the_last_key_and_the_end(names: set[str], upto: str | None) -> None:
    first, last = sorted(names)
    points = split_points(first, last, upto, 0)
    assert points == sorted(set(points))
    assert all(last < point for point in points)
    assert upto is None or all(point < upto for point in points)
    "".join(points).encode()
