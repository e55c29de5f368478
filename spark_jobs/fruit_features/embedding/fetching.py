"""Fetches many small objects at once, ahead of who decodes them, within bounds of count and bytes."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fruit_contract.tables import RejectReason
from fruit_features.lake import store as object_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONCURRENT_GETS: Final = 16
# Images are fetched in bursts: one burst is fetched while the one before it is decoded. A get after each decoded image would wake this
# process, the network and the engine's neighbours all the time, and costs more CPU.
BURST_IMAGES: Final = 128
# The first burst is one that nobody decodes beside: it is small, and each one after it is larger, up to the full size.
FIRST_BURST_IMAGES: Final = 8
_BURST_GROWTH: Final = 4
BURST_BYTES: Final = 32 * 1024 * 1024
# No photo is this large; a video or an archive under an image's name must not fill a worker's memory.
MAX_FILE_BYTES: Final = 128 * 1024 * 1024


@dataclass(frozen=True)
class FetchedImage:
    """`etag` is that of the bytes fetched. Without `content`, `missing` says why there is none."""

    image_key: str
    etag: str
    size_bytes: int
    content: bytes | None = None
    missing: RejectReason | None = None


def fetch_images(bucket: str, images: Sequence[tuple[str, str, int]]) -> Iterator[FetchedImage]:
    """Yields every image of `images` (key, listed ETag, size in bytes), in their order.

    Raises what the store raises when it gives up (no permission, no network): that is a failed task, never a reject.
    """
    # Loads the store's library here: threads that import it at the same moment may find it half loaded.
    object_store.image_store(bucket)
    threads = ThreadPoolExecutor(CONCURRENT_GETS, thread_name_prefix="fetch-images")
    upcoming: deque[Future[FetchedImage]] = deque()
    try:
        for burst in _bursts(images):
            arriving = upcoming
            upcoming = deque(threads.submit(_get, bucket, *image) for image in burst)
            yield from _taken(arriving)
        yield from _taken(upcoming)
    finally:
        threads.shutdown(cancel_futures=True)


def _taken(arriving: deque[Future[FetchedImage]]) -> Iterator[FetchedImage]:
    """Lets go of each image when it is taken."""
    while arriving:
        yield arriving.popleft().result()


def _bursts(images: Sequence[tuple[str, str, int]]) -> Iterator[Sequence[tuple[str, str, int]]]:
    """Cuts `images` where a burst is full; one image always fits, however large."""
    start, burst_bytes, most = 0, 0, FIRST_BURST_IMAGES
    for index, (_, _, size_bytes) in enumerate(images):
        if index > start and (index - start >= most or burst_bytes + size_bytes > BURST_BYTES):
            yield images[start:index]
            start, burst_bytes, most = index, 0, min(most * _BURST_GROWTH, BURST_IMAGES)
        burst_bytes += size_bytes
    if images:
        yield images[start:]


def _get(bucket: str, image_key: str, listed_etag: str, listed_bytes: int) -> FetchedImage:
    if listed_bytes > MAX_FILE_BYTES:
        return FetchedImage(image_key, listed_etag, listed_bytes, missing=RejectReason.TOO_LARGE)
    try:
        result = object_store.image_store(bucket).get(image_key)
        content = bytes(result.bytes())
    except FileNotFoundError:
        return FetchedImage(image_key, listed_etag, listed_bytes, missing=RejectReason.VANISHED)
    except ValueError:
        # S3 holds keys that the fast store cannot name (control characters, empty path segments).
        return _get_with_boto3(bucket, image_key, listed_etag, listed_bytes)
    return FetchedImage(image_key, (result.meta["e_tag"] or listed_etag).strip('"'), len(content), content)


def _get_with_boto3(bucket: str, image_key: str, listed_etag: str, listed_bytes: int) -> FetchedImage:
    try:
        content = object_store.read_object(bucket, image_key)
    except object_store.ObjectNotFoundError:
        return FetchedImage(image_key, listed_etag, listed_bytes, missing=RejectReason.VANISHED)
    return FetchedImage(image_key, listed_etag, len(content), content)
