"""The features step: list, subtract what is known, fetch + decode + embed, and write the touched partitions, ledger last."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyspark import StorageLevel
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import lake, release, tables
from fruit_contract.tables import Status
from fruit_features import hadoop_files, object_store
from fruit_features.embedder_artefact import EmbedderArtefact, find_embedder, load_embedder
from fruit_features.featurise import RESULT_SCHEMA, featurise
from fruit_features.image_fetch import fetch_images
from fruit_features.increments import Increment, LedgerLine, plan_increment
from fruit_features.lake_tables import ingest_dates, read_table, replace_partitions, schema_of
from fruit_features.moments_frames import moments_by_date
from fruit_features.spark_session import task_slots
from fruit_features.stopwatch import Stopwatch
from fruit_features.task_planning import plan_tasks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

_REJECTS_IN_SUMMARY: Final = 100
_TASK_SCHEMA: Final = "images array<struct<image_key: string, etag: string, size_bytes: bigint>>"
_LEDGER_PLANNING_COLUMNS: Final = (tables.IMAGE_KEY, tables.ETAG, tables.CATEGORY, tables.STATUS, tables.EMBEDDER_ID, tables.REASON)


@dataclass(frozen=True)
class ExtractionRequest:
    """What one features step is asked for. No categories means all of them."""

    bucket: str
    release_id: str
    run_id: str
    ingest_dates: tuple[str, ...]
    categories: tuple[str, ...]
    engine: str


@dataclass(frozen=True)
class Outcome:
    """How many of the computed images of a date and category ended with one status and reason."""

    ingest_date: str
    category: str
    status: str
    reason: str | None
    n_images: int


def extract_features(spark: SparkSession, request: ExtractionRequest) -> dict[str, Any]:
    """Does the step and returns its summary, as `runs/_steps/<run_id>/extract_features.json` holds it."""
    watch = Stopwatch()
    embedder = find_embedder(request.bucket, request.release_id, request.engine)
    increments = [_plan_date(spark, request, embedder.embedder_id, day) for day in request.ingest_dates]
    touched = [increment for increment in increments if not increment.is_empty]
    new = [entry for increment in touched for entry in increment.new]
    watch.mark("list")
    print(f"{len(new):,} images to compute in {len(touched)} of {len(increments)} ingest dates, with {request.engine}.", flush=True)

    results = compute_images(spark, embedder, new).persist(StorageLevel.MEMORY_AND_DISK)
    outcomes = _count_outcomes(results) if new else []
    compute_seconds = watch.mark("compute")
    if touched:
        _write_date_tables(spark, request.bucket, touched, results, outcomes, watch)
    results.unpersist()
    rejected_by_reason = _sum_rejects(increments, outcomes)
    return {
        "step": release.EXTRACT_FEATURES_STEP,
        "run_id": request.run_id,
        "release": request.release_id,
        "embedder_id": embedder.embedder_id,
        "engine": request.engine,
        "ingest_dates": list(request.ingest_dates),
        "by_category": {increment.ingest_date: _books(increment, outcomes) for increment in increments},
        "rejects": _list_rejects(spark, request) if rejected_by_reason else [],
        "rejected_by_reason": rejected_by_reason,
        "images_computed": len(new),
        "images_per_second": round(len(new) / compute_seconds, 1) if new else None,
        "timings_seconds": watch.finish(),
    }


def _plan_date(spark: SparkSession, request: ExtractionRequest, embedder_id: str, ingest_date: str) -> Increment:
    listed = object_store.list_objects(request.bucket, lake.raw_prefix(ingest_date))
    ledger: list[LedgerLine] = []
    if ingest_date in ingest_dates(spark, request.bucket, lake.LEDGER):
        rows = read_table(spark, request.bucket, lake.LEDGER, [ingest_date]).select(*_LEDGER_PLANNING_COLUMNS).collect()
        ledger = [LedgerLine(*row) for row in rows]
    return plan_increment(ingest_date, listed, ledger, embedder_id, request.categories)


def compute_images(spark: SparkSession, embedder: EmbedderArtefact, images: Sequence[object_store.ListedObject]) -> DataFrame:
    """One row of RESULT_SCHEMA for every image, computed where the task runs."""
    result_schema = schema_of(RESULT_SCHEMA.names)
    tasks = plan_tasks([image.size_bytes for image in images], task_slots(spark))
    if not tasks:
        return spark.createDataFrame([], result_schema)
    rows = [([(images[index].key, images[index].etag, images[index].size_bytes) for index in task],) for task in tasks]

    def compute(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.column(0).to_pylist():
                keys = [(image["image_key"], image["etag"], image["size_bytes"]) for image in task]
                yield from featurise(fetch_images(embedder.bucket, keys), load_embedder(embedder), embedder.embedder_id)

    # As many slices as rows: every task gets exactly one. (Repartitioning rows leaves some tasks two and others none.)
    slices = spark.sparkContext.parallelize(rows, len(rows))
    return spark.createDataFrame(slices, _TASK_SCHEMA, verifySchema=False).mapInArrow(compute, result_schema)


def _count_outcomes(results: DataFrame) -> list[Outcome]:
    columns = (tables.INGEST_DATE, tables.CATEGORY, tables.STATUS, tables.REASON)
    return [Outcome(*row) for row in results.groupBy(*columns).count().collect()]


def _list_rejects(spark: SparkSession, request: ExtractionRequest) -> list[dict[str, str]]:
    """The first rejects among the listed images, in key order: what the dates' `rejected/` holds now."""
    rejected = read_table(spark, request.bucket, lake.REJECTED, request.ingest_dates)
    if request.categories:
        rejected = rejected.where(F.col(tables.CATEGORY).isin(list(request.categories)))
    rejects = rejected.select(tables.IMAGE_KEY, tables.REASON, tables.DETAIL).orderBy(tables.IMAGE_KEY)
    return [row.asDict() for row in rejects.limit(_REJECTS_IN_SUMMARY).collect()]


