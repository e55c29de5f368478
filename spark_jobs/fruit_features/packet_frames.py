"""Packets inside Spark: computed from images, read as rows, made of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
from pyspark.sql.types import BinaryType, StringType, StructField, StructType

from fruit_contract import tables
from fruit_features.embedding.artefact import load_embedder
from fruit_features.embedding.featurise import NOTHING_KNOWN, featurise
from fruit_features.embedding.fetching import fetch_images
from fruit_features.lake_tables import no_rows, schema_of
from fruit_features.packets import FEATURES_SCHEMA, ROW_SCHEMA, Packet, outcomes_of, pack_features, pack_results, read_stream
from fruit_features.spark.session import task_slots
from fruit_features.spark.task_planning import plan_tasks
from fruit_features.spark.worker_imports import forget_zip_importers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from fruit_contract.increments import ListedImage
    from fruit_features.embedding.artefact import EmbedderArtefact
    from fruit_features.extraction.progress import ImageCounters
    from fruit_features.packets import Outcome

# Key, listed ETag, size in bytes, and the SHA-256 of a content that is known, for each image.
TaskImage = tuple[str, str, int, str | None]

_STREAMS: Final = ("rows", "features")
_PACKET_SCHEMA: Final = StructType([StructField(name, BinaryType() if name in _STREAMS else StringType()) for name in Packet._fields])
# Spark may hand rows over a few at a time. Bounds a worker: 1,024 vectors are 5 MB.
_ROWS_PACKED_AT_ONCE: Final = 1024
PLACED_FEATURES: Final = (*FEATURES_SCHEMA.names, tables.INGEST_DATE, tables.CATEGORY)


def compute_images(
    spark: SparkSession,
    embedder: EmbedderArtefact,
    images: Sequence[ListedImage],
    known_sha256: Mapping[str, str] = NOTHING_KNOWN,
    counters: ImageCounters | None = None,
) -> DataFrame:
    """Packets of one result for every image, computed where the task runs; `known_sha256` by key spares what proves to be that."""
    tasks = task_images(images, known_sha256, task_slots(spark))
    if not tasks:
        return no_rows(spark, _PACKET_SCHEMA)

    def compute(tasks: Iterable[list[TaskImage]]) -> Iterator[Packet]:
        forget_zip_importers()
        for task in tasks:
            keys = [image[:3] for image in task]
            known = {image_key: sha256 for image_key, _, _, sha256 in task if sha256}
            for results in featurise(fetch_images(embedder.bucket, keys), load_embedder(embedder), embedder.embedder_id, known):
                if counters is not None:
                    counters.count(results)
                yield pack_results(results)

    # As many slices as tasks: each gets exactly one. (Repartitioning would leave some two and others none.)
    packets = spark.sparkContext.parallelize(tasks, len(tasks)).mapPartitions(compute)
    return spark.createDataFrame(packets, _PACKET_SCHEMA, verifySchema=False)


def task_images(images: Sequence[ListedImage], known_sha256: Mapping[str, str], n_slots: int) -> list[list[TaskImage]]:
    """For each task, the images it computes, as the driver sends them."""
    entries = [(image.key, image.etag, image.size_bytes, known_sha256.get(image.key)) for image in images]
    return [[entries[index] for index in task] for task in plan_tasks([image.size_bytes for image in images], n_slots)]


def count_outcomes(packets: DataFrame) -> list[Outcome]:
    """What the packets say of their images, a packet after the other."""
    said = packets.select(tables.INGEST_DATE, tables.CATEGORY, "outcomes").collect()
    return [outcome for row in said for outcome in outcomes_of(*row)]


def rows_of(packets: DataFrame) -> DataFrame:
    """A row of ROW_SCHEMA for every image."""

    def unpack(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        forget_zip_importers()
        for batch in batches:
            for stream in batch.column(0):
                yield from read_stream(stream.as_py()).to_batches()

    # There are more tasks in computing than in reading what came of it.
    streams = packets.select("rows").coalesce(task_slots(packets.sparkSession))
    return streams.mapInArrow(unpack, schema_of(ROW_SCHEMA.names))


def packed(features: DataFrame) -> DataFrame:
    """Rows of `features/` as packets that have no results."""

    def pack(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        forget_zip_importers()
        for rows in _joined(batches, _ROWS_PACKED_AT_ONCE):
            for packet in pack_features(rows):
                yield pa.RecordBatch.from_pylist([packet._asdict()])

    return features.select(*PLACED_FEATURES).mapInArrow(pack, _PACKET_SCHEMA)


def _joined(batches: Iterable[pa.RecordBatch], n_rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of at least `n_rows`, but for the last."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(some.num_rows for some in waiting) >= n_rows:
            yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()
            waiting = []
    if waiting:
        yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()
