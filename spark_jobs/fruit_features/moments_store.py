"""The moments of dates and of blocks of dates, as they lie in the lake: read through Spark, a handful at a time."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import lake, tables
from fruit_features import hadoop_files, object_store
from fruit_features.history_tree import Block, HistoryTree, LostBlockError, Read, Source
from fruit_features.lake_tables import schema_of
from fruit_features.moments import Moments, merge, pack_upper_triangle, unpack_upper_triangle
from fruit_features.moments_frames import doubles_of
from fruit_features.moments_states import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pyspark.sql import SparkSession

_INDEX: Final = "index.json"
_DAY_FOLDER: Final = re.compile(rf"{tables.INGEST_DATE}=(\d{{4}}-\d{{2}}-\d{{2}})/[^/]+$")
_COLUMNS: Final = (tables.EMBEDDER_ID, tables.N_SAMPLES, tables.CONTENT_DIGEST, tables.MEAN, tables.SCATTER)
_BINARY: Final = "path string, n_samples long, content_digest long, mean binary, scatter binary"


class LakeMoments:
    """Implements `history_tree.MomentsStorage` for one embedder. `index` has the kept blocks' fingerprints by name."""

    def __init__(self, spark: SparkSession, bucket: str, embedder_id: str) -> None:
        self._spark = spark
        self._bucket = bucket
        self._embedder_id = embedder_id
        self._prefix = lake.compacted_moments_prefix(embedder_id)
        self.index: dict[str, str] = object_store.read_json_if_there(bucket, f"{self._prefix}{_INDEX}") or {}

    def read(self, sources: Sequence[Source]) -> dict[Source, Read]:
        by_path = {self._path(source): source for source in sources}
        present = [path for path in by_path if hadoop_files.exists(self._spark, path)]
        if not present:
            return {}
        # Days lie in partitions and blocks do not: each file is asked for by itself, and its path says what it is.
        frame = (
            self._spark.read.schema(schema_of(_COLUMNS)).option("recursiveFileLookup", "true").parquet(*present)
            .where(F.col(tables.EMBEDDER_ID) == self._embedder_id)
            .select(F.col("_metadata.file_path").alias("path"), tables.N_SAMPLES, tables.CONTENT_DIGEST, tables.MEAN, tables.SCATTER)
        )  # fmt: skip
        found: dict[Source, Read] = {}
        for path, n_samples, digest, mean, scatter in frame.mapInArrow(_to_binary, _BINARY).collect():
            source = self._source_of(path, by_path.values())
            moments = Moments(n_samples, np.frombuffer(mean), unpack_upper_triangle(np.frombuffer(scatter), tables.N_FEATURES))
            state = fingerprint(n_samples, digest)
            if source in found:
                # Two files of one day: it is being written.
                state, moments = f"{found[source].state}+{state}", merge(found[source].moments, moments)
            found[source] = Read(state, moments)
        return found

    def keep(self, block: Block, fingerprint: str, moments: Moments) -> None:
        """The file first: `save_index` makes it count."""
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
        before, self.index = self.index, dict(kept)
        if before == self.index:
            return
        object_store.write_json(self._bucket, f"{self._prefix}{_INDEX}", self.index)
        for name, fingerprint_before in before.items():
            if self.index.get(name) != fingerprint_before:
                object_store.delete_object(self._bucket, f"{self._prefix}{_file_name(name, fingerprint_before)}")

    def _path(self, source: Source) -> str:
        if source.block is None:
            return lake.uri(self._bucket, lake.date_prefix(lake.MOMENTS, str(source.day)))
        return lake.uri(self._bucket, f"{self._prefix}{_file_name(source.block.name, source.fingerprint)}")

    def _source_of(self, path: str, sources: Iterable[Source]) -> Source:
        match = _DAY_FOLDER.search(path)
        if match:
            return Source(day=match.group(1))
        return next(source for source in sources if source.block and path.endswith(_file_name(source.block.name, source.fingerprint)))


def merge_history(spark: SparkSession, bucket: str, embedder_id: str, states: Mapping[str, str]) -> tuple[Moments, int]:
    """The moments of all dates of `states`, and how many files it took to read them. Keeps what it merged."""
    storage = LakeMoments(spark, bucket, embedder_id)
    tree = HistoryTree(states, dict(storage.index), storage, tables.N_FEATURES)
    try:
        merged = tree.merge_all()
    except LostBlockError as error:
        print(f"{error} All dates are merged again.", flush=True)
        tree = HistoryTree(states, {}, storage, tables.N_FEATURES)
        merged = tree.merge_all()
    used = tree.used_blocks()
    storage.save_index({name: kept for name, kept in tree.kept.items() if name in used})
    return merged, tree.n_read


def read_days(spark: SparkSession, bucket: str, embedder_id: str, days: Sequence[str]) -> dict[str, Moments]:
    """The moments of some dates; those that have none are left out."""
    read = LakeMoments(spark, bucket, embedder_id).read([Source(day=day) for day in days])
    return {str(source.day): found.moments for source, found in read.items()}


def _file_name(block_name: str, fingerprint: str) -> str:
    return f"{block_name}-{fingerprint}.parquet"


def _to_binary(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    names = ["path", "n_samples", "content_digest", "mean", "scatter"]
    for batch in batches:
        plain = [batch.column(index) for index in range(3)]
        vectors = [
            pa.array([doubles_of(batch.column(index), row).tobytes() for row in range(batch.num_rows)], pa.binary()) for index in (3, 4)
        ]
        yield pa.RecordBatch.from_arrays([*plain, *vectors], names=names)
