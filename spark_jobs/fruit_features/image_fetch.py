"""Fetches many small objects at once, ahead of who decodes them, within bounds of count and bytes."""

from __future__ import annotations

import asyncio
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fruit_contract.tables import RejectReason
from fruit_features import object_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONCURRENT_GETS: Final = 32
# Of images in flight or waiting for the decoder, in one worker.
AHEAD_BYTES: Final = 64 * 1024 * 1024
AHEAD_IMAGES: Final = 256
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


# The bytes reserved for an image travel with it, so that what is released is what was taken.
_Results = queue.Queue[tuple[FetchedImage, int] | BaseException | None]


def fetch_images(bucket: str, images: Sequence[tuple[str, str, int]]) -> Iterator[FetchedImage]:
    """Yields every image of `images` (key, listed ETag, size in bytes), in the order in which they arrive.

    Raises what the store raises when it gives up (no permission, no network): that is a failed task, never a reject.
    """
    results: _Results = queue.Queue()
    budget = _Budget()

    def fetch_all() -> None:
        try:
            asyncio.run(_fetch_into(results, budget, bucket, images))
            results.put(None)
        except BaseExceptionGroup as errors:
            # Gets that fail together fail alike: the first one's words are what a person needs to read.
            results.put(errors.exceptions[0])
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
            results.put(error)

    thread = threading.Thread(target=fetch_all, name="fetch-images", daemon=True)
    thread.start()
    try:
        while (item := results.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            image, reserved_bytes = item
            yield image
            budget.give_back(reserved_bytes)
    finally:
        budget.close()
        thread.join()


async def _fetch_into(results: _Results, budget: _Budget, bucket: str, images: Sequence[tuple[str, str, int]]) -> None:
    gets = asyncio.Semaphore(CONCURRENT_GETS)

    async def fetch_one(image_key: str, etag: str, size_bytes: int) -> None:
        try:
            results.put((await _get(bucket, image_key, etag, size_bytes), size_bytes))
        except BaseException:
            # Bytes of images that will never arrive are not given back: whoever waits for room must stop waiting.
            budget.close()
            raise
        finally:
            gets.release()

    async with asyncio.TaskGroup() as group:
        for image_key, etag, size_bytes in images:
            if size_bytes > MAX_FILE_BYTES:
                # It holds no content, so it reserves no bytes.
                await asyncio.to_thread(budget.take, 0)
                results.put((FetchedImage(image_key, etag, size_bytes, missing=RejectReason.TOO_LARGE), 0))
                continue
            await gets.acquire()
            if not budget.take_now(size_bytes) and not await asyncio.to_thread(budget.take, size_bytes):
                return
            group.create_task(fetch_one(image_key, etag, size_bytes))


async def _get(bucket: str, image_key: str, listed_etag: str, listed_bytes: int) -> FetchedImage:
    store = object_store.image_store(bucket)
    try:
        result = await store.get_async(image_key)
        content = bytes(await result.bytes_async())
    except FileNotFoundError:
        return FetchedImage(image_key, listed_etag, listed_bytes, missing=RejectReason.VANISHED)
    except ValueError:
        # S3 holds keys that the fast store cannot name (control characters, empty path segments).
        return await asyncio.to_thread(_get_with_boto3, bucket, image_key, listed_etag, listed_bytes)
    return FetchedImage(image_key, (result.meta["e_tag"] or listed_etag).strip('"'), len(content), content)


def _get_with_boto3(bucket: str, image_key: str, listed_etag: str, listed_bytes: int) -> FetchedImage:
    try:
        content = object_store.read_object(bucket, image_key)
    except object_store.ObjectNotFoundError:
        return FetchedImage(image_key, listed_etag, listed_bytes, missing=RejectReason.VANISHED)
    return FetchedImage(image_key, listed_etag, len(content), content)


class _Budget:
    """Images and bytes between the fetcher and the decoder. One image always fits, however large."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held_bytes = 0
        self._held_images = 0
        self._closed = False

    def take_now(self, size_bytes: int) -> bool:
        """Reserves without waiting; False if there is no room (or nobody waits for images any more)."""
        with self._changed:
            return not self._closed and self._reserve(size_bytes)

    def take(self, size_bytes: int) -> bool:
        """Waits for room and reserves it; False when nobody waits for images any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._reserve(size_bytes))
            return not self._closed

    def give_back(self, size_bytes: int) -> None:
        with self._changed:
            self._held_images -= 1
            self._held_bytes -= size_bytes
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _reserve(self, size_bytes: int) -> bool:
        if self._held_images and (self._held_images >= AHEAD_IMAGES or self._held_bytes + size_bytes > AHEAD_BYTES):
            return False
        self._held_images += 1
        self._held_bytes += size_bytes
        return True
