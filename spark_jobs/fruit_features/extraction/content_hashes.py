"""Keeps a date's featurised contents as a short sorted list of hashes, in which new images can be looked up.

An entry is a hash of an object's ETag and size, which a listing tells without reading the object. It only says which
dates are worth a look. Whether features are copied is decided by the SHA-256 of the content itself.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_LITTLE_ENDIAN: Final = np.dtype("<u8")


def hash_content(etag: str, size_bytes: int) -> int:
    """Returns 64 bits of a hash of an object's ETag (without quotes) and size."""
    return int.from_bytes(hashlib.blake2b(f"{etag}:{size_bytes}".encode(), digest_size=8).digest(), "little")


def hash_contents(contents: Iterable[tuple[str, int]]) -> NDArray[np.uint64]:
    """Returns the hashes of n pairs of ETag and size, sorted and without repetition: uint64[<= n]."""
    return np.unique(np.fromiter((hash_content(etag, size) for etag, size in contents), dtype=np.uint64))


def to_bytes(hashes: NDArray[np.uint64]) -> bytes:
    return hashes.astype(_LITTLE_ENDIAN).tobytes()


def from_bytes(stored: bytes | memoryview) -> NDArray[np.uint64]:
    """Reads what `to_bytes` wrote. Returns no hashes if it was cut off within an entry."""
    return np.frombuffer(stored if is_whole(stored) else b"", dtype=_LITTLE_ENDIAN)


def is_whole(stored: bytes | memoryview) -> bool:
    """Says whether what `to_bytes` wrote ends with a whole entry."""
    return len(stored) % _LITTLE_ENDIAN.itemsize == 0


def union(stored: bytes, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Joins the `stored` hashes (as `to_bytes` wrote them) with others, sorted and without repetition."""
    return np.union1d(from_bytes(stored), hashes)


def common_hashes(stored: bytes | memoryview, wanted: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns those of `wanted` that are among the `stored` ones (sorted, as `to_bytes` wrote them). O(m log n)."""
    hashes = from_bytes(stored)
    if not len(hashes):
        return wanted[:0]
    positions = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
    found: NDArray[np.uint64] = wanted[hashes[positions] == wanted]
    return found
