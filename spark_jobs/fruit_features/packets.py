"""A packet: what became of some images of one ingest date and category, as bytes that Spark carries and looks into nowhere.

Spark hands a vector over number by number wherever it sees one, which costs more than writing it; bytes cost one copy.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import tables

if TYPE_CHECKING:
    from collections.abc import Iterator

# Rows of one packet: bounds what a worker holds at once, 128 x 5 KB of features.
ROWS_PER_PACKET: Final = 128

# What a task finds for every image it was given, whatever became of it.
RESULT_SCHEMA: Final = pa.schema(
    [
        pa.field(tables.IMAGE_KEY, pa.string(), nullable=False),
        pa.field(tables.INGEST_DATE, pa.string(), nullable=False),
        pa.field(tables.CATEGORY, pa.string(), nullable=False),
        pa.field(tables.ETAG, pa.string(), nullable=False),
        pa.field(tables.SIZE_BYTES, pa.int64(), nullable=False),
        pa.field(tables.CONTENT_SHA256, pa.string()),
        pa.field(tables.WIDTH, pa.int32()),
        pa.field(tables.HEIGHT, pa.int32()),
        pa.field(tables.EMBEDDER_ID, pa.string(), nullable=False),
        pa.field(tables.STATUS, pa.string(), nullable=False),
        pa.field(tables.REASON, pa.string()),
        pa.field(tables.DETAIL, pa.string()),
        pa.field(tables.REUSED, pa.bool_(), nullable=False),
        pa.field(tables.VECTOR, pa.list_(pa.float32())),
    ]
)
# The same without features: what the ledger and the rejects are made of.
ROW_SCHEMA: Final = pa.schema([field for field in RESULT_SCHEMA if field.name != tables.VECTOR])
# The columns of a file of `features/`.
FEATURES_SCHEMA: Final = pa.schema([RESULT_SCHEMA.field(name).with_nullable(True) for name in tables.FEATURES_COLUMNS])


class Outcome(NamedTuple):
    """How many images of a date and category ended with one status and reason, computed or reused."""

    ingest_date: str
    category: str
    status: str
    reason: str | None
    reused: bool
    n_images: int


class Packet(NamedTuple):
    """A row for Spark; its columns are named as those of the tables, where these have them.

    `rows` and `features` are Arrow streams of ROW_SCHEMA and FEATURES_SCHEMA; the latter has only images with features of their own.
    """

    ingest_date: str
    category: str
    first_image_key: str
    outcomes: str
    rows: bytes
    features: bytes


def pack_results(results: pa.RecordBatch) -> Packet:
    """At least one row of RESULT_SCHEMA, all of one date and category."""
    with_features = results if results.column(tables.VECTOR).null_count == 0 else results.filter(results.column(tables.VECTOR).is_valid())
    outcomes = Counter(zip(*(results.column(name).to_pylist() for name in (tables.STATUS, tables.REASON, tables.REUSED)), strict=True))
    rows = results.select(ROW_SCHEMA.names).cast(ROW_SCHEMA)
    return _pack(results, json.dumps([[*outcome, count] for outcome, count in outcomes.items()]), _to_stream(rows), with_features)


def pack_features(rows: pa.RecordBatch) -> Iterator[Packet]:
    """Rows of FEATURES_SCHEMA with their date and category, in any order, as packets without results.

    Raises ValueError if one has no features.
    """
    if rows.column(tables.VECTOR).null_count:
        missing = rows.filter(rows.column(tables.VECTOR).is_null()).column(tables.IMAGE_KEY)[0]
        raise ValueError(f"The features for {missing} were there when they were looked for, and are gone. Run the date again.")
    place = (tables.INGEST_DATE, tables.CATEGORY)
    ordered = rows.sort_by([(name, "ascending") for name in (*place, tables.IMAGE_KEY)])
    places = list(zip(*(ordered.column(name).to_pylist() for name in place), strict=True))
    start = 0
    for end in range(1, len(places) + 1):
        if end == len(places) or places[end] != places[start] or end - start == ROWS_PER_PACKET:
            some = ordered.slice(start, end - start)
            yield _pack(some, "[]", b"", some)
            start = end


def outcomes_of(ingest_date: str, category: str, outcomes: str) -> list[Outcome]:
    """What a packet says of its images."""
    return [Outcome(ingest_date, category, *outcome) for outcome in json.loads(outcomes)]


def read_stream(content: bytes) -> pa.Table:
    """The rows of one of a packet's streams."""
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()


def _pack(rows: pa.RecordBatch, outcomes: str, stream: bytes, with_features: pa.RecordBatch) -> Packet:
    ingest_date, category = (rows.column(name)[0].as_py() for name in (tables.INGEST_DATE, tables.CATEGORY))
    features = _to_stream(with_features.select(FEATURES_SCHEMA.names).cast(FEATURES_SCHEMA)) if with_features.num_rows else b""
    return Packet(ingest_date, category, pc.min(rows.column(tables.IMAGE_KEY)).as_py(), outcomes, stream, features)


def _to_stream(rows: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content
