"""Writes the tables of touched dates: features and rejected, then moments, then the ledger.

What a crash leaves without a ledger line is done again. A marker stands from before the first write until after the last one, so that
the next run knows that a date's partitions may be half written, even if nothing about its images has changed since.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import lake, tables
from fruit_contract.tables import Status
from fruit_features import hadoop_files, object_store
from fruit_features.content_reuse import SOURCE_COLUMNS, KnownContents, write_content_index
from fruit_features.lake_tables import read_table, replace_partitions, schema_of
from fruit_features.moments_frames import write_moments
from fruit_features.moments_states import write_moments_states

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from fruit_contract.increments import Increment, LedgerLine
    from fruit_features.stopwatch import Stopwatch


@dataclass(frozen=True)
class Outcome:
    """How many of the new images of a date and category ended with one status and reason, computed or reused."""

    ingest_date: str
    category: str
    status: str
    reason: str | None
    reused: bool
    n_images: int


class DateTables:
    """The writing of one step: `touched` dates, the `results` of their new images, and how many of those came to what."""

    def __init__(
        self,
        spark: SparkSession,
        bucket: str,
        embedder_id: str,
        touched: Sequence[Increment],
        results: DataFrame,
        outcomes: Sequence[Outcome],
        known_contents: KnownContents,
    ) -> None:
        self._spark = spark
        self._bucket = bucket
        self._embedder_id = embedder_id
        self._touched = touched
        self._results = results
        self._outcomes = outcomes
        self._known_contents = known_contents
        self._dates = [increment.ingest_date for increment in touched]
        self._kept = [line for increment in touched for line in increment.kept]
        self._mending = any(increment.damaged for increment in touched)

    def write(self, run_id: str, watch: Stopwatch) -> None:
        self._mark(run_id)
        with_features = self._write_features()
        watch.mark("write_features")
        self._write_rejected()
        watch.mark("write_rejected")
        self._write_moments(with_features)
        watch.mark("write_moments")
        self._write_ledger()
        watch.mark("write_ledger")
        for ingest_date in self._dates:
            object_store.delete_object(self._bucket, lake.in_progress_key(ingest_date))

    def _mark(self, run_id: str) -> None:
        for increment in self._touched:
            key = lake.in_progress_key(increment.ingest_date)
            started_at = datetime.now(UTC).isoformat(timespec="seconds")
            marker = {"run_id": run_id, "categories": sorted(increment.touched), "started_at": started_at}
            object_store.write_json(self._bucket, key, marker)

    def _write_features(self) -> set[str]:
        """Reads and writes only touched partitions; returns the dates that have features afterwards."""
        partitions = {(increment.ingest_date, category) for increment in self._touched for category in increment.touched}
        # Of features, only those of touched partitions are read and written again.
        unchanged = [line for increment in self._touched for line in increment.unchanged if line.status == Status.FEATURISED]
        rewritten = [line for line in unchanged if (day_of(line), line.category) in partitions]
        filled = {(day_of(line), line.category) for line in rewritten}
        filled |= {(outcome.ingest_date, outcome.category) for outcome in self._outcomes if outcome.status == Status.FEATURISED}
        if filled:
            self._replace(lake.FEATURES, self._featurised(), rewritten)
        for ingest_date, category in partitions - filled:
            hadoop_files.remove(self._spark, lake.uri(self._bucket, lake.partition_prefix(lake.FEATURES, ingest_date, category)))
        return {day_of(line) for line in self._kept if line.status == Status.FEATURISED} | {day for day, _ in filled}

    def _featurised(self) -> DataFrame:
        """The new images that have features, with those of known contents filled in."""
        featurised = self._results.where(F.col(tables.STATUS) == Status.FEATURISED)
        sources = self._known_contents.rows
        if sources is None:
            return featurised
        reused = featurised.where(F.col(tables.REUSED)).drop(*(column for column in SOURCE_COLUMNS if column != tables.CONTENT_SHA256))
        # A content that is gone by now leaves null features, which the moments refuse.
        filled = reused.join(sources, on=tables.CONTENT_SHA256, how="left")
        return featurised.where(~F.col(tables.REUSED)).unionByName(filled.select(featurised.columns))

    def _write_rejected(self) -> None:
        rejected = self._results.where(F.col(tables.STATUS) == Status.REJECTED)
        kept = [line for line in self._kept if line.status == Status.REJECTED]
        dates = {day_of(line) for line in kept}
        dates |= {outcome.ingest_date for outcome in self._outcomes if outcome.status == Status.REJECTED}
        self._replace_dates(lake.REJECTED, rejected, kept, dates)

    def _write_moments(self, with_features: Collection[str]) -> None:
        written = write_moments(self._spark, self._bucket, self._dates) if with_features else []
        self._remove_dates(lake.MOMENTS, with_features)
        write_moments_states(self._bucket, self._dates, written)

    def _write_ledger(self) -> None:
        dates = {day_of(line) for line in self._kept} | {outcome.ingest_date for outcome in self._outcomes}
        self._write_content_indexes()
        self._replace_dates(lake.LEDGER, self._results, self._kept, dates)

    def _write_content_indexes(self) -> None:
        """Of what the ledger will hold. Its own line proves what an index says, so the index may come first."""
        contents: dict[str, list[tuple[str, int]]] = defaultdict(list)
        columns = (tables.INGEST_DATE, tables.ETAG, tables.SIZE_BYTES)
        known = self._with_known(lake.LEDGER, self._results, self._kept)
        featurised = known.where((F.col(tables.STATUS) == Status.FEATURISED) & (F.col(tables.EMBEDDER_ID) == self._embedder_id))
        for ingest_date, etag, size_bytes in featurised.select(*columns).collect():
            contents[ingest_date].append((etag, size_bytes))
        for ingest_date in self._dates:
            write_content_index(self._bucket, self._embedder_id, ingest_date, contents[ingest_date])

    def _replace(self, table: str, new: DataFrame, lines: Sequence[LedgerLine]) -> None:
        replace_partitions(self._with_known(table, new, lines), self._bucket, table)

    def _replace_dates(self, table: str, new: DataFrame, lines: Sequence[LedgerLine], with_rows: Collection[str]) -> None:
        """Replaces the dates' rows of a table that is partitioned by date alone."""
        if with_rows:
            self._replace(table, new, lines)
        self._remove_dates(table, with_rows)

    def _remove_dates(self, table: str, with_rows: Collection[str]) -> None:
        """Overwriting by partition leaves one that gets no rows as it was, so `with_rows` says which dates have some."""
        for ingest_date in self._dates:
            if ingest_date not in with_rows:
                hadoop_files.remove(self._spark, lake.uri(self._bucket, lake.date_prefix(table, ingest_date)))

    def _with_known(self, table: str, new: DataFrame, lines: Sequence[LedgerLine]) -> DataFrame:
        """`new` in the table's columns, and the table's present rows of `lines`."""
        known = read_table(self._spark, self._bucket, table, self._dates)
        new = new.select(known.columns)
        if not lines:
            return new
        keys = self._spark.createDataFrame([(line.image_key,) for line in lines], schema_of([tables.IMAGE_KEY]))
        in_their_categories = known.where(F.col(tables.CATEGORY).isin(sorted({line.category for line in lines})))
        carried = in_their_categories.join(keys, on=tables.IMAGE_KEY, how="left_semi")
        if self._mending:
            carried = carried.dropDuplicates([tables.IMAGE_KEY])
        return carried.unionByName(new)


def day_of(line: LedgerLine) -> str:
    parts = lake.parse_image_key(line.image_key)
    if parts is None:
        raise ValueError(f"The ledger has a line for '{line.image_key}', which is not an image's key.")
    return parts.ingest_date
