"""Projects the dates whose features a PCA version has not projected as they are now, while other runs may be writing other dates.

No lock is held: a date counts as projected only if its moments were in the same state before and after, and no run was writing it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import lake, tables
from fruit_features import hadoop_files, object_store
from fruit_features.arrow_vectors import to_list_array, to_matrix
from fruit_features.lake_tables import read_table, replace_partitions, schema_of
from fruit_features.moments_states import read_states_of
from fruit_features.pca import project

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from fruit_features.model_store import Provenance
    from fruit_features.pca import PcaModel

# Of one Spark job: what was projected before a failure need not be projected again.
_DATES_AT_ONCE: Final = 64
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


def project_features(features: DataFrame, model: PcaModel, version: str) -> DataFrame:
    """Rows of `features/` as rows of `projections/` under one PCA version."""
    keys = (tables.IMAGE_KEY, tables.INGEST_DATE, tables.CATEGORY)

    def compute(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            components = project(model, to_matrix(batch.column(len(keys)), tables.N_FEATURES))
            columns = [batch.column(index) for index in range(len(keys))]
            yield pa.RecordBatch.from_arrays([*columns, to_list_array(list(components))], names=[*keys, tables.COMPONENTS])

    projected = features.select(*keys, tables.VECTOR).mapInArrow(compute, schema_of((*keys, tables.COMPONENTS)))
    return projected.withColumn(tables.PCA_VERSION, F.lit(version))


def _project_chunk(
    spark: SparkSession, bucket: str, model: PcaModel, version: Provenance, days: Sequence[str], grace_seconds: float
) -> dict[str, str]:
    """Projects `days`; returns the states of those that nobody wrote meanwhile."""
    for attempt in range(1, _TRIES + 1):
        _wait_for_writers(bucket, days, grace_seconds)
        before = read_states_of(bucket, version.embedder_id, days)
        written_before = _being_written(bucket).keys()
        try:
            features = read_table(spark, bucket, lake.FEATURES, days).where(F.col(tables.EMBEDDER_ID) == version.embedder_id)
            replace_partitions(project_features(features, model, version.version), bucket, lake.PROJECTIONS)
            _remove_emptied(spark, bucket, version.version, days)
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


def _remove_emptied(spark: SparkSession, bucket: str, version: str, days: Sequence[str]) -> None:
    """A category that lost its features loses its projections."""
    for day in days:
        projections = _date_uri(bucket, version, day)
        kept = set(hadoop_files.list_folders(spark, lake.uri(bucket, lake.date_prefix(lake.FEATURES, day))))
        for folder in hadoop_files.list_folders(spark, projections):
            if folder not in kept:
                hadoop_files.remove(spark, f"{projections}{folder}/")


def _date_uri(bucket: str, version: str, ingest_date: str) -> str:
    return lake.uri(bucket, f"{lake.projections_prefix(version)}{tables.INGEST_DATE}={ingest_date}/")
