"""Listing a bucket: a walk over its folder in the order of S3, which is that of the keys' bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from local_cloud.s3.objects import is_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local_cloud.s3.etags import ETags

# No character is greater: a prefix with it is greater than all keys below the prefix.
FOLLOWS_ALL: Final = "\U0010ffff"


@dataclass(frozen=True)
class ListedObject:
    key: str
    size: int
    modified: float
    etag: str


@dataclass(frozen=True)
class ListingRequest:
    """What to list. Only keys greater than `after` are."""

    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    most: int = 1000


@dataclass(frozen=True)
class Listing:
    """One page of a listing. The next one comes after `last`, if the page is not the end."""

    objects: list[ListedObject]
    prefixes: list[str]
    is_truncated: bool
    last: str


def list_objects(bucket: Path, request: ListingRequest, etags: ETags) -> Listing:
    objects: list[ListedObject] = []
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
        elif (listed := _listed(bucket, key, etags)) is not None:
            objects.append(listed)
            last = key
    return Listing(objects, prefixes, is_truncated=False, last=last)


def common_prefix(key: str, request: ListingRequest) -> str | None:
    """Returns what a key is listed under if the request rolls keys up at its delimiter."""
    if not request.delimiter:
        return None
    begin, found, _ = key[len(request.prefix) :].partition(request.delimiter)
    return f"{request.prefix}{begin}{found}" if found else None


def _walk(bucket: Path, request: ListingRequest) -> Iterator[str]:
    """Yields the keys in order; of those that have a common prefix at a slash, the first one only."""
    folder, slash, _ = request.prefix.rpartition("/")
    if not slash or is_path(folder):
        yield from _walk_folder(bucket, f"{folder}{slash}", request)


def _walk_folder(bucket: Path, folder: str, request: ListingRequest) -> Iterator[str]:
    for key in _entries(bucket / folder, folder):
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
    """Returns the keys of a folder's files, and those of its folders with their slash, in order."""
    try:
        with os.scandir(path) as entries:
            names = [f"{folder}{entry.name}/" if entry.is_dir() else f"{folder}{entry.name}" for entry in entries]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    return sorted(name for name in names if _is_text(name))


def _is_passed(folder: str, after: str) -> bool:
    """Tells whether no key below a folder can be greater than `after`."""
    return after > folder and (not after.startswith(folder) or after >= folder + FOLLOWS_ALL)


def _is_text(name: str) -> bool:
    """Tells whether a file's name is UTF-8: what is not can't be a key."""
    return name.isascii() or not any("\udc80" <= character <= "\udcff" for character in name)


def _listed(bucket: Path, key: str, etags: ETags) -> ListedObject | None:
    """Returns the object, or None if it is gone since the folder was read."""
    path = bucket / key
    try:
        status = path.stat()
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
    return ListedObject(key, status.st_size, status.st_mtime, etag)
