"""Lists a bucket by walking over its folder in S3's order, which is that of the keys' bytes."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from local_cloud.s3.etags import SETTLED_SECONDS
from local_cloud.s3.objects import is_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local_cloud.s3.etags import ETags

# No character is greater, so a prefix followed by it is greater than all keys below the prefix.
FOLLOWS_ALL: Final = "\U0010ffff"
MOST_FOLDERS: Final = 32

# Holds the inode and the time of change of the folders that were read last, and what they held.
_READ: Final[dict[Path, tuple[tuple[int, int], list[str]]]] = {}


class ListingEntry(NamedTuple):
    key: str
    size: int
    modified: float
    etag: str


@dataclass(frozen=True)
class ListingRequest:
    """Says what to list: keys that begin with `prefix` and are greater than `after`, at most `most` of them."""

    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    most: int = 1000


@dataclass(frozen=True)
class Listing:
    """Holds one page of a listing. If it is truncated, the next page begins after `last`."""

    objects: list[ListingEntry]
    prefixes: list[str]
    is_truncated: bool
    last: str


def list_objects(bucket: Path, request: ListingRequest, etags: ETags) -> Listing:
    objects: list[ListingEntry] = []
    prefixes: list[str] = []
    last = request.after
    if request.most <= 0:
        return Listing([], [], is_truncated=False, last=last)
    for key in _walk(bucket, request):
        common = common_prefix(key, request)
        if common is not None and prefixes and prefixes[-1] == common:
            continue
        if len(objects) + len(prefixes) == request.most:
            return Listing(objects, prefixes, is_truncated=True, last=last)
        if common is not None:
            prefixes.append(common)
            last = common + FOLLOWS_ALL
        elif (listed := _listed(str(bucket), key, etags)) is not None:
            objects.append(listed)
            last = key
    return Listing(objects, prefixes, is_truncated=False, last=last)


def common_prefix(key: str, request: ListingRequest) -> str | None:
    """Returns the prefix that a listing shows in place of a key, or None if it shows the key itself."""
    if not request.delimiter:
        return None
    begin, found, _ = key[len(request.prefix) :].partition(request.delimiter)
    return f"{request.prefix}{begin}{found}" if found else None


def _walk(bucket: Path, request: ListingRequest) -> Iterator[str]:
    """Yields the keys in order. If the request's delimiter is a slash, only the first key of each folder is yielded."""
    folder, slash, _ = request.prefix.rpartition("/")
    if not slash or is_path(folder):
        yield from _walk_folder(bucket, f"{folder}{slash}", request)


def _walk_folder(bucket: Path, folder: str, request: ListingRequest) -> Iterator[str]:
    entries = _entries(bucket / folder, folder)
    # Among the entries before `after`, only the last one can be a folder that holds greater keys.
    for key in islice(entries, max(bisect_right(entries, request.after) - 1, 0), None):
        if not key.startswith(request.prefix):
            continue
        if not key.endswith("/"):
            if key > request.after:
                yield key
        elif not _is_passed(key, request.after):
            below = _walk_folder(bucket, key, request)
            if request.delimiter == "/":
                first = next(below, None)
                below = iter(() if first is None else (first,))
            yield from below


def _entries(path: Path, folder: str) -> list[str]:
    """Returns the keys of a folder's files, and those of its folders with a slash at their end, in order.

    The entries of a few folders are remembered, so that a folder of many keys is not read again for each page.
    """
    asked = time.time()
    try:
        changed = path.stat()
        known = _READ.get(path)
        if known is not None and known[0] == (changed.st_ino, changed.st_mtime_ns):
            return known[1]
        with os.scandir(path) as found:
            names = [f"{folder}{entry.name}/" if entry.is_dir() else f"{folder}{entry.name}" for entry in found]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    entries = sorted(name for name in names if _is_text(name))
    # Within one tick of the file system's clock a folder may change once more without getting another time.
    if asked - changed.st_mtime > SETTLED_SECONDS:
        if len(_READ) >= MOST_FOLDERS:
            _READ.pop(next(iter(_READ)), None)
        _READ[path] = (changed.st_ino, changed.st_mtime_ns), entries
    return entries


def _is_passed(folder: str, after: str) -> bool:
    """Says whether all keys below a folder come before `after`."""
    return after > folder and (not after.startswith(folder) or after >= folder + FOLLOWS_ALL)


def _is_text(name: str) -> bool:
    """Says whether a file's name is UTF-8, as every key is."""
    return name.isascii() or not any("\udc80" <= character <= "\udcff" for character in name)


def _listed(bucket: str, key: str, etags: ETags) -> ListingEntry | None:
    """Returns an object's entry in the listing, or None if it has been removed since the folder was read."""
    path = f"{bucket}/{key}"
    try:
        status = os.stat(path)  # noqa: PTH116 - a path as an object takes longer than the rest
        etag = etags.known(status)
        if etag is None:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                status = os.fstat(descriptor)
                etag = etags.of(descriptor, status)
            finally:
                os.close(descriptor)
    except OSError:
        return None
    return ListingEntry(key, status.st_size, status.st_mtime, etag)
