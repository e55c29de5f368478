"""Fetches many small objects at once, ahead of their decoding, within bounds of count and bytes."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fruit_contract.tables import RejectReason
from fruit_features.lake.store import load_library

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fruit_features.lake.store import Store

CONCURRENT_GETS: Final = 16
# Images are fetched in bursts: one burst is fetched while the one before it is decoded. A get after each decoded image
# would wake this process, the network and the engine's neighbours all the time, and costs more CPU.
BURST_IMAGES: Final = 128
# While the first burst is fetched, there is nothing to decode. So it is small, and the next ones grow to full size.
FIRST_BURST_IMAGES: Final = 8
_BURST_GROWTH: Final = 4
BURST_BYTES: Final = 32 * 1024 * 1024
# No photo is this large; a video or an archive under an image's name must not fill a worker's memory.
MAX_FILE_BYTES: Final = 128 * 1024 * 1024


@dataclass(frozen=True)
class FetchedImage:
    """Holds an image as it was fetched, with the ETag of its bytes. If it has no `content`, `missing` says why."""

    image_key: str
    etag: str
    size_bytes: int
    content: bytes | None = None
    missing: RejectReason | None = None


def fetch_images(store: Store, images: Sequence[tuple[str, str, int]]) -> Iterator[FetchedImage]:
    """Yields every image of `images` (key, listed ETag, size in bytes), in their order.

    Raises what the store raises when it gives up (no permission, no network), so that the task fails and no image is
    rejected for it.
    """
    load_library()
    threads = ThreadPoolExecutor(CONCURRENT_GETS, thread_name_prefix="fetch-images")
    upcoming: deque[Future[list[FetchedImage]]] = deque()
    try:
        for burst in _bursts(images):
            arriving = upcoming
            # Each thread gets its whole share at once, because handing out single images costs a third more CPU.
            share = -(-len(burst) // CONCURRENT_GETS)
            upcoming = deque(
                threads.submit(_get_all, store, burst[start : start + share]) for start in range(0, len(burst), share)
            )
            yield from _taken(arriving)
        yield from _taken(upcoming)
    finally:
        threads.shutdown(cancel_futures=True)


def _taken(arriving: deque[Future[list[FetchedImage]]]) -> Iterator[FetchedImage]:
    """Yields the images of a burst, and holds none that has been taken."""
    while arriving:
        images = arriving.popleft().result()[::-1]
        while images:
            yield images.pop()


def _bursts(images: Sequence[tuple[str, str, int]]) -> Iterator[Sequence[tuple[str, str, int]]]:
    """Cuts `images` into bursts. An image always fits into an empty burst, however large it is."""
    start, burst_bytes, most = 0, 0, FIRST_BURST_IMAGES
    for index, (_, _, size_bytes) in enumerate(images):
        if index > start and (index - start >= most or burst_bytes + size_bytes > BURST_BYTES):
            yield images[start:index]
            start, burst_bytes, most = index, 0, min(most * _BURST_GROWTH, BURST_IMAGES)
        burst_bytes += size_bytes
    if images:
        yield images[start:]


def _get_all(store: Store, images: Sequence[tuple[str, str, int]]) -> list[FetchedImage]:
    return [_get(store, *image) for image in images]


def _get(store: Store, image_key: str, listed_etag: str, listed_bytes: int) -> FetchedImage:
    if listed_bytes > MAX_FILE_BYTES:
        return FetchedImage(image_key, listed_etag, listed_bytes, missing=RejectReason.TOO_LARGE)
    found = store.find_any(image_key)
    if found is None:
        return FetchedImage(image_key, listed_etag, listed_bytes, missing=RejectReason.VANISHED)
    content, etag = found
    return FetchedImage(image_key, etag or listed_etag, len(content), content)
