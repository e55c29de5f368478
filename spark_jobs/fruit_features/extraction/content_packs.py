"""Looks through the content indexes of all dates. A pack holds those of a month, so that years take few requests.

A pack names the ETag of each index that it holds. An index that is listed with another ETag is read by itself, so a
pack is only a cache: without it, the result is the same.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from fruit_contract import lake
from fruit_features.extraction.content_hashes import common_hashes, is_whole
from fruit_features.lake.store import at_once

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray
    from obstore import Bytes

    from fruit_contract.listing import ListedObject
    from fruit_features.lake.store import Store

# The latest month is packed anew when so many of its indexes have changed, and any other month at the first change.
_MOST_LOOSE: Final = 4
# An image takes 8 bytes. A month with more bytes is not packed, because its bytes take longer than its requests.
_MOST_BYTES: Final = 32 * 1024 * 1024
_HEADER_BYTES: Final = 8


class Packed(NamedTuple):
    """Holds a date's content index from a pack: its bytes, and the ETag of the object of which they are a copy."""

    etag: str
    hashes: memoryview


def find_hashes(store: Store, embedder_id: str, wanted: NDArray[np.uint64]) -> dict[str, NDArray[np.uint64]]:
    """Returns which of the `wanted` hashes the content index of each ingest date has, sorted by date.

    It also brings the packs up to date.
    """
    months: dict[str, dict[str, ListedObject]] = {}
    packs = set()
    for entry in store.list_objects(lake.content_index_prefix(embedder_id)):
        name, _, kind = entry.key.rpartition("/")[2].rpartition(".")
        if kind == "pack":
            packs.add(name)
            months.setdefault(name, {})
        else:
            months.setdefault(name[:7], {})[name] = entry
    latest = max(months, default="")

    def look(month: str) -> dict[str, NDArray[np.uint64]]:
        indexes = _read_month(
            store, lake.content_pack_key(embedder_id, month), months[month], month in packs, month == latest
        )
        return {day: common_hashes(hashes, wanted) for day, hashes in indexes.items()}

    found = at_once(look, sorted(months))
    return dict(sorted((day, hashes) for month in found for day, hashes in month.items()))


def _read_month(
    store: Store, pack_key: str, listed: Mapping[str, ListedObject], is_packed: bool, is_latest: bool
) -> dict[str, memoryview]:
    packed = pack_from_bytes(store.find(pack_key)) if is_packed else {}
    fresh = {day: index for day, index in packed.items() if day in listed and index.etag == listed[day].etag}
    loose = {}
    for day in listed.keys() - fresh.keys():
        content = store.find(listed[day].key)
        if content is None:
            continue
        hashes = memoryview(content)
        if not is_whole(hashes):
            print(
                f"{store.uri(listed[day].key)} is not as it was written. What it points to is computed again where it "
                "comes again.",
                flush=True,
            )
            hashes = hashes[:0]
        loose[day] = Packed(listed[day].etag, hashes)
    indexes = fresh | loose
    n_changed = len(loose) + len(packed.keys() - listed.keys())
    if n_changed >= (_MOST_LOOSE if is_latest else 1):
        if sum(len(index.hashes) for index in indexes.values()) <= _MOST_BYTES and len(indexes) > 1:
            store.write(pack_key, pack_to_bytes(indexes))
        elif is_packed:
            store.delete([pack_key])
    return {day: index.hashes for day, index in indexes.items()}


def pack_to_bytes(indexes: Mapping[str, Packed]) -> bytes:
    """Returns a pack's bytes: the header's length, the header (JSON: each index's ETag and length), and the indexes."""
    header = json.dumps({day: [index.etag, len(index.hashes)] for day, index in sorted(indexes.items())}).encode()
    return (
        len(header).to_bytes(_HEADER_BYTES, "little")
        + header
        + b"".join(index.hashes for _, index in sorted(indexes.items()))
    )


def pack_from_bytes(content: Bytes | bytes | None) -> dict[str, Packed]:
    """Returns the indexes in a pack by their dates, or none if the pack is gone or damaged."""
    view = memoryview(content or b"")
    start = _HEADER_BYTES + int.from_bytes(view[:_HEADER_BYTES], "little")
    try:
        header = json.loads(bytes(view[_HEADER_BYTES:start]))
        indexes = {}
        for day, (etag, n_bytes) in header.items():
            indexes[day] = Packed(etag, view[start : start + n_bytes])
            start += n_bytes
    except (ValueError, AttributeError, TypeError):
        return {}
    return indexes if start == len(view) else {}
