"""Finds the ETags of files: the MD5 of their content, which is computed once for each version of a file."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Final

READ_BYTES: Final = 1 << 20
# An entry takes some 300 bytes. The oldest goes first, so if all objects are listed in turn and do not fit, none is
# found again.
MOST_REMEMBERED: Final = 3_000_000
SETTLED_SECONDS: Final = 0.05

_Version = tuple[int, int, int, int]


class ETags:
    """Remembers the ETag of every version of a file that it was asked for or told of.

    A version is known by its inode, size and time of change. Its ETag is the plain MD5 even if it was uploaded in
    parts, because nothing but the content outlives the server.
    """

    def __init__(self) -> None:
        self._known: dict[_Version, str] = {}

    def remember(self, status: os.stat_result, etag: str) -> None:
        # An inode's number is used again soon after its file is gone, so what is told last counts.
        if len(self._known) >= MOST_REMEMBERED:
            self._known.pop(next(iter(self._known)), None)
        self._known[_version(status)] = etag

    def known(self, status: os.stat_result) -> str | None:
        return self._known.get(_version(status))

    def of(self, descriptor: int, status: os.stat_result) -> str:
        """Returns the ETag of an open file whose `status` was asked of `descriptor`."""
        known = self.known(status)
        if known is not None:
            return known
        asked = time.time()
        digest = hashlib.md5(usedforsecurity=False)
        place = 0
        while chunk := os.pread(descriptor, min(READ_BYTES, status.st_size - place), place):
            digest.update(chunk)
            place += len(chunk)
        etag = digest.hexdigest()
        # Others, such as Spark, write into the folder without the server. Their files may change once more within one
        # tick of the file system's clock.
        if _version(os.fstat(descriptor)) == _version(status) and asked - status.st_mtime > SETTLED_SECONDS:
            self.remember(status, etag)
        return etag


def _version(status: os.stat_result) -> _Version:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
