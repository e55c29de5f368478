"""Packets become files of `features/`, written by the workers, and parts of the moments of what was written."""

from __future__ import annotations

import io
from itertools import groupby
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import lake, tables
from fruit_features import object_store
from fruit_features.moments_parts import PART_SCHEMA, PartsOfDates
from fruit_features.packets import FEATURES_SCHEMA, read_stream
from fruit_features.worker_imports import forget_zip_importers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pyspark.sql import Column, DataFrame

    from fruit_features.moments_parts import PartRow

# What a worker holds of a file before it is put into the lake: 16,384 x 5 KB are 84 MB.
ROWS_PER_FILE: Final = 16_384
_ROWS_PER_ROW_GROUP: Final = 4_096
_FILE_NUMBER: Final = "file_number"
# Few enough that their moments (6.6 MB a task and date) are no burden, and enough that no slot waits long for another.
_TASKS_PER_SLOT: Final = 2


def write_features(
    packets: DataFrame, bucket: str, write_id: str, rows_by_partition: Mapping[tuple[str, str], int], n_slots: int
) -> DataFrame:
    """The parts of the moments of `packets`; computing them writes the features as files whose names end in `write_id`.

    `rows_by_partition` says how many rows with features the packets have, by date and category: a partition becomes one file, a large one
    a few. A file is named by what it is of, so that a task that is tried again replaces what it wrote.
    """
    n_tasks = min(sum(map(_n_files, rows_by_partition.values())), _TASKS_PER_SLOT * n_slots)
    n_days = len({ingest_date for ingest_date, _ in rows_by_partition})
    # A date's partitions go to about as many tasks as the date has a share in: a task has moments for each of its dates.
    tasks_a_day = F.lit(4 * -(-n_tasks // n_days) if n_days < n_tasks else 1)
    numbered = packets.where(F.length("features") > 0).withColumn(_FILE_NUMBER, _file_number(rows_by_partition))
    spread = F.pmod(F.xxhash64(tables.CATEGORY, _FILE_NUMBER), tasks_a_day)
    together = numbered.select(tables.INGEST_DATE, tables.CATEGORY, _FILE_NUMBER, "first_image_key", "features").repartition(
        max(n_tasks, 1), tables.INGEST_DATE, spread
    )

    def write(rows: Iterable[tuple[str, str, int, bytes]]) -> Iterator[PartRow]:
        forget_zip_importers()
        parts = PartsOfDates()
        for (ingest_date, category, file_number), its_rows in groupby(rows, key=lambda row: row[:3]):
            prefix = lake.partition_prefix(lake.FEATURES, ingest_date, category)
            writer = _PartitionWriter(bucket, f"{prefix}part-{file_number:05d}", write_id)
            for *_, stream in its_rows:
                for batch in read_stream(stream).to_batches():
                    writer.add(batch)
                    yield from parts.add(ingest_date, category, batch)
            writer.finish()
        yield from parts.finish()

    in_order = together.sortWithinPartitions(tables.INGEST_DATE, tables.CATEGORY, _FILE_NUMBER, "first_image_key").drop("first_image_key")
    return packets.sparkSession.createDataFrame(in_order.rdd.mapPartitions(write), PART_SCHEMA, verifySchema=False)


def remove_other_files(bucket: str, write_id: str, partitions: Collection[tuple[str, str]]) -> None:
    """Of `partitions` (date and category), what another write left."""
    stale = []
    for ingest_date in sorted({day for day, _ in partitions}):
        for key in object_store.list_plain_keys(bucket, lake.date_prefix(lake.FEATURES, ingest_date)):
            place = lake.parse_features_file(key)
            if place is not None and place[:2] in partitions and not place[2].endswith(_ending(write_id)):
                stale.append(key)
    object_store.delete_plain_objects(bucket, stale)


def _file_number(rows_by_partition: Mapping[tuple[str, str], int]) -> Column:
    """Zero, but for packets of partitions that are too large for one file."""
    number = F.lit(0)
    for (ingest_date, category), n_rows in rows_by_partition.items():
        if _n_files(n_rows) > 1:
            its_own = (F.col(tables.INGEST_DATE) == ingest_date) & (F.col(tables.CATEGORY) == category)
            number = F.when(its_own, F.pmod(F.xxhash64("first_image_key"), F.lit(_n_files(n_rows)))).otherwise(number)
    return number.cast("int")


def _n_files(n_rows: int) -> int:
    return -(-n_rows // ROWS_PER_FILE)


def _ending(write_id: str) -> str:
    return f"-{write_id}.parquet"


class _PartitionWriter:
    """Writes rows as one file of a partition; as more than one if they turn out to be many more than a file should hold."""

    def __init__(self, bucket: str, stem: str, write_id: str) -> None:
        self._bucket = bucket
        self._stem = stem
        self._write_id = write_id
        self._n_files = 0
        self._waiting: list[pa.RecordBatch] = []
        self._open()

    def add(self, rows: pa.RecordBatch) -> None:
        self._waiting.append(rows)
        if sum(batch.num_rows for batch in self._waiting) >= _ROWS_PER_ROW_GROUP:
            self._write_waiting()
            # Hashes deal unevenly: a file may hold half as many again.
            if self._n_rows >= ROWS_PER_FILE * 3 // 2:
                self._put()
                self._open()

    def finish(self) -> None:
        self._write_waiting()
        if self._n_rows:
            self._put()

    def _open(self) -> None:
        self._n_rows = 0
        self._stream = io.BytesIO()
        # Only the embedder repeats itself, and nobody looks for a vector by its smallest number.
        self._parquet = pq.ParquetWriter(
            self._stream,
            FEATURES_SCHEMA,
            compression="snappy",
            use_dictionary=[tables.EMBEDDER_ID],
            write_statistics=[name for name in FEATURES_SCHEMA.names if name != tables.VECTOR],
        )

    def _write_waiting(self) -> None:
        if self._waiting:
            rows = pa.Table.from_batches(self._waiting, FEATURES_SCHEMA)
            self._parquet.write_table(rows, row_group_size=_ROWS_PER_ROW_GROUP * 2)
            self._n_rows += rows.num_rows
            self._waiting = []

    def _put(self) -> None:
        self._parquet.close()
        key = f"{self._stem}-{self._n_files:03d}{_ending(self._write_id)}"
        object_store.write_plain_object(self._bucket, key, self._stream.getbuffer())
        self._n_files += 1
