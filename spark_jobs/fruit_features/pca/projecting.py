"""Projects the dates whose features a PCA version has not projected as they are now, while other runs may be writing other dates.

No lock is held: a date counts as projected only if its moments were in the same state before and after, and no run was writing it.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from fruit_contract import lake, tables
from fruit_features import hadoop_files
from fruit_features.features_files import file_place, list_features_files, map_files
from fruit_features.lake import store as object_store
from fruit_features.lake.vectors import split_by_embedder, to_list_array, to_matrix
from fruit_features.moments_states import read_states_of
from fruit_features.pca.fit import project

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from pyspark.sql import SparkSession

    from fruit_features.features_files import FeaturesFile
    from fruit_features.pca.fit import PcaModel
    from fruit_features.pca.versions import Provenance

# Of one Spark job: what was projected before a failure need not be projected again.
_DATES_AT_ONCE: Final = 64
_PROJECTIONS_SCHEMA: Final = pa.schema([(tables.IMAGE_KEY, pa.string()), (tables.COMPONENTS, pa.list_(pa.float32()))])
_TRIES: Final = 3
_POLL_SECONDS: Final = 5.0


@dataclass
class Projected:
    """`ingest_dates` were projected; `unsettled` ones were being written, or half written by an interrupted run, and are due again."""

    ingest_dates: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)


def project_dates(
    spark: SparkSession, bucket: str, model: PcaModel, version: Provenance, states: Mapping[str, str], *, writer_grace_seconds: float
) -> Projected:
    """Projects what is stale, removes what has vanished. Waits up to `writer_grace_seconds` for a run that is writing a stale date."""
    record_key = lake.projected_record_key(version.version)
    record: dict[str, str] = object_store.read_json_if_there(bucket, record_key) or {}
    stale = sorted(day for day, state in states.items() if record.get(day) != state)
    vanished = _projected_dates(bucket, version.version) - states.keys()
    for day in sorted(vanished):
        hadoop_files.remove(spark, _date_uri(bucket, version.version, day))
    if vanished or record.keys() - states.keys():
        record = {day: state for day, state in record.items() if day in states}
        object_store.write_json(bucket, record_key, record)
    projected = Projected()
    for start in range(0, len(stale), _DATES_AT_ONCE):
        chunk = stale[start : start + _DATES_AT_ONCE]
        settled = _project_chunk(spark, bucket, model, version, chunk, writer_grace_seconds)
        projected.ingest_dates += chunk
        projected.unsettled += [day for day in chunk if settled.get(day) != states[day]]
        record |= settled
        object_store.write_json(bucket, record_key, record)
    return projected


def project_files(spark: SparkSession, bucket: str, model: PcaModel, version: Provenance, days: Sequence[str]) -> None:
    """Projects each file of the days' features to a file of the same name, written by the worker that read it.

    A name stands for one content (each write has names of its own), so what is done twice is the same. Projections whose features are gone
    are removed before: a row is never there twice.
    """
    files = list_features_files(bucket, [lake.date_prefix(lake.FEATURES, day) for day in days])
    _remove_stale(bucket, version.version, days, {file_place(entry.key) for entry in files})
    if not files:
        return

    def compute(some: Iterator[FeaturesFile]) -> Iterator[str]:
        for file in some:
            content = _projected_file(file, model, version.embedder_id)
            if content is not None:
                prefix = lake.projections_partition_prefix(version.version, file.ingest_date, file.category)
                object_store.write_plain_object(bucket, f"{prefix}{file.name}", content)
            yield file.name
            # Not kept while the next one is fetched.
            del file, content

    map_files(spark, bucket, files, compute).count()


def _projected_file(file: FeaturesFile, model: PcaModel, embedder_id: str) -> bytes | None:
    """A file of `projections/`, or None if the file has no features of this embedder."""
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, _PROJECTIONS_SCHEMA, compression="snappy", use_dictionary=False) as writer:
        for batch in file.batches((tables.IMAGE_KEY, tables.EMBEDDER_ID, tables.VECTOR)):
            for its_embedder, rows in split_by_embedder(batch):
                if its_embedder == embedder_id:
                    components = project(model, to_matrix(rows.column(tables.VECTOR), tables.N_FEATURES))
                    keys = rows.column(tables.IMAGE_KEY)
                    writer.write_batch(pa.record_batch([keys, to_list_array(list(components))], schema=_PROJECTIONS_SCHEMA))
    return stream.getvalue() if pq.read_metadata(io.BytesIO(stream.getvalue())).num_rows else None


def _remove_stale(bucket: str, version: str, days: Sequence[str], expected: Collection[tuple[str, str, str]]) -> None:
    kept = {f"{lake.projections_partition_prefix(version, day, category)}{name}" for day, category, name in expected}
    for day in days:
        for entry in object_store.list_objects(bucket, f"{lake.projections_prefix(version)}{tables.INGEST_DATE}={day}/"):
            if entry.key not in kept:
                object_store.delete_object(bucket, entry.key)


def _project_chunk(
    spark: SparkSession, bucket: str, model: PcaModel, version: Provenance, days: Sequence[str], grace_seconds: float
) -> dict[str, str]:
    """Projects `days`; returns the states of those that nobody wrote meanwhile."""
    for attempt in range(1, _TRIES + 1):
        _wait_for_writers(bucket, days, grace_seconds)
        before = read_states_of(bucket, version.embedder_id, days)
        written_before = _being_written(bucket).keys()
        try:
            project_files(spark, bucket, model, version, days)
            break
        except (Py4JJavaError, PySparkException) as error:
            # A partition that is replaced while it is read takes its files away.
            if attempt == _TRIES or not _files_went_away(error):
                raise
            print(f"A run replaced features while they were projected: trying again ({attempt} of {_TRIES}).", flush=True)
    after = read_states_of(bucket, version.embedder_id, days)
    written = written_before | _being_written(bucket).keys()
    return {day: after[day] for day in days if day in after and before.get(day) == after[day] and day not in written}


def _wait_for_writers(bucket: str, days: Sequence[str], grace_seconds: float) -> None:
    """A run writes a date for seconds to minutes. A marker older than the grace was left by a run that was interrupted."""
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline:
        now = datetime.now(UTC)
        writing = [
            day for day, started_at in _being_written(bucket).items() if day in days and (now - started_at).total_seconds() < grace_seconds
        ]
        if not writing:
            return
        print(f"Waiting for the runs that are writing {', '.join(sorted(writing))}.", flush=True)
        time.sleep(_POLL_SECONDS)


def _being_written(bucket: str) -> dict[str, datetime]:
    """Since when each date is being written, or was when its run was interrupted."""
    found = {}
    for entry in object_store.list_objects(bucket, lake.in_progress_prefix()):
        marker = object_store.read_json_if_there(bucket, entry.key)
        if marker is not None:
            day = entry.key.rpartition("/")[2].removesuffix(".json")
            found[day] = datetime.fromisoformat(marker["started_at"])
    return found


def _files_went_away(error: Exception) -> bool:
    text = str(error)
    return any(word in text for word in ("FileNotFoundException", "does not exist", "PATH_NOT_FOUND", "NoSuchFile"))


def _projected_dates(bucket: str, version: str) -> set[str]:
    folders = object_store.list_plain_folders(bucket, lake.projections_prefix(version))
    return {name.partition("=")[2] for name in folders if name.startswith(f"{tables.INGEST_DATE}=")}


def _date_uri(bucket: str, version: str, ingest_date: str) -> str:
    return lake.uri(bucket, f"{lake.projections_prefix(version)}{tables.INGEST_DATE}={ingest_date}/")
