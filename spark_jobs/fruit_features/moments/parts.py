"""Parts of the moments of a date on their way from one worker to another: numbers as bytes, which nobody on the way looks into."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from fruit_contract import tables
from fruit_features.lake.vectors import split_by_embedder, to_matrix
from fruit_features.moments.algebra import Moments, RunningMoments, merge, pack_upper_triangle, unpack_upper_triangle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

PART_SCHEMA: Final = "ingest_date string, embedder_id string, n_samples bigint, content_digest bigint, mean binary, scatter binary"
# A part is 6.6 MB: a worker must not get thousands of them in one batch.
PARTS_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Part:
    """Moments of some rows, and the exclusive or of their digests: it changes when an image comes, goes, moves or changes."""

    moments: Moments
    digest: int

    def joined(self, other: Part) -> Part:
        return Part(merge(self.moments, other.moments), self.digest ^ other.digest)


class PartRow(NamedTuple):
    """A row of PART_SCHEMA: float64[1280], and the upper triangle of float64[1280, 1280], as bytes."""

    ingest_date: str
    embedder_id: str
    n_samples: int
    content_digest: int
    mean: bytes
    scatter: bytes


@dataclass
class _Running:
    moments: RunningMoments = field(default_factory=lambda: RunningMoments(tables.N_FEATURES))
    digest: int = 0


class PartsOfDates:
    """The moments of features that come date by date; of one date at a time, that is what it holds."""

    def __init__(self) -> None:
        self._ingest_date = ""
        self._by_embedder: dict[str, _Running] = {}

    def add(self, ingest_date: str, category: str, rows: pa.RecordBatch) -> Iterator[PartRow]:
        """`rows` have the key, content, embedder and features of each image. Yields the parts of the date before, if it was another."""
        if ingest_date != self._ingest_date:
            yield from self.finish()
            self._ingest_date = ingest_date
        for embedder_id, its_own in split_by_embedder(rows):
            running = self._by_embedder.setdefault(embedder_id, _Running())
            running.moments.add(to_matrix(its_own.column(tables.VECTOR), tables.N_FEATURES))
            running.digest ^= _digest(category, its_own)

    def finish(self) -> Iterator[PartRow]:
        """The parts of the last date, one for each embedder."""
        for embedder_id, running in self._by_embedder.items():
            moments = running.moments.total()
            scatter = pack_upper_triangle(moments.scatter).tobytes()
            yield PartRow(self._ingest_date, embedder_id, moments.n_samples, running.digest, moments.mean.tobytes(), scatter)
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


def _digest(category: str, rows: pa.RecordBatch) -> int:
    """64 bits, signed, of each image's key, content and category; all of them by exclusive or."""
    digest = 0
    keys, contents = (rows.column(name).to_pylist() for name in (tables.IMAGE_KEY, tables.CONTENT_SHA256))
    for image_key, content_sha256 in zip(keys, contents, strict=True):
        line = f"{image_key}\0{content_sha256}\0{category}".encode()
        digest ^= int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "little", signed=True)
    return digest
