"""Moments inside Spark: one pass over features, merged and written where the data is; the driver sees counts, never a vector."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fruit_contract import lake, tables
from fruit_features import hadoop_files, object_store
from fruit_features.arrow_vectors import to_matrix
from fruit_features.features_files import features_files, one_file_at_a_time, read_files
from fruit_features.moments import Moments, merge, moments_of, pack_upper_triangle, unpack_upper_triangle
from fruit_features.worker_imports import forget_zip_importers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyspark.sql import SparkSession

# A part of a date's moments on its way from one worker to another: numbers as bytes, which nobody on the way looks into.
_PART_SCHEMA: Final = "ingest_date string, embedder_id string, n_samples bigint, content_digest bigint, mean binary, scatter binary"
_WRITTEN_SCHEMA: Final = "ingest_date string, embedder_id string, n_samples bigint, content_digest bigint"
_GROUP: Final = (tables.INGEST_DATE, tables.EMBEDDER_ID)
_FILE: Final = "moments.parquet"


@dataclass(frozen=True)
class _Part:
    """Moments of some rows, and the exclusive or of their digests: it changes when an image comes, goes, moves or changes."""

    moments: Moments
    digest: int

    def joined(self, other: _Part) -> _Part:
        return _Part(merge(self.moments, other.moments), self.digest ^ other.digest)


@dataclass(frozen=True)
class WrittenMoments:
    """What the moments of one date and embedder, as they lie in the lake now, are about."""

    ingest_date: str
    embedder_id: str
    n_samples: int
    content_digest: int


def write_moments(spark: SparkSession, bucket: str, ingest_dates: Sequence[str]) -> list[WrittenMoments]:
    """Replaces the moments of `ingest_dates`, from one pass over their features. Dates without features get none.

    A date's file is written by the worker that merged it. It has a name of its own, so that it is replaced in one go; other files of the
    date (of another code release) are removed before.
    """
    files = features_files(spark, bucket, ingest_dates)
    if files is None:
        return []
    for day in ingest_dates:
        address = lake.uri(bucket, lake.date_prefix(lake.MOMENTS, day))
        for name in hadoop_files.list_files(spark, address):
            if name != _FILE:
                hadoop_files.remove(spark, f"{address}{name}")

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        forget_zip_importers()
        return _write_dates(bucket, _merged(_read_parts(batches)))

    with one_file_at_a_time(spark):
        parts = files.mapInArrow(_accumulate, _PART_SCHEMA)
        # A row is 6.6 MB: about one date a task, and of those of one task only one is held at a time.
        together = parts.repartition(len(ingest_dates), tables.INGEST_DATE).sortWithinPartitions(*_GROUP)
        return [WrittenMoments(*row) for row in together.mapInArrow(write, _WRITTEN_SCHEMA).collect()]


def _accumulate(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    totals: dict[tuple[str, str], _Part] = {}
    for file in read_files(batches):
        for embedder_id, rows in file.batches((tables.IMAGE_KEY, tables.CONTENT_SHA256, tables.VECTOR)):
            part = _Part(moments_of(to_matrix(rows.column(2), tables.N_FEATURES)), _digest(file.category, rows))
            group = file.ingest_date, embedder_id
            totals[group] = totals[group].joined(part) if group in totals else part
    for (ingest_date, embedder_id), total in totals.items():
        numbers = (total.moments.mean, pack_upper_triangle(total.moments.scatter))
        columns = [[ingest_date], [embedder_id], [total.moments.n_samples], [total.digest], *([array.tobytes()] for array in numbers)]
        types = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.binary(), pa.binary())
        arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, names=[*_GROUP, tables.N_SAMPLES, tables.CONTENT_DIGEST, tables.MEAN, tables.SCATTER])


def _digest(category: str, rows: pa.RecordBatch) -> int:
    """64 bits, signed, of each image's key, content and category; all of them by exclusive or."""
    digest = 0
    for image_key, content_sha256 in zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True):
        line = f"{image_key}\0{content_sha256}\0{category}".encode()
        digest ^= int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "little", signed=True)
    return digest


def _read_parts(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[tuple[str, str], _Part]]:
    for batch in batches:
        for index in range(batch.num_rows):
            ingest_date, embedder_id, n_samples, digest, mean, scatter = (batch.column(column)[index].as_py() for column in range(6))
            square = unpack_upper_triangle(np.frombuffer(scatter), tables.N_FEATURES)
            yield (ingest_date, embedder_id), _Part(Moments(n_samples, np.frombuffer(mean), square), digest)


def _merged(parts: Iterable[tuple[tuple[str, str], _Part]]) -> Iterator[tuple[tuple[str, str], _Part]]:
    """`parts` are sorted by date and embedder. One part after another: a date has as many as tasks that read it, at most hundreds."""
    for group, members in groupby(parts, key=lambda member: member[0]):
        yield group, reduce(_Part.joined, (part for _, part in members))


def _write_dates(bucket: str, merged: Iterable[tuple[tuple[str, str], _Part]]) -> Iterator[pa.RecordBatch]:
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
