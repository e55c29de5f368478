"""The files of `features/` as workers read them: whole, through Spark's file system, and decoded by pyarrow.

Spark's own reader hands a vector over number by number, twice; a file's bytes cost one copy.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow.parquet as pq

from fruit_contract import lake
from fruit_features import hadoop_files
from fruit_features.worker_imports import forget_zip_importers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

# Bounds a worker: 2,048 vectors are 10 MB, 21 MB in float64.
_ROWS_AT_ONCE: Final = 2048
_RECORDS_SETTING: Final = "spark.sql.execution.arrow.maxRecordsPerBatch"


@dataclass(frozen=True)
class FeaturesFile:
    """One file of one partition of `features/`, in a worker."""

    ingest_date: str
    category: str
    name: str
    content: bytes

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Its rows, some at a time."""
        yield from pq.ParquetFile(io.BytesIO(self.content)).iter_batches(_ROWS_AT_ONCE, columns=list(columns))


def files_of_dates(spark: SparkSession, bucket: str, ingest_dates: Iterable[str]) -> DataFrame | None:
    """The files of the dates' features, as `features_files` gives them."""
    return features_files(spark, bucket, [lake.date_prefix(lake.FEATURES, day) for day in ingest_dates])


def features_files(spark: SparkSession, bucket: str, prefixes: Iterable[str]) -> DataFrame | None:
    """A row of `path` and `content` for each file below `prefixes`, to be read with `read_files`; None if there are none.

    Files are listed now. What computes on it must run inside `few_rows_at_once`, with one.
    """
    addresses = [lake.uri(bucket, prefix) for prefix in prefixes]
    present = [address for address in addresses if hadoop_files.exists(spark, address)]
    if not present:
        return None
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").option("pathGlobFilter", "*.parquet")
    return files.load(present).select("path", "content")


@contextmanager
def few_rows_at_once(spark: SparkSession, n_rows: int) -> Iterator[None]:
    """While it lasts, a worker gets `n_rows` in a batch: Spark bounds a batch by rows, and some rows are a hundred megabytes."""
    before = str(spark.conf.get(_RECORDS_SETTING))
    spark.conf.set(_RECORDS_SETTING, str(n_rows))
    try:
        yield
    finally:
        spark.conf.set(_RECORDS_SETTING, before)


def read_files(batches: Iterable[pa.RecordBatch]) -> Iterator[FeaturesFile]:
    """What a worker gets of `features_files`."""
    forget_zip_importers()
    for batch in batches:
        for index in range(batch.num_rows):
            place = file_place(batch.column(0)[index].as_py())
            yield FeaturesFile(*place, batch.column(1)[index].as_py())


def file_place(address: str) -> tuple[str, str, str]:
    """Ingest date, category and name of a file of `features/`. Raises ValueError if it is none."""
    _, key = lake.split_uri(address)
    place = lake.parse_features_file(key)
    if place is None:
        raise ValueError(f"'{address}' is no file of {lake.FEATURES}/.")
    return place
