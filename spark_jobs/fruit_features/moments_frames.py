"""Moments inside Spark: one pass over features, merged where the data is; the driver sees matrices, never images."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import tables
from fruit_features.arrow_vectors import to_matrix
from fruit_features.lake_tables import schema_of
from fruit_features.moments import Moments, merge, moments_of, pack_upper_triangle, unpack_upper_triangle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from pyspark.sql import DataFrame

_GROUP = (tables.INGEST_DATE, tables.EMBEDDER_ID)
_COLUMNS = (tables.INGEST_DATE, tables.EMBEDDER_ID, tables.N_SAMPLES, tables.CONTENT_DIGEST, tables.MEAN, tables.SCATTER)
_ARROW_SCHEMA = pa.schema(
    [
        pa.field(tables.INGEST_DATE, pa.string()),
        pa.field(tables.EMBEDDER_ID, pa.string()),
        pa.field(tables.N_SAMPLES, pa.int64()),
        pa.field(tables.CONTENT_DIGEST, pa.int64()),
        pa.field(tables.MEAN, pa.list_(pa.float64())),
        pa.field(tables.SCATTER, pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True)
class _Part:
    """Moments of some rows, and the exclusive or of their digests: it changes when an image comes, goes, moves or changes."""

    moments: Moments
    digest: int

    def joined(self, other: _Part) -> _Part:
        return _Part(merge(self.moments, other.moments), self.digest ^ other.digest)


def moments_by_date(features: DataFrame, n_dates: int) -> DataFrame:
    """One row of moments an ingest date and embedder, from one pass over rows of `features/` of `n_dates` dates."""
    schema = schema_of(_COLUMNS)
    digest = F.xxhash64(tables.IMAGE_KEY, tables.CONTENT_SHA256, tables.CATEGORY)
    partial = features.select(tables.INGEST_DATE, tables.EMBEDDER_ID, digest, tables.VECTOR).mapInArrow(_accumulate, schema)
    # A row is 6.6 MB: about one date a task, and of those of one task only one is held at a time.
    together = partial.repartition(n_dates, tables.INGEST_DATE).sortWithinPartitions(*_GROUP)
    return together.mapInArrow(_merge_rows, schema)


def doubles_of(column: pa.ListArray, index: int) -> NDArray[np.float64]:
    """One list of a list<double> column as float64[n], over Arrow's own buffer."""
    values = column[index].values
    return np.frombuffer(values.buffers()[1], dtype=np.float64, count=len(values), offset=values.offset * 8)


def _accumulate(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    totals: dict[tuple[str, str], _Part] = {}
    for batch in batches:
        if batch.num_rows == 0:
            continue
        vectors = to_matrix(batch.column(3), tables.N_FEATURES)
        digests = batch.column(2).to_numpy()
        for group, rows in _rows_by_group(batch).items():
            part = _Part(moments_of(vectors[rows]), int(np.bitwise_xor.reduce(digests[rows])))
            totals[group] = totals[group].joined(part) if group in totals else part
    for group, total in totals.items():
        yield _to_batch(group, total)


def _rows_by_group(batch: pa.RecordBatch) -> dict[tuple[str, str], NDArray[np.intp]]:
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, group in enumerate(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)):
        rows[group].append(index)
    return {group: np.array(indices) for group, indices in rows.items()}


def _merge_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """`batches` are sorted by date and embedder. One part after another: a date has as many as tasks that read it, at most hundreds."""
    for group, rows in groupby(_read(batches), key=lambda row: row[0]):
        yield _to_batch(group, reduce(_Part.joined, (part for _, part in rows)))


def _read(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[tuple[str, str], _Part]]:
    for batch in batches:
        for index in range(batch.num_rows):
            ingest_date, embedder_id, n_samples, digest = (batch.column(column)[index].as_py() for column in range(4))
            mean, scatter = (doubles_of(batch.column(column), index) for column in (4, 5))
            yield (ingest_date, embedder_id), _Part(Moments(n_samples, mean, unpack_upper_triangle(scatter, tables.N_FEATURES)), digest)


def _to_batch(group: tuple[str, str], part: _Part) -> pa.RecordBatch:
    arrays = [
        pa.array([group[0]]),
        pa.array([group[1]]),
        pa.array([part.moments.n_samples], pa.int64()),
        pa.array([part.digest], pa.int64()),
        _one_list(part.moments.mean),
        _one_list(pack_upper_triangle(part.moments.scatter)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_ARROW_SCHEMA)


def _one_list(values: NDArray[np.float64]) -> pa.ListArray:
    flat = np.ascontiguousarray(values, dtype=np.float64)
    doubles = pa.Array.from_buffers(pa.float64(), len(flat), [None, pa.py_buffer(flat)])
    offsets = np.array([0, len(flat)], dtype=np.int32)
    return pa.Array.from_buffers(pa.list_(pa.float64()), 1, [None, pa.py_buffer(offsets)], children=[doubles])