def _write_date_tables(
    spark: SparkSession,
    bucket: str,
    touched: Sequence[Increment],
    results: DataFrame,
    outcomes: Sequence[Outcome],
    watch: Stopwatch,
) -> None:
    """Features and rejected, then moments, then the ledger: what a crash leaves without a ledger line is done again."""
    unchanged = [line for increment in touched for line in increment.unchanged]
    kept = [line for increment in touched for line in increment.kept]
    dates = [increment.ingest_date for increment in touched]
    partitions = {(increment.ingest_date, category) for increment in touched for category in increment.touched}

    def with_known(table: str, computed: DataFrame, lines: Sequence[LedgerLine]) -> DataFrame:
        """`computed` in the table's columns, and the table's present rows of `lines`."""
        known = read_table(spark, bucket, table, dates)
        computed = computed.select(known.columns)
        if not lines:
            return computed
        keys = spark.createDataFrame([(line.image_key,) for line in lines], schema_of([tables.IMAGE_KEY]))
        in_their_categories = known.where(F.col(tables.CATEGORY).isin(sorted({line.category for line in lines})))
        return in_their_categories.join(keys, on=tables.IMAGE_KEY, how="left_semi").unionByName(computed)

    # Of features, only those of touched partitions are read and written again.
    in_touched = [line for line in unchanged if line.status == Status.FEATURISED and (day_of(line), line.category) in partitions]
    featurised = results.where(F.col(tables.STATUS) == Status.FEATURISED)
    filled = {(day_of(line), line.category) for line in in_touched}
    filled |= {(outcome.ingest_date, outcome.category) for outcome in outcomes if outcome.status == Status.FEATURISED}
    if filled:
        replace_partitions(with_known(lake.FEATURES, featurised, in_touched), bucket, lake.FEATURES)
    for ingest_date, category in partitions - filled:
        hadoop_files.remove(spark, lake.uri(bucket, lake.partition_prefix(lake.FEATURES, ingest_date, category)))
    watch.mark("write_features")

    rejected = results.where(F.col(tables.STATUS) == Status.REJECTED)
    kept_rejected = [line for line in kept if line.status == Status.REJECTED]
    with_rejects = {day_of(line) for line in kept_rejected} | {row.ingest_date for row in outcomes if row.status == Status.REJECTED}
    _replace_dates(spark, bucket, lake.REJECTED, with_known(lake.REJECTED, rejected, kept_rejected), dates, with_rejects)
    watch.mark("write_rejected")

    with_features = {day_of(line) for line in kept if line.status == Status.FEATURISED} | {day for day, _ in filled}
    _replace_dates(spark, bucket, lake.MOMENTS, moments_by_date(read_table(spark, bucket, lake.FEATURES, dates)), dates, with_features)
    watch.mark("write_moments")

    with_lines = {day_of(line) for line in kept} | {outcome.ingest_date for outcome in outcomes}
    _replace_dates(spark, bucket, lake.LEDGER, with_known(lake.LEDGER, results, kept), dates, with_lines)
    watch.mark("write_ledger")


def day_of(line: LedgerLine) -> str:
    parts = lake.parse_image_key(line.image_key)
    if parts is None:
        raise ValueError(f"The ledger has a line for '{line.image_key}', which is not an image's key.")
    return parts.ingest_date


def _replace_dates(spark: SparkSession, bucket: str, table: str, rows: DataFrame, dates: Sequence[str], with_rows: Collection[str]) -> None:
    """Replaces the dates' rows of a table that is partitioned by date alone; a date that has none left is removed.

    Overwriting by partition leaves one that gets no rows as it was, so `with_rows` says which dates have some.
    """
    if with_rows:
        replace_partitions(rows, bucket, table)
    for day in dates:
        if day not in with_rows:
            hadoop_files.remove(spark, lake.uri(bucket, lake.date_prefix(table, day)))


def _sum_rejects(increments: Sequence[Increment], outcomes: Sequence[Outcome]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        if outcome.reason is not None:
            counts[outcome.reason] += outcome.n_images
    counts.update(line.reason for increment in increments for line in increment.unchanged if line.reason is not None)
    return dict(counts)


def _books(increment: Increment, outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """The books of each category of a date: listed = new + unchanged + reused, and listed = featurised + rejected."""
    columns = ("listed", "new", "unchanged", "reused", "removed", Status.FEATURISED.value, Status.REJECTED.value)
    books: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(columns, 0))
    for name, counts in increment.counts().items():
        for category, count in counts.items():
            books[category][name] = count
    for line in increment.unchanged:
        books[line.category][line.status] += 1
    for outcome in outcomes:
        if outcome.ingest_date == increment.ingest_date:
            books[outcome.category][outcome.status] += outcome.n_images
    return dict(sorted(books.items()))
