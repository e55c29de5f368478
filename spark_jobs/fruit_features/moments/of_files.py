"""The moments of features that lie in the lake: for a date that images have left, or whose moments are gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from fruit_contract import lake, tables
from fruit_contract.commit import file_key, images_digest
from fruit_contract.listing import ListedObject
from fruit_features.lake import files
from fruit_features.lake.transfer import read_ahead
from fruit_features.lake.vectors import to_matrix
from fruit_features.moments.algebra import Moments, RunningMoments
from fruit_features.moments.parts import PartPlace, add_part, part_bytes, part_to_bytes
from fruit_features.spark.dealing import run_tasks
from fruit_features.spark.task_planning import plan_chunks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import SparkSession

    from fruit_features.lake.store import Store

# So few are read where they are needed, sooner than a job would begin.
_ROWS_READ_BY_DRIVER: Final = 2_048
_BYTES_A_ROW: Final = 5_200
_ROWS_A_TASK: Final = 24_576
_COLUMNS: Final = (tables.IMAGE_KEY, tables.CONTENT_SHA256, tables.EMBEDDER_ID, tables.VECTOR)


@dataclass(frozen=True)
class _FilesTask:
    """Adds up some files of one date and embedder, and leaves the part under a key of its own."""

    store: Store
    ingest_date: str
    embedder_id: str
    part_key: str
    files: tuple[ListedObject, ...]

    def run(self) -> PartPlace:
        running, digest = add_files(self.store, self.files, self.embedder_id)
        self.store.write(self.part_key, part_to_bytes(running))
        return PartPlace(self.ingest_date, self.part_key, running.n_samples, digest)


def moments_of_files(
    spark: SparkSession, store: Store, ingest_date: str, write: str, embedder_id: str, file_rows: Mapping[str, int]
) -> tuple[Moments, int]:
    """The moments of a date's features of one embedder and the digest of their images, from one pass over the files.

    `file_rows` has the files' numbers of rows by their names below the date's prefix. Few rows are read here, many by Spark's workers,
    whose parts are named by `write`. A file that is gone fails it.
    """
    entries = [ListedObject(file_key(ingest_date, name), "", n_rows * _BYTES_A_ROW) for name, n_rows in sorted(file_rows.items())]
    n_rows = sum(file_rows.values())
    if n_rows <= _ROWS_READ_BY_DRIVER:
        running, digest = add_files(store, entries, embedder_id)
        return running.total(), digest
    chunks = plan_chunks([entry.size_bytes for entry in entries], -(-n_rows // _ROWS_A_TASK))
    prefix = f"{lake.moments_parts_prefix(ingest_date)}{write}-{embedder_id}"
    tasks = [
        _FilesTask(store, ingest_date, embedder_id, f"{prefix}-files-{number:05d}.bin", tuple(entries[index] for index in chunk))
        for number, chunk in enumerate(chunks)
    ]
    places = run_tasks(spark, tasks, _FilesTask.run)
    running = RunningMoments(tables.N_FEATURES)
    merge_parts(store, running, places)
    digest = 0
    for place in places:
        digest ^= place.images_digest
    store.delete([place.key for place in places])
    return running.total(), digest


def add_files(store: Store, entries: Sequence[ListedObject], embedder_id: str) -> tuple[RunningMoments, int]:
    """The moments of the rows of one embedder in some files, and the digest of their images."""
    running, digest = RunningMoments(tables.N_FEATURES), 0
    for _, content in read_ahead(store, entries):
        for batch in files.read_batches(content, _COLUMNS):
            own = batch.filter(pc.equal(batch.column(tables.EMBEDDER_ID), embedder_id))
            if own.num_rows:
                running.add(to_matrix(own.column(tables.VECTOR), tables.N_FEATURES), own.column(tables.IMAGE_KEY).to_pylist)
                digest ^= images_digest(zip(*(own.column(name).to_pylist() for name in _COLUMNS[:2]), strict=True))
    return running, digest


def merge_parts(store: Store, running: RunningMoments, places: Sequence[PartPlace]) -> None:
    """Adds parts to the moments of their date; the next ones arrive meanwhile. Raises ObjectNotFoundError if one is gone."""
    entries = [ListedObject(place.key, "", part_bytes(place.n_samples)) for place in places]
    for _, content in read_ahead(store, entries):
        add_part(running, memoryview(content))
