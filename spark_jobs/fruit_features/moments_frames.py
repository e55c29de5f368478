"""Moments inside Spark: parts of them merged and written where they are; the driver sees counts, never a vector."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from fruit_contract import lake, tables
from fruit_features import hadoop_files
from fruit_features.features_files import list_features_files, map_files
from fruit_features.lake import store as object_store
from fruit_features.lake_tables import few_rows_at_once
from fruit_features.moments.algebra import pack_upper_triangle
from fruit_features.moments.parts import PART_SCHEMA, PARTS_AT_ONCE, PartsOfDates, merge_parts, read_parts
from fruit_features.spark.worker_imports import forget_zip_importers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from fruit_features.features_files import FeaturesFile
    from fruit_features.moments.parts import Part, PartRow

_WRITTEN_SCHEMA: Final = "ingest_date string, embedder_id string, n_samples bigint, content_digest bigint"
_FILE: Final = "moments.parquet"


@dataclass(frozen=True)
class WrittenMoments:
    """What the moments of one date and embedder, as they lie in the lake now, are about."""

    ingest_date: str
    embedder_id: str
    n_samples: int
    content_digest: int


def write_moments(spark: SparkSession, bucket: str, ingest_dates: Sequence[str]) -> list[WrittenMoments]:
    """Replaces the moments of `ingest_dates`, from one pass over their features. Dates without features get none."""
    parts = parts_of_files(spark, bucket, [lake.date_prefix(lake.FEATURES, day) for day in ingest_dates])
    if parts is None:
        return []
    with few_rows_at_once(spark, PARTS_AT_ONCE):
        return write_parts(spark, bucket, ingest_dates, parts)


def parts_of_files(spark: SparkSession, bucket: str, prefixes: Iterable[str]) -> DataFrame | None:
    """Parts of the moments of the features below `prefixes` (of dates or partitions); None if there are none. Files are listed now."""
    files = list_features_files(bucket, prefixes)
    if not files:
        return None
    return spark.createDataFrame(map_files(spark, bucket, files, _accumulate), PART_SCHEMA, verifySchema=False)


def write_parts(spark: SparkSession, bucket: str, ingest_dates: Sequence[str], parts: DataFrame) -> list[WrittenMoments]:
    """Replaces the moments of `ingest_dates` by those of `parts`, which have all rows of these dates. To be called with few rows at once.

    A date's file is written by the worker that merged it. It has a name of its own, so that it is replaced in one go; other files of the
    date (of another code release) are removed before.
    """
    for day in ingest_dates:
        address = lake.uri(bucket, lake.date_prefix(lake.MOMENTS, day))
        for name in hadoop_files.list_files(spark, address):
            if name != _FILE:
                hadoop_files.remove(spark, f"{address}{name}")

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        forget_zip_importers()
        return _write_dates(bucket, merge_parts(read_parts(batches)))

    # A row is 6.6 MB: about one date a task, and of those of one task only a few are held at a time.
    together = parts.repartition(len(ingest_dates), tables.INGEST_DATE).sortWithinPartitions(tables.INGEST_DATE, tables.EMBEDDER_ID)
    return [WrittenMoments(*row) for row in together.mapInArrow(write, _WRITTEN_SCHEMA).collect()]


def _accumulate(files: Iterator[FeaturesFile]) -> Iterator[PartRow]:
    parts = PartsOfDates()
    for file in files:
        for rows in file.batches((tables.IMAGE_KEY, tables.CONTENT_SHA256, tables.EMBEDDER_ID, tables.VECTOR)):
            yield from parts.add(file.ingest_date, file.category, rows)
        # Not kept while the next one is fetched.
        del file
    yield from parts.finish()


def _write_dates(bucket: str, merged: Iterable[tuple[tuple[str, str], Part]]) -> Iterator[pa.RecordBatch]:
    """One file a date, with a row an embedder."""
    for ingest_date, members in groupby(merged, key=lambda member: member[0][0]):
        embedders, parts = zip(*((embedder_id, part) for (_, embedder_id), part in members), strict=True)
        columns = {
            tables.EMBEDDER_ID: pa.array(embedders),
            tables.N_SAMPLES: pa.array([part.moments.n_samples for part in parts], pa.int64()),
            tables.MEAN: pa.array([part.moments.mean for part in parts], pa.list_(pa.float64())),
            tables.SCATTER: pa.array([pack_upper_triangle(part.moments.scatter) for part in parts], pa.list_(pa.float64())),
            tables.CONTENT_DIGEST: pa.array([part.digest for part in parts], pa.int64()),
        }
        stream = io.BytesIO()
        # Without dictionary or compression: no two of these numbers are alike.
        pq.write_table(pa.table({name: columns[name] for name in tables.MOMENTS_COLUMNS}), stream, compression="none", use_dictionary=False)
        object_store.write_plain_object(bucket, f"{lake.date_prefix(lake.MOMENTS, ingest_date)}{_FILE}", stream.getvalue())
        summary = (tables.EMBEDDER_ID, tables.N_SAMPLES, tables.CONTENT_DIGEST)
        days = pa.array([ingest_date] * len(parts))
        yield pa.RecordBatch.from_arrays([days, *(columns[name] for name in summary)], names=[tables.INGEST_DATE, *summary])
