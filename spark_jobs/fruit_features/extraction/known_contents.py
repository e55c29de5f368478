"""Finds content that is already featurised under another key, so that its features are copied instead of computed.

It is looked up by a hash of ETag and size, and proved by its SHA-256.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import lake, tables
from fruit_contract.tables import Status
from fruit_features.embedding.featurise import KnownFeatures
from fruit_features.extraction.content_hashes import hash_content, hash_contents, is_whole, to_bytes, union
from fruit_features.extraction.content_packs import find_hashes
from fruit_features.lake import files
from fruit_features.lake.commit import read_ledger
from fruit_features.lake.vectors import rows_of_embedder, to_matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from fruit_features.lake.store import Store

# So many images of a step are looked up, because the driver holds the place of each. Others are computed, with the same
# result.
MOST_LOOKED_UP: Final = 1_000_000
# A worker keeps so many files of features. The images of a category come sorted by file.
_FILES_KEPT: Final = 2


def write_content_index(
    store: Store, embedder_id: str, ingest_date: str, contents: Iterable[tuple[str, int]], *, whole: bool
) -> bool:
    """Writes the contents (ETag and size) of a date's featurised images to its index.

    They replace what the index holds if they are the `whole`, and are added to it otherwise. Returns False, and writes
    nothing, if they are to be added and the index is gone or was cut off.
    """
    key = lake.content_index_key(embedder_id, ingest_date)
    before = b"" if whole else store.find(key)
    if before is None or not is_whole(memoryview(before)):
        return False
    store.write(key, to_bytes(union(bytes(before), hash_contents(contents))))
    return True


def find_sources(store: Store, embedder_id: str, images: pa.Table) -> list[str | None]:
    """Returns for each of `images` the file of features that probably has its content, by ETag and size, or None.

    It reads 8 bytes for each image of the history, and the ledgers of the dates that have such a content.
    """
    hashes = np.fromiter(
        (hash_content(*content) for content in _contents(images)), dtype=np.uint64, count=images.num_rows
    )
    dates = _dates_by_hash(store, embedder_id, np.unique(hashes))
    sources: list[str | None] = [None] * images.num_rows
    rows = np.flatnonzero(np.isin(hashes, np.array(list(dates), dtype=np.uint64)))[:MOST_LOOKED_UP]
    if not len(rows):
        return sources
    wanted = list(_contents(images.take(pa.array(rows))))
    by_date: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    for row, content in zip(rows, wanted, strict=True):
        by_date[dates[int(hashes[row])]].add(content)
    places: dict[tuple[str, int], str] = {}
    # A ledger may be large, so they are read one at a time.
    for day, contents in sorted(by_date.items()):
        places.update(_places(store, embedder_id, day, contents))
    for row, content in zip(rows, wanted, strict=True):
        sources[row] = places.get(content)
    return sources


class SourceFiles:
    """Finds, in a worker, the features of a content in the file that `sources` names for an image's key.

    A file that is gone, or is not as it was written, has none.
    """

    def __init__(self, store: Store, embedder_id: str, sources: Mapping[str, str]) -> None:
        self._sources = sources
        self._open = lru_cache(_FILES_KEPT)(lambda key: _SourceFile(store, key, embedder_id))

    def find(self, image_key: str, content_sha256: str) -> KnownFeatures | None:
        source = self._sources.get(image_key)
        return None if source is None else self._open(source).find(content_sha256)


class _SourceFile:
    """Holds the features of one file by the SHA-256 of their contents."""

    def __init__(self, store: Store, key: str, embedder_id: str) -> None:
        self._rows = rows_of_embedder(_rows_if_sound(store, key), embedder_id).combine_chunks()
        self._matrix = (
            to_matrix(self._rows.column(tables.VECTOR).combine_chunks(), tables.N_FEATURES)
            if self._rows.num_rows
            else None
        )
        contents = self._rows.column(tables.CONTENT_SHA256).to_pylist()
        self._indexes = {sha256: index for index, sha256 in enumerate(contents)}

    def find(self, content_sha256: str) -> KnownFeatures | None:
        index = self._indexes.get(content_sha256)
        if index is None or self._matrix is None:
            return None
        width, height = (self._rows.column(name)[index].as_py() for name in (tables.WIDTH, tables.HEIGHT))
        return KnownFeatures(self._matrix[index], width, height)


def _rows_if_sound(store: Store, key: str) -> pa.Table:
    content = store.find(key)
    if content is None:
        return files.FEATURES.empty_table()
    try:
        return files.read_rows(store.uri(key), content, files.FEATURES.names)
    except files.DamagedFileError as error:
        print(f"{error} Its images' features are computed again where they were to be taken from it.", flush=True)
        return files.FEATURES.empty_table()


def _contents(images: pa.Table) -> Iterator[tuple[str, int]]:
    """Yields the ETag and the size of each image."""
    for batch in images.select([tables.ETAG, tables.SIZE_BYTES]).to_batches(max_chunksize=8192):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _dates_by_hash(store: Store, embedder_id: str, wanted: NDArray[np.uint64]) -> dict[int, str]:
    """Returns the latest date that has a hash, for each of the `wanted` ones that a date has."""
    found = find_hashes(store, embedder_id, wanted) if len(wanted) else {}
    return {int(value): ingest_date for ingest_date, hashes in found.items() for value in hashes}


def _places(
    store: Store, embedder_id: str, ingest_date: str, wanted: set[tuple[str, int]]
) -> dict[tuple[str, int], str]:
    """Returns the file of each of the `wanted` contents that the date's ledger has."""
    rows = read_ledger(store, ingest_date).rows
    etags = pa.array(sorted({etag for etag, _ in wanted}), pa.string())
    conditions = (
        pc.equal(rows.column(tables.STATUS), Status.FEATURISED.value),
        pc.equal(rows.column(tables.EMBEDDER_ID), embedder_id),
        pc.is_in(rows.column(tables.ETAG), etags),
    )
    found = rows.filter(pc.and_kleene(pc.and_kleene(conditions[0], conditions[1]), conditions[2]))
    columns = (found.column(name).to_pylist() for name in (tables.ETAG, tables.SIZE_BYTES, tables.FILE))
    return {
        (etag, size_bytes): file
        for etag, size_bytes, file in zip(*columns, strict=True)
        if (etag, size_bytes) in wanted
    }
