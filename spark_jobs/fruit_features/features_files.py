"""The files of `features/` as workers read them: whole, over the S3 API, and decoded by pyarrow.

Spark's own reader hands a vector over number by number, twice, and what Java reads must be copied to Python.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from fruit_contract import lake
from fruit_features.lake import store as object_store
from fruit_features.spark.session import task_slots
from fruit_features.spark.task_planning import plan_chunks
from fruit_features.spark.worker_imports import forget_zip_importers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from obstore import Bytes
    from pyspark import RDD
    from pyspark.sql import SparkSession

    from fruit_features.lake.store import ListedObject

Result = TypeVar("Result")

# Bounds a worker: 2,048 vectors are 10 MB, 21 MB in float64.
_ROWS_AT_ONCE: Final = 2048
# What the loss of a task costs. A file is at most about this large.
_BYTES_PER_TASK: Final = 128 * 1024 * 1024
_TASKS_PER_SLOT: Final = 2
_LISTINGS_AT_ONCE: Final = 16


@dataclass(frozen=True)
class FeaturesFile:
    """One file of one partition of `features/`, in a worker."""

    ingest_date: str
    category: str
    name: str
    content: Bytes

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Its rows, some at a time."""
        yield from pq.ParquetFile(pa.BufferReader(pa.py_buffer(self.content))).iter_batches(_ROWS_AT_ONCE, columns=list(columns))


def list_features_files(bucket: str, prefixes: Iterable[str]) -> list[ListedObject]:
    """The Parquet files of `features/` below `prefixes` (of dates or partitions), sorted by key below each."""
    # Loads the store's library here: threads that import it at the same moment may find it half loaded.
    object_store.image_store(bucket)
    # A listing mostly waits, and there may be hundreds of partitions.
    with ThreadPoolExecutor(_LISTINGS_AT_ONCE) as pool:
        listings = list(pool.map(partial(object_store.list_plain_objects, bucket), prefixes))
    return [entry for listing in listings for entry in listing if entry.key.endswith(".parquet") and lake.parse_features_file(entry.key)]


def map_files(
    spark: SparkSession, bucket: str, files: Sequence[ListedObject], compute: Callable[[Iterator[FeaturesFile]], Iterator[Result]]
) -> RDD[Result]:
    """What `compute` makes of the files; each of its calls gets some that are neighbours in the list, one at a time.

    A file that is gone by then fails the job with ObjectNotFoundError.
    """
    most = max(_TASKS_PER_SLOT * task_slots(spark), sum(entry.size_bytes for entry in files) // _BYTES_PER_TASK)
    tasks = plan_chunks([entry.size_bytes for entry in files], most)
    keys = [[files[index].key for index in task] for task in tasks]

    def work(tasks: Iterable[list[str]]) -> Iterator[Result]:
        forget_zip_importers()
        return compute(_read(bucket, key) for task in tasks for key in task)

    return spark.sparkContext.parallelize(keys, len(keys)).mapPartitions(work)


def file_place(key: str) -> tuple[str, str, str]:
    """Ingest date, category and name of a file of `features/`. Raises ValueError if it is none."""
    place = lake.parse_features_file(key)
    if place is None:
        raise ValueError(f"'{key}' is no file of {lake.FEATURES}/.")
    return place


def _read(bucket: str, key: str) -> FeaturesFile:
    content = object_store.read_plain_buffer(bucket, key)
    if content is None:
        raise object_store.ObjectNotFoundError(f"{lake.uri(bucket, key)} does not exist.")
    return FeaturesFile(*file_place(key), content)
