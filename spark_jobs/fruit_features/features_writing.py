"""Packets become files of `features/`, written by the workers, and parts of the moments of what was written."""

from __future__ import annotations

import io
import math
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import lake, tables
from fruit_features.lake import store as object_store
from fruit_features.moments.parts import PART_SCHEMA, PartsOfDates
from fruit_features.packets import FEATURES_SCHEMA, read_stream
from fruit_features.spark.worker_imports import forget_zip_importers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pyspark.sql import Column, DataFrame

    from fruit_features.moments.parts import PartRow

# A file of a large partition; what a worker holds of it: 12,288 x 5 KB are 63 MB.
ROWS_PER_FILE: Final = 12_288
# Hashes deal unevenly: a file may get a third more before another one is begun.
MOST_ROWS_PER_FILE: Final = 16_384
_ROWS_PER_ROW_GROUP: Final = 4_096
_FILE_NUMBER: Final = "file_number"
_COLUMNS: Final = (tables.INGEST_DATE, tables.CATEGORY, _FILE_NUMBER, "features")
# Few enough that their moments (6.6 MB a task and date) are no burden.
_TASKS_PER_SLOT: Final = 2
# A date's partitions go to more groups than tasks, as groups meet in tasks by chance.
_GROUPS_PER_TASK: Final = 4


def write_features(
    packets: DataFrame, bucket: str, write_id: str, rows_by_partition: Mapping[tuple[str, str], int], n_slots: int
) -> DataFrame:
    """The parts of the moments of `packets`; computing them writes the features as files whose names end in `write_id`.

    `rows_by_partition` says how many rows with features the packets have, by date and category: a partition becomes one file, a large one
    a few. A file is named by what it is of, so that a task that is tried again replaces what it wrote.
    To be computed with few rows at once.
    """
    n_tasks = min(sum(map(_n_files, rows_by_partition.values())), _TASKS_PER_SLOT * n_slots)
    numbered = packets.where(F.length("features") > 0).withColumn(_FILE_NUMBER, _file_number(rows_by_partition))
    # A task has moments for each of its dates, so a date goes to as many tasks as its rows are worth.
    group = F.pmod(F.xxhash64(tables.CATEGORY, _FILE_NUMBER), _groups_of_date(rows_by_partition, n_tasks))
    together = numbered.select(*_COLUMNS, "first_image_key").repartition(max(n_tasks, 1), tables.INGEST_DATE, group)
    in_order = together.sortWithinPartitions(tables.INGEST_DATE, tables.CATEGORY, _FILE_NUMBER, "first_image_key").select(*_COLUMNS)

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        forget_zip_importers()
        for part in write_packets(_read_rows(batches), bucket, write_id):
            yield pa.RecordBatch.from_pylist([part._asdict()])

    return in_order.mapInArrow(write, PART_SCHEMA)


def write_packets(packets: Iterable[tuple[str, str, int, bytes]], bucket: str, write_id: str) -> Iterator[PartRow]:
    """What a task does: writes packets (date, category, number of the file, stream of features), sorted by the first three."""
    parts = PartsOfDates()
    for (ingest_date, category, file_number), its_packets in groupby(packets, key=lambda packet: packet[:3]):
        prefix = lake.partition_prefix(lake.FEATURES, ingest_date, category)
        writer = _FileWriter(bucket, f"{prefix}part-{file_number:05d}", write_id)
        for *_, stream in its_packets:
            for rows in read_stream(stream).to_batches():
                writer.add(rows)
                yield from parts.add(ingest_date, category, rows)
        writer.finish()
    yield from parts.finish()


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


def _groups_of_date(rows_by_partition: Mapping[tuple[str, str], int], n_tasks: int) -> Column:
    rows_of_dates: Counter[str] = Counter()
    for (ingest_date, _), n_rows in rows_by_partition.items():
        rows_of_dates[ingest_date] += n_rows
    share = _GROUPS_PER_TASK * n_tasks / max(rows_of_dates.total(), 1)
    groups = {ingest_date: math.ceil(n_rows * share) for ingest_date, n_rows in rows_of_dates.items()}
    return F.create_map(*(F.lit(value) for item in groups.items() for value in item))[F.col(tables.INGEST_DATE)]


def _read_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, str, int, bytes]]:
    for batch in batches:
        for index in range(batch.num_rows):
            ingest_date, category, file_number, stream = (column[index].as_py() for column in batch.columns)
            yield ingest_date, category, file_number, stream


def _n_files(n_rows: int) -> int:
    return -(-n_rows // ROWS_PER_FILE)


def _ending(write_id: str) -> str:
    return f"-{write_id}.parquet"


class _FileWriter:
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
            if self._n_rows >= MOST_ROWS_PER_FILE:
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
            self._parquet.write_table(rows, row_group_size=2 * _ROWS_PER_ROW_GROUP)
            self._n_rows += rows.num_rows
            self._waiting = []

    def _put(self) -> None:
        self._parquet.close()
        key = f"{self._stem}-{self._n_files:03d}{_ending(self._write_id)}"
        object_store.write_plain_object(self._bucket, key, self._stream.getbuffer())
        self._n_files += 1
