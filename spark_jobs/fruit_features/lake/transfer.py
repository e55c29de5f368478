"""Moves whole files to and from the lake beside the computation, because a distant store takes tens of milliseconds."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from fruit_features.lake.store import ObjectNotFoundError, load_library

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from obstore import Bytes

    from fruit_contract.listing import ListedObject
    from fruit_features.lake.store import Store

# So many bytes wait in a worker between the store and the computation, in either direction.
_BYTES_AHEAD: Final = 32 * 1024 * 1024
_REQUESTS_AT_ONCE: Final = 16


def read_ahead(store: Store, objects: Sequence[ListedObject]) -> Iterator[tuple[str, Bytes]]:
    """Yields the key and the content of each object, in their order, while the next ones are fetched.

    At most some 32 MB wait in memory. Raises ObjectNotFoundError if an object is gone.
    """
    load_library()
    threads = ThreadPoolExecutor(_REQUESTS_AT_ONCE, thread_name_prefix="read-ahead")
    waiting: deque[tuple[ListedObject, Future[Bytes | None]]] = deque()
    bytes_waiting, following = 0, 0
    try:
        while waiting or following < len(objects):
            while (
                following < len(objects)
                and len(waiting) < 2 * _REQUESTS_AT_ONCE
                and (not waiting or bytes_waiting < _BYTES_AHEAD)
            ):
                waiting.append((objects[following], threads.submit(store.find, objects[following].key)))
                bytes_waiting += objects[following].size_bytes
                following += 1
            entry, arriving = waiting.popleft()
            bytes_waiting -= entry.size_bytes
            content = arriving.result()
            if content is None:
                raise ObjectNotFoundError(f"{store.uri(entry.key)} does not exist.")
            yield entry.key, content
    finally:
        threads.shutdown(cancel_futures=True)


class Uploads:
    """Writes objects in the background. At the end of the context, all are written or the store's error is raised."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(_REQUESTS_AT_ONCE, thread_name_prefix="upload")
        self._waiting: deque[tuple[int, Future[None]]] = deque()
        self._bytes_waiting = 0

    def __enter__(self) -> Self:
        load_library()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            while kind is None and self._waiting:
                self._take()
        finally:
            self._threads.shutdown(cancel_futures=True)

    def put(self, key: str, content: bytes | memoryview) -> None:
        """Begins to write an object, and returns at once unless too much is waiting already."""
        while self._waiting and self._bytes_waiting + len(content) > _BYTES_AHEAD:
            self._take()
        self._bytes_waiting += len(content)
        self._waiting.append((len(content), self._threads.submit(self._store.write, key, content)))

    def _take(self) -> None:
        size_bytes, sent = self._waiting.popleft()
        sent.result()
        self._bytes_waiting -= size_bytes
