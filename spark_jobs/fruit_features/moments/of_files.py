"""Adds up the moments of features in the lake, for a date that images have left or whose moments are gone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING, Final

from fruit_contract import lake, tables
from fruit_contract.commit import file_key
from fruit_contract.listing import ListedObject
from fruit_features.lake import files
from fruit_features.lake.transfer import read_ahead
from fruit_features.lake.vectors import rows_of_embedder
from fruit_features.moments.algebra import Moments, RunningMoments
from fruit_features.moments.parts import ImageMoments, PartPlace, add_part, part_bytes, part_to_bytes
from fruit_features.spark.dealing import run_tasks
from fruit_features.spark.task_planning import plan_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyspark.sql import SparkSession

    from fruit_features.lake.store import Store

_ROWS_A_TASK: Final = 24_576
_COLUMNS: Final = (tables.IMAGE_KEY, tables.CONTENT_SHA256, tables.EMBEDDER_ID, tables.VECTOR)


@dataclass(frozen=True)
class _FilesTask:
    """Adds up some files of one date and embedder, and writes the sum under a key of its own."""

    store: Store
    ingest_date: str
    embedder_id: str
    part_key: str
    files: tuple[ListedObject, ...]

    def run(self) -> PartPlace:
        found = _add_files(self.store, self.files, self.embedder_id)
        self.store.write(self.part_key, part_to_bytes(found.running))
        return PartPlace(self.ingest_date, self.part_key, found.running.n_samples, found.digest)


def moments_of_files(
    session: Callable[[], SparkSession],
    store: Store,
    ingest_date: str,
    write: str,
    embedder_id: str,
    file_rows: Mapping[str, int],
) -> tuple[Moments, int]:
    """Returns the moments of a date's features of one embedder, and the digest of their images.

    `file_rows` has the files' numbers of rows by their names below the date's prefix. Few rows are read by the driver,
    and many by Spark's workers, who name their parts by `write`. A file that is gone raises ObjectNotFoundError, or the
    error of the Spark job.
    """
    entries = [
        ListedObject(file_key(ingest_date, name), "", n_rows * files.BYTES_A_ROW)
        for name, n_rows in sorted(file_rows.items())
    ]
    n_rows = sum(file_rows.values())
    if n_rows <= files.ROWS_READ_BY_DRIVER:
        found = _add_files(store, entries, embedder_id)
        return found.running.total(), found.digest
    chunks = plan_chunks([entry.size_bytes for entry in entries], -(-n_rows // _ROWS_A_TASK))
    prefix = f"{lake.moments_parts_prefix(ingest_date)}{write}-{embedder_id}"
    tasks = [
        _FilesTask(
            store,
            ingest_date,
            embedder_id,
            f"{prefix}-files-{number:05d}.bin",
            tuple(entries[index] for index in chunk),
        )
        for number, chunk in enumerate(chunks)
    ]
    places = run_tasks(session(), tasks, _FilesTask.run)
    running = RunningMoments(tables.N_FEATURES)
    merge_parts(store, running, places)
    store.delete([place.key for place in places])
    return running.total(), reduce(xor, (place.images_digest for place in places))


def _add_files(store: Store, entries: Sequence[ListedObject], embedder_id: str) -> ImageMoments:
    """Adds up the rows of one embedder in some files."""
    found = ImageMoments()
    for key, content in read_ahead(store, entries):
        for batch in files.read_batches(store.uri(key), content, _COLUMNS):
            own = rows_of_embedder(batch, embedder_id)
            if own.num_rows:
                found.add(own)
    return found


def merge_parts(store: Store, running: RunningMoments, places: Sequence[PartPlace]) -> None:
    """Adds parts to the moments of their date. Raises ObjectNotFoundError if one is gone."""
    entries = [ListedObject(place.key, "", part_bytes(place.n_samples)) for place in places]
    for _, content in read_ahead(store, entries):
        add_part(running, memoryview(content))
