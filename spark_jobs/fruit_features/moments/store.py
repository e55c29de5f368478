"""Reads and writes the moments of dates and of blocks of dates: one large row each, without a Spark job."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from fruit_contract import lake, tables
from fruit_contract.commit import MomentsObject, digest_text
from fruit_features.lake import files
from fruit_features.lake.store import load_library
from fruit_features.moments.algebra import Moments, pack_upper_triangle, unpack_upper_triangle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fruit_features.lake.store import Store
    from fruit_features.moments.history_tree import Block, Source

_INDEX: Final = "index.json"
_READS_AT_ONCE: Final = 8
_WRITES_AT_ONCE: Final = 2
_SIGN_BIT: Final = 1 << 63


def write_moments(
    store: Store, ingest_date: str, write: str, embedder_id: str, moments: Moments, images_digest: int
) -> MomentsObject:
    """Writes the moments of a date's features of one embedder under the name of the commit, and says where they are."""
    key = lake.moments_key(ingest_date, write, embedder_id)
    store.write(key, _to_parquet(embedder_id, moments, images_digest))
    return MomentsObject(key, moments.n_samples, digest_text(images_digest))


def find_moments(store: Store, key: str) -> Moments | None:
    """Returns the moments under a key, or None if they are gone or can't be read."""
    content = store.find(key)
    if content is None:
        return None
    try:
        table = files.read_rows(store.uri(key), content, (tables.N_SAMPLES, tables.MEAN, tables.SCATTER))
        mean, scatter = (table.column(name)[0].values.to_numpy() for name in (tables.MEAN, tables.SCATTER))
        if not (np.isfinite(mean).all() and np.isfinite(scatter).all()):
            raise ValueError("it holds NaN or infinity")  # noqa: TRY301  # as good as not there: they are added up anew
        return Moments(
            table.column(tables.N_SAMPLES)[0].as_py(), mean, unpack_upper_triangle(scatter, tables.N_FEATURES)
        )
    except (pa.ArrowException, OSError, ValueError, IndexError) as error:
        print(f"{store.uri(key)} can't be read: {error}", flush=True)
        return None


class LakeMoments:
    """Reads and keeps moments of one embedder in the lake, as a `history_tree.MomentsStorage`.

    `keys` says where each date's moments lie, and `recomputed` has moments in place of lost ones. `index` has the
    fingerprints of the kept blocks by name.
    """

    def __init__(
        self, store: Store, embedder_id: str, keys: Mapping[str, str], recomputed: Mapping[str, Moments] | None = None
    ) -> None:
        load_library()
        self._store = store
        self._embedder_id = embedder_id
        self._keys = keys
        self._recomputed = recomputed or {}
        self._prefix = lake.compacted_moments_prefix(embedder_id)
        self._writers = ThreadPoolExecutor(_WRITES_AT_ONCE)
        self._writes: list[Future[None]] = []
        self.index = _read_index(store, f"{self._prefix}{_INDEX}")

    def read(self, sources: Sequence[Source]) -> dict[Source, Moments]:
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            found = zip(sources, pool.map(self._find, sources), strict=True)
            return {source: moments for source, moments in found if moments is not None}

    def keep(self, block: Block, fingerprint: str, moments: Moments) -> None:
        """Writes a block in the background. `save_index` waits for it and makes it count."""
        key = f"{self._prefix}{_file_name(block.name, fingerprint)}"
        self._writes.append(
            self._writers.submit(lambda: self._store.write(key, _to_parquet(self._embedder_id, moments, 0)))
        )

    def save_index(self, kept: Mapping[str, str]) -> None:
        """Makes `kept` the blocks that count, and removes the files of all others."""
        for write in self._writes:
            write.result()
        self._writes.clear()
        before, self.index = self.index, dict(kept)
        if before == self.index:
            return
        self._store.write_json(f"{self._prefix}{_INDEX}", self.index)
        used = {f"{self._prefix}{_file_name(name, fingerprint)}" for name, fingerprint in self.index.items()}
        stale = [key for key in self._store.list_keys(self._prefix) if key.endswith(".parquet") and key not in used]
        self._store.delete(stale)

    def _find(self, source: Source) -> Moments | None:
        if source.block is not None:
            return find_moments(self._store, f"{self._prefix}{_file_name(source.block.name, source.fingerprint)}")
        day = str(source.day)
        if day in self._recomputed:
            return self._recomputed[day]
        return find_moments(self._store, self._keys[day]) if day in self._keys else None


def _read_index(store: Store, key: str) -> dict[str, str]:
    """Returns the fingerprints of the kept blocks by name, or none if they can't be read."""
    try:
        found = store.find_json(key) or {}
        if not isinstance(found, dict):
            raise ValueError("it holds no object")  # noqa: TRY301, TRY004  # as good as not there
    except ValueError as error:
        print(f"{store.uri(key)} can't be read: {error}. All dates are merged again.", flush=True)
        return {}
    return found


def _to_parquet(embedder_id: str, moments: Moments, images_digest: int) -> memoryview:
    columns = {
        tables.EMBEDDER_ID: [embedder_id],
        tables.N_SAMPLES: [moments.n_samples],
        tables.MEAN: [moments.mean],
        tables.SCATTER: [pack_upper_triangle(moments.scatter)],
        # The column is a signed number.
        tables.CONTENT_DIGEST: [images_digest - 2 * _SIGN_BIT if images_digest & _SIGN_BIT else images_digest],
    }
    arrays = [pa.array(columns[name], files.MOMENTS.field(name).type) for name in files.MOMENTS.names]
    return files.moments_to_parquet(pa.Table.from_arrays(arrays, schema=files.MOMENTS))


def _file_name(block_name: str, fingerprint: str) -> str:
    return f"{block_name}-{fingerprint}.parquet"
