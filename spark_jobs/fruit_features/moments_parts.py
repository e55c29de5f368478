"""Parts of the moments of a date on their way from one worker to another: numbers as bytes, which nobody on the way looks into."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from fruit_contract import tables
from fruit_features.arrow_vectors import split_by_embedder, to_matrix
from fruit_features.moments import Moments, RunningMoments, merge, pack_upper_triangle, unpack_upper_triangle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PART_SCHEMA: Final = "ingest_date string, embedder_id string, n_samples bigint, content_digest bigint, mean binary, scatter binary"
_PART_COLUMNS: Final = (tables.INGEST_DATE, tables.EMBEDDER_ID, tables.N_SAMPLES, tables.CONTENT_DIGEST, tables.MEAN, tables.SCATTER)


@dataclass(frozen=True)
class Part:
    """Moments of some rows, and the exclusive or of their digests: it changes when an image comes, goes, moves or changes."""

    moments: Moments
    digest: int

    def joined(self, other: Part) -> Part:
        return Part(merge(self.moments, other.moments), self.digest ^ other.digest)


@dataclass
class _Running:
    moments: RunningMoments = field(default_factory=lambda: RunningMoments(tables.N_FEATURES))
    digest: int = 0


class PartsOfDates:
    """The moments of features that come date by date; of one date at a time, that is what it holds."""

    def __init__(self) -> None:
        self._ingest_date = ""
        self._by_embedder: dict[str, _Running] = {}

    def add(self, ingest_date: str, category: str, rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """`rows` have the key, content, embedder and features of each image. Yields the parts of the date before, if it was another."""
        if ingest_date != self._ingest_date:
            yield from self.finish()
            self._ingest_date = ingest_date
        for embedder_id, its_own in split_by_embedder(rows):
            running = self._by_embedder.setdefault(embedder_id, _Running())
            running.moments.add(to_matrix(its_own.column(tables.VECTOR), tables.N_FEATURES))
            running.digest ^= _digest(category, its_own)

    def finish(self) -> Iterator[pa.RecordBatch]:
        """The parts of the last date, an embedder a row of PART_SCHEMA."""
        for embedder_id, running in self._by_embedder.items():
            yield _to_row(self._ingest_date, embedder_id, Part(running.moments.total(), running.digest))
        self._by_embedder = {}


def read_parts(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[tuple[str, str], Part]]:
    """The parts in rows of PART_SCHEMA, each with its date and embedder."""
    for batch in batches:
        for index in range(batch.num_rows):
            ingest_date, embedder_id, n_samples, digest, mean, scatter = (batch.column(column)[index].as_py() for column in range(6))
            square = unpack_upper_triangle(np.frombuffer(scatter), tables.N_FEATURES)
            yield (ingest_date, embedder_id), Part(Moments(n_samples, np.frombuffer(mean), square), digest)


def merge_parts(parts: Iterable[tuple[tuple[str, str], Part]]) -> Iterator[tuple[tuple[str, str], Part]]:
    """`parts` are sorted by date and embedder. One part after another: a date has as many as tasks that read it, at most hundreds."""
    for group, members in groupby(parts, key=lambda member: member[0]):
        yield group, reduce(Part.joined, (part for _, part in members))


def _to_row(ingest_date: str, embedder_id: str, part: Part) -> pa.RecordBatch:
    numbers = (part.moments.mean, pack_upper_triangle(part.moments.scatter))
    columns = [[ingest_date], [embedder_id], [part.moments.n_samples], [part.digest], *([array.tobytes()] for array in numbers)]
    types = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.binary(), pa.binary())
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=list(_PART_COLUMNS))


def _digest(category: str, rows: pa.RecordBatch) -> int:
    """64 bits, signed, of each image's key, content and category; all of them by exclusive or."""
    digest = 0
    keys, contents = (rows.column(name).to_pylist() for name in (tables.IMAGE_KEY, tables.CONTENT_SHA256))
    for image_key, content_sha256 in zip(keys, contents, strict=True):
        line = f"{image_key}\0{content_sha256}\0{category}".encode()
        digest ^= int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "little", signed=True)
    return digest
