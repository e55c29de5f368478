"""The features step: list, subtract what is known, fetch + decode + embed, and write the touched partitions, ledger last."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from py4j.protocol import Py4JJavaError
from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import lake, release, tables
from fruit_contract.tables import Status
from fruit_features.content_reuse import KnownContents, find_known_contents
from fruit_features.date_planning import plan_date
from fruit_features.date_tables import DateTables
from fruit_features.embedding.artefact import find_embedder
from fruit_features.extraction.progress import ImageCounters, ProgressReporter
from fruit_features.lake import store as object_store
from fruit_features.lake_tables import read_table
from fruit_features.packet_frames import compute_images, count_outcomes
from fruit_features.spark.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import SparkSession

    from fruit_contract.increments import Increment, ListedImage
    from fruit_features.embedding.artefact import EmbedderArtefact
    from fruit_features.packets import Outcome

_REJECTS_IN_SUMMARY: Final = 100


class BooksError(RuntimeError):
    """Listed images that did not end in exactly one place. Nothing was written."""


@dataclass(frozen=True)
class ExtractionRequest:
    """What one features step is asked for. No categories means all of them."""

    bucket: str
    release_id: str
    run_id: str
    ingest_dates: tuple[str, ...]
    categories: tuple[str, ...]
    engine: str
    retry_rejected: bool = False


def extract_features(spark: SparkSession, request: ExtractionRequest) -> dict[str, Any]:
    """Does the step and returns its summary, as `runs/_steps/<run_id>/extract_features.json` holds it.

    Raises BooksError, before anything is written, if an image would end in no place or in two.
    """
    watch = Stopwatch()
    embedder = find_embedder(request.bucket, request.release_id, request.engine)
    with _progress_reporter(spark, request) as progress:
        return _extract(spark, request, embedder, watch, progress)


def check_books(books: Mapping[str, Mapping[str, Mapping[str, int]]]) -> None:
    """Of each date and category: listed = new + unchanged + reused = featurised + rejected. Raises BooksError otherwise."""
    for ingest_date, categories in books.items():
        for category, count in categories.items():
            origins = count["new"] + count["unchanged"] + count["reused"]
            ends = count[Status.FEATURISED] + count[Status.REJECTED]
            if not count["listed"] == origins == ends:
                raise BooksError(
                    f"The books of '{category}' of {ingest_date} do not balance: {count['listed']:,} listed, {count['new']:,} new + "
                    f"{count['unchanged']:,} unchanged + {count['reused']:,} reused, {count[Status.FEATURISED]:,} featurised + "
                    f"{count[Status.REJECTED]:,} rejected. Nothing was written: this is a defect of the step, please report it."
                )


def _extract(
    spark: SparkSession, request: ExtractionRequest, embedder: EmbedderArtefact, watch: Stopwatch, progress: ProgressReporter
) -> dict[str, Any]:
    increments = [
        plan_date(spark, request.bucket, day, embedder.embedder_id, request.categories, retry_rejected=request.retry_rejected)
        for day in request.ingest_dates
    ]
    touched = [increment for increment in increments if not increment.is_empty]
    new = [entry for increment in touched for entry in increment.new]
    watch.mark("list")
    known_contents = _known_contents(spark, request.bucket, embedder.embedder_id, new)
    watch.mark("find_known_contents")
    n_known = len(known_contents.sha256_by_key)
    print(
        f"{len(new):,} new images in {len(touched)} of {len(increments)} ingest dates: {n_known:,} look like content that is featurised "
        f"already, {len(new) - n_known:,} to compute with {request.engine}.",
        flush=True,
    )

    progress.computing(len(new))
    packets = compute_images(spark, embedder, new, known_contents.sha256_by_key, progress.counters).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        outcomes = count_outcomes(packets) if new else []
        compute_seconds = watch.mark("compute")
        progress.writing(sum(outcome.n_images for outcome in outcomes if outcome.reason is not None))
        books = {increment.ingest_date: _books(increment, outcomes) for increment in increments}
        check_books(books)
        if touched:
            tables_of_dates = DateTables(spark, request.bucket, embedder.embedder_id, touched, packets, outcomes, known_contents)
            tables_of_dates.write(request.run_id, watch)
    finally:
        packets.unpersist()
        known_contents.release()
    rejects_by_date = {increment.ingest_date: _sum_rejects(increment, outcomes) for increment in increments}
    n_computed = sum(outcome.n_images for outcome in outcomes if not outcome.reused)
    return {
        "step": release.EXTRACT_FEATURES_STEP,
        "run_id": request.run_id,
        "release": request.release_id,
        "embedder_id": embedder.embedder_id,
        "engine": request.engine,
        "ingest_dates": list(request.ingest_dates),
        "touched_ingest_dates": [increment.ingest_date for increment in touched],
        "by_category": books,
        "rejects": _list_rejects(spark, request) if any(rejects_by_date.values()) else [],
        "rejected_by_reason": dict(sum(rejects_by_date.values(), Counter())),
        "rejected_by_reason_by_date": {day: dict(counts) for day, counts in rejects_by_date.items()},
        "images_computed": n_computed,
        "images_per_second": round(n_computed / compute_seconds, 1) if n_computed else None,
        "timings_seconds": watch.finish(),
    }


def _progress_reporter(spark: SparkSession, request: ExtractionRequest) -> ProgressReporter:
    step = release.EXTRACT_FEATURES_STEP
    write = partial(object_store.write_json, request.bucket, lake.progress_key(request.run_id, step))
    return ProgressReporter(ImageCounters.of(spark.sparkContext), request.run_id, step, write)


def _known_contents(spark: SparkSession, bucket: str, embedder_id: str, new: Sequence[ListedImage]) -> KnownContents:
    try:
        return find_known_contents(spark, bucket, embedder_id, new)
    except (Py4JJavaError, PySparkException) as error:
        # Another run may be replacing the very partition that would be copied from. Computing gives the same features.
        print(f"Known contents can't be copied this time, they are computed again: {str(error).splitlines()[0]}", flush=True)
        return KnownContents()


def _list_rejects(spark: SparkSession, request: ExtractionRequest) -> list[dict[str, str]]:
    """The first rejects among the listed images, in key order: what the dates' `rejected/` holds now."""
    rejected = read_table(spark, request.bucket, lake.REJECTED, request.ingest_dates)
    if request.categories:
        rejected = rejected.where(F.col(tables.CATEGORY).isin(list(request.categories)))
    rejects = rejected.select(tables.IMAGE_KEY, tables.REASON, tables.DETAIL).orderBy(tables.IMAGE_KEY)
    return [row.asDict() for row in rejects.limit(_REJECTS_IN_SUMMARY).collect()]


def _sum_rejects(increment: Increment, outcomes: Sequence[Outcome]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        if outcome.reason is not None and outcome.ingest_date == increment.ingest_date:
            counts[outcome.reason] += outcome.n_images
    counts.update(line.reason for line in increment.unchanged if line.reason is not None)
    return counts


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
            if outcome.reused:
                books[outcome.category]["reused"] += outcome.n_images
                books[outcome.category]["new"] -= outcome.n_images
    return dict(sorted(books.items()))
