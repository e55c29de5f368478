"""Goes through the listing and the ledger of dates side by side: many ranges of keys at once, a few thousand keys of
each at a time.

A ledger is in the order of its keys, so each few thousand rows of it are a range that can be listed by itself. Where
far more is listed than the ledger knows, a range is split while it is listed. Memory depends on how many ranges are
listed at once, not on what the dates hold.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import takewhile
from operator import eq, lt
from threading import Semaphore
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import pyarrow as pa

from fruit_contract import tables
from fruit_pipeline.lake.dates.image_rows import KEY, KNOWN, check_ascending, rows_of_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Self

    from fruit_pipeline.lake.listing_page import ListedPage
    from fruit_pipeline.lake.store import Lake

Result = TypeVar("Result")

_RANGES_AT_ONCE: Final = 16
# Each thread in which Arrow allocates keeps memory of its own, and these mostly compute.
_VISITS_AT_ONCE: Final = 2
_PAGES_A_VISIT: Final = 4
_PAGES_BEFORE_SPLIT: Final = 8
# A key has none of the characters from the first of these on and below the second: they are halves of characters in
# another encoding.
_FIRST_SURROGATE, _AFTER_SURROGATES = 0xD800, 0xE000
_LAST_CHARACTER: Final = 0x10FFFF


class _OtherOrderError(Exception):
    """Raised if a store does not list in the order of the keys, or not from where it was asked to."""


@dataclass(frozen=True)
class _Range:
    """Describes the keys greater than `after`, up to and including `upto` (to the end if it is None), with the rows of
    KNOWN among them.

    It is split if there are more pages in it than `pages_before_split`.
    """

    after: str
    upto: str | None
    known: pa.Table
    pages_before_split: int = _PAGES_BEFORE_SPLIT

    def until(self, key: str) -> _Range:
        """Returns the part of the range up to and including `key`."""
        return replace(self, upto=key, known=self.known.slice(0, _n_up_to(self.known, tables.IMAGE_KEY, key)))

    def beyond(self, key: str) -> _Range:
        """Returns the part of the range after `key`."""
        return replace(self, after=key, known=self.known.slice(_n_up_to(self.known, tables.IMAGE_KEY, key)))


class RangeWalker:
    """Walks through dates, whose ranges share its threads. When its context is left, the threads end."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._listing = ThreadPoolExecutor(_RANGES_AT_ONCE)
        self._visiting = ThreadPoolExecutor(_VISITS_AT_ONCE)
        self._free = Semaphore(_RANGES_AT_ONCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listing.shutdown()
        self._visiting.shutdown()

    def walk(
        self, prefix: str, known: Callable[[], Iterator[pa.RecordBatch]], visit: Callable[[pa.Table, pa.Table], Result]
    ) -> list[Result]:
        """Calls `visit` with what is listed below `prefix` and what is `known`, until it has seen all of both, and
        returns its results.

        Each call gets rows of LISTED and rows of KNOWN that lie in the same range of keys, both ascending. Calls come
        from several threads and in no order. What `known` yields must ascend. `known` is called twice if the store
        lists in another order than that of the keys: then the listing is sorted in memory. Raises UnsortedImagesError
        if a key is listed twice.
        """
        try:
            return _Walk(self._lake, self._listing, self._visiting, self._free, prefix, visit).results(known())
        except _OtherOrderError:
            return [visit(listed, part.known) for part, listed in _with_sorted_listing(self._lake, prefix, known())]


class _Walk(Generic[Result]):
    """Walks through one date."""

    def __init__(
        self,
        lake: Lake,
        listing: ThreadPoolExecutor,
        visiting: ThreadPoolExecutor,
        free: Semaphore,
        prefix: str,
        visit: Callable[[pa.Table, pa.Table], Result],
    ) -> None:
        self._lake = lake
        self._listing = listing
        self._visiting = visiting
        self._free = free
        self._prefix = prefix
        self._visit = visit
        self._running: deque[Future[list[Result]]] = deque()
        self._is_stopped = False

    def results(self, known: Iterator[pa.RecordBatch]) -> list[Result]:
        found: list[Result] = []
        try:
            for part in _ranges(known):
                self._free.acquire()
                self._start(part)
                while self._running and self._running[0].done():
                    found += self._running.popleft().result()
            # A range that is split adds to these before it is done itself.
            while self._running:
                found += self._running.popleft().result()
        finally:
            self._is_stopped = True
            while self._running:
                wait([self._running.popleft()])
        return found

    def _start(self, part: _Range) -> None:
        """Begins to list a range. The caller has made sure that a thread is free for it."""
        self._running.append(self._listing.submit(self._list, part))

    def _list(self, part: _Range) -> list[Result]:
        try:
            return [
                self._visiting.submit(self._visit_pages, pages, of_pages).result()
                for pages, of_pages in self._parts(part)
            ]
        finally:
            self._free.release()

    def _visit_pages(self, pages: list[ListedPage], part: _Range) -> Result:
        listed = rows_of_pages(pages)
        return self._visit(
            listed if part.upto is None else listed.slice(0, _n_up_to(listed, KEY, part.upto)), part.known
        )

    def _parts(self, part: _Range) -> Iterator[tuple[list[ListedPage], _Range]]:
        """Yields the pages of a range, some at a time, each time with the part of the range that they cover."""
        pages: list[ListedPage] = []
        last = part.after
        for number, page in enumerate(self._lake.list_pages(self._prefix, part.after), start=1):
            if self._is_stopped:
                return
            last = _last_of(page, last)
            pages.append(page)
            if part.upto is not None and last >= part.upto:
                break
            if number > part.pages_before_split and not page.is_last:
                part = self._split(part, page)
            if len(pages) == _PAGES_A_VISIT:
                yield pages, part.until(last)
                pages, part = [], part.beyond(last)
        yield pages, part

    def _split(self, part: _Range, page: ListedPage) -> _Range:
        """Has other threads list what they can of the rest of a range, and returns the part that is left."""
        for point in reversed(split_points(page.keys[0], page.keys[-1], part.upto, len(self._prefix))):
            if not self._free.acquire(blocking=False):
                break
            self._start(replace(part.beyond(point), pages_before_split=0))
            part = part.until(point)
        return part


def split_points(first: str, last: str, upto: str | None, n_prefix: int) -> list[str]:
    """Returns where to split the keys after `last` (up to `upto`), ascending, by what a page from `first` to `last`
    tells of the names.

    Names seldom use all characters, so halving what could be there finds nothing. But if `apple/1999` is there, then
    probably there is something before and after `apple/2`, and before and after `b`. How far away such a point is
    depends on what the keys of the page share beyond their first `n_prefix` characters.
    """
    points = []
    n_shared = sum(takewhile(bool, map(eq, first, last)))
    for place in range(n_shared - 1, n_prefix - 1, -1):
        code = ord(last[place]) + 1
        if code <= _LAST_CHARACTER:
            point = last[:place] + chr(_AFTER_SURROGATES if code == _FIRST_SURROGATE else code)
            if upto is None or point < upto:
                points.append(point)
    return points


def _ranges(known: Iterator[pa.RecordBatch]) -> Iterator[_Range]:
    """Yields ranges that together hold every key, with what is known in each."""
    after, rows = "", KNOWN.empty_table()
    for batch in known:
        if rows.num_rows:
            last = rows.column(tables.IMAGE_KEY)[-1].as_py()
            yield _Range(after, last, rows)
            after = last
        rows = pa.Table.from_batches([batch])
    yield _Range(after, None, rows)


def _with_sorted_listing(lake: Lake, prefix: str, known: Iterator[pa.RecordBatch]) -> Iterator[tuple[_Range, pa.Table]]:
    """Yields ranges with what is listed in each. The listing takes some hundred bytes an object."""
    listed = pa.concat_tables(
        [rows_of_pages([]), *(rows_of_pages([page]) for page in lake.list_pages(prefix))]
    ).sort_by(KEY)
    check_ascending(listed.column(KEY))
    for part in _ranges(known):
        n = listed.num_rows if part.upto is None else _n_up_to(listed, KEY, part.upto)
        yield part, listed.slice(0, n)
        listed = listed.slice(n)


def _last_of(page: ListedPage, before: str) -> str:
    """Returns the last key of a page. Raises _OtherOrderError if its keys do not ascend from the one `before` them."""
    if not page.keys:
        return before
    if page.keys[0] <= before or not all(map(lt, page.keys, page.keys[1:])):
        raise _OtherOrderError
    return page.keys[-1]


def _n_up_to(rows: pa.Table, column: str, key: str) -> int:
    """Returns how many of the rows, which ascend by a column, are not greater than `key`."""
    return bisect_right(rows.column(column), key, key=lambda found: found.as_py())
