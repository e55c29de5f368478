"""The moments of dates and of blocks of dates, as they lie in the lake: a few large rows, read and written without a Spark job."""

from __future__ import annotations

import io
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from fruit_contract import lake, tables
from fruit_features import hadoop_files
from fruit_features.lake import store as object_store
from fruit_features.moments.algebra import Moments, merge_all, pack_upper_triangle, unpack_upper_triangle
from fruit_features.moments.history_tree import Block, HistoryTree, LostBlockError, Read, Source
from fruit_features.moments_states import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from obstore import Bytes
    from pyspark.sql import SparkSession

_INDEX: Final = "index.json"
_COLUMNS: Final = (tables.EMBEDDER_ID, tables.N_SAMPLES, tables.CONTENT_DIGEST, tables.MEAN, tables.SCATTER)
_READS_AT_ONCE: Final = 8
_WRITES_AT_ONCE: Final = 2


class LakeMoments:
    """Implements `history_tree.MomentsStorage` for one embedder. `index` has the kept blocks' fingerprints by name."""

    def __init__(self, spark: SparkSession, bucket: str, embedder_id: str) -> None:
        self._spark = spark
        self._bucket = bucket
        self._embedder_id = embedder_id
        self._prefix = lake.compacted_moments_prefix(embedder_id)
        self._writers = ThreadPoolExecutor(_WRITES_AT_ONCE)
        self._writes: list[Future[None]] = []
        self.index: dict[str, str] = object_store.read_json_if_there(bucket, f"{self._prefix}{_INDEX}") or {}

    def read(self, sources: Sequence[Source]) -> dict[Source, Read]:
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            found = zip(sources, pool.map(self._read_rows, sources), strict=True)
            return {source: _together(rows) for source, rows in found if rows}

    def keep(self, block: Block, fingerprint: str, moments: Moments) -> None:
        """Written while the merging goes on; `save_index` waits for it and makes it count."""
        self._writes.append(self._writers.submit(self._write, block, fingerprint, moments))

    def _write(self, block: Block, fingerprint: str, moments: Moments) -> None:
        columns = {
            tables.EMBEDDER_ID: pa.array([self._embedder_id]),
            tables.N_SAMPLES: pa.array([moments.n_samples], pa.int64()),
            tables.MEAN: pa.array([moments.mean]),
            tables.SCATTER: pa.array([pack_upper_triangle(moments.scatter)]),
            # A block's state is in its name; the column is there for readers of the table.
            tables.CONTENT_DIGEST: pa.array([0], pa.int64()),
        }
        stream = io.BytesIO()
        pq.write_table(pa.table(columns), stream, compression="none", use_dictionary=False)
        object_store.write_object(self._bucket, f"{self._prefix}{_file_name(block.name, fingerprint)}", stream.getvalue())

    def save_index(self, kept: Mapping[str, str]) -> None:
        """Makes `kept` the blocks that count, and removes the files of those that no longer do."""
        for write in self._writes:
            write.result()
        self._writes.clear()
        before, self.index = self.index, dict(kept)
        if before == self.index:
            return
        object_store.write_json(self._bucket, f"{self._prefix}{_INDEX}", self.index)
        for name, fingerprint_before in before.items():
            if self.index.get(name) != fingerprint_before:
                object_store.delete_object(self._bucket, f"{self._prefix}{_file_name(name, fingerprint_before)}")

    def _read_rows(self, source: Source) -> list[Read]:
        """The rows of the source's file; a date that is being written may have two, one that has none is not there."""
        return [row for key in self._keys(source) for row in _rows_of(_read_file(self._bucket, key), self._embedder_id)]

    def _keys(self, source: Source) -> list[str]:
        if source.block is not None:
            return [f"{self._prefix}{_file_name(source.block.name, source.fingerprint)}"]
        prefix = lake.date_prefix(lake.MOMENTS, str(source.day))
        return [
            f"{prefix}{name}" for name in hadoop_files.list_files(self._spark, lake.uri(self._bucket, prefix)) if name.endswith(".parquet")
        ]


@dataclass(frozen=True)
class MergedHistory:
    """The moments of all dates, and how many files it took to read them. `keep` waits until what was merged is written."""

    moments: Moments
    n_read: int
    keep: Callable[[], None]


def merge_history(spark: SparkSession, bucket: str, embedder_id: str, states: Mapping[str, str]) -> MergedHistory:
    """Merges the moments of all dates of `states`. Blocks of dates are written meanwhile and afterwards; `keep` makes them count."""
    storage = LakeMoments(spark, bucket, embedder_id)
    tree = HistoryTree(states, dict(storage.index), storage, tables.N_FEATURES)
    try:
        merged = tree.merge_all()
    except LostBlockError as error:
        print(f"{error} All dates are merged again.", flush=True)
        tree = HistoryTree(states, {}, storage, tables.N_FEATURES)
        merged = tree.merge_all()
    used = tree.used_blocks()
    return MergedHistory(merged, tree.n_read, partial(storage.save_index, {name: kept for name, kept in tree.kept.items() if name in used}))


def read_days(spark: SparkSession, bucket: str, embedder_id: str, days: Sequence[str]) -> dict[str, Moments]:
    """The moments of some dates; those that have none are left out."""
    read = LakeMoments(spark, bucket, embedder_id).read([Source(day=day) for day in days])
    return {str(source.day): found.moments for source, found in read.items()}


def _file_name(block_name: str, fingerprint: str) -> str:
    return f"{block_name}-{fingerprint}.parquet"


def _read_file(bucket: str, key: str) -> Bytes | None:
    """None if it is gone. A store in front of a folder (the local cloud's) may take a second to see a new file."""
    for wait_seconds in (0.0, 0.6, 0.6):
        time.sleep(wait_seconds)
        content = object_store.read_plain_buffer(bucket, key)
        if content is not None:
            return content
    return None


def _rows_of(content: Bytes | None, embedder_id: str) -> list[Read]:
    if content is None:
        return []
    table = pq.ParquetFile(pa.BufferReader(pa.py_buffer(content))).read(columns=list(_COLUMNS), use_threads=False)
    rows = []
    for index, row_embedder in enumerate(table.column(tables.EMBEDDER_ID).to_pylist()):
        if row_embedder != embedder_id:
            continue
        n_samples, digest = (table.column(name)[index].as_py() for name in (tables.N_SAMPLES, tables.CONTENT_DIGEST))
        mean, scatter = (table.column(name)[index].values.to_numpy() for name in (tables.MEAN, tables.SCATTER))
        moments = Moments(n_samples, mean, unpack_upper_triangle(scatter, tables.N_FEATURES))
        rows.append(Read(fingerprint(n_samples, digest), moments))
    return rows


def _together(rows: Sequence[Read]) -> Read:
    state = "+".join(sorted(row.state for row in rows))
    return Read(state, merge_all((row.moments for row in rows), tables.N_FEATURES))
