"""Writes the tables of touched dates: rejected and features, then moments, then the ledger.

What a crash leaves without a ledger line is done again. A marker stands from before the first write until after the last one, so that
the next run knows that a date's partitions may be half written, even if nothing about its images has changed since.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import lake, tables
from fruit_contract.tables import Status
from fruit_features import hadoop_files
from fruit_features.content_reuse import SOURCE_COLUMNS, KnownContents, write_content_index
from fruit_features.features_writing import remove_other_files, write_features
from fruit_features.lake import store as object_store
from fruit_features.lake_tables import few_rows_at_once, no_rows, read_table, replace_partitions, schema_of
from fruit_features.moments.parts import PARTS_AT_ONCE
from fruit_features.moments_frames import parts_of_files, write_parts
from fruit_features.moments_states import write_moments_states
from fruit_features.packet_frames import PLACED_FEATURES, packed, rows_of
from fruit_features.spark.session import task_slots

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from fruit_contract.increments import Increment, LedgerLine
    from fruit_features.moments_frames import WrittenMoments
    from fruit_features.packets import Outcome
    from fruit_features.spark.stopwatch import Stopwatch


class IncompleteWriteError(RuntimeError):
    """The features of a date are not those that its ledger would say. The date stays marked: the next run looks through all of its rows."""


class DateTables:
    """The writing of one step: `touched` dates, the `packets` of their new images, and how many of those came to what."""

    def __init__(
        self,
        spark: SparkSession,
        bucket: str,
        embedder_id: str,
        touched: Sequence[Increment],
        packets: DataFrame,
        outcomes: Sequence[Outcome],
        known_contents: KnownContents,
    ) -> None:
        self._spark = spark
        self._bucket = bucket
        self._embedder_id = embedder_id
        self._touched = touched
        self._packets = packets
        self._rows = rows_of(packets)
        self._outcomes = outcomes
        self._known_contents = known_contents
        self._dates = [increment.ingest_date for increment in touched]
        self._partitions = {(increment.ingest_date, category) for increment in touched for category in increment.touched}
        self._kept = [line for increment in touched for line in increment.kept]
        self._mending = any(increment.damaged for increment in touched)

    def write(self, run_id: str, watch: Stopwatch) -> None:
        for increment in self._touched:
            self._mark(run_id, increment.ingest_date, increment.touched)
        self._write_rejected()
        watch.mark("write_rejected")
        self._write_features_and_moments(run_id)
        watch.mark("write_features")
        self._write_ledger()
        watch.mark("write_ledger")
        for ingest_date in self._dates:
            object_store.delete_object(self._bucket, lake.in_progress_key(ingest_date))

    def _mark(self, run_id: str, ingest_date: str, categories: Iterable[str]) -> None:
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        marker = {"run_id": run_id, "categories": sorted(categories), "started_at": started_at}
        object_store.write_json(self._bucket, lake.in_progress_key(ingest_date), marker)

    def _write_features_and_moments(self, run_id: str) -> None:
        """Touched partitions are written whole and their moments with them; of others, only the moments are read.

        A partition has its old files until the new ones are there, so that a crash loses no row; that there were two of one is seen by the
        marker's reader.
        """
        expected = self._rows_expected()
        n_rows: Counter[tuple[str, str]] = Counter()
        for (ingest_date, category, _), n in expected.items():
            n_rows[ingest_date, category] += n
        filled = {partition: n for partition, n in n_rows.items() if partition in self._partitions}
        write_id = new_write_id()
        parts = self._parts_of_untouched(n_rows.keys() - filled.keys())
        written: list[WrittenMoments] = []
        with few_rows_at_once(self._spark, PARTS_AT_ONCE):
            if filled:
                written_parts = write_features(self._packets_to_write(), self._bucket, write_id, filled, task_slots(self._spark))
                parts = written_parts if parts is None else parts.unionByName(written_parts)
            if parts is not None:
                written = write_parts(self._spark, self._bucket, self._dates, parts)
        self._check(run_id, expected, written)
        remove_other_files(self._bucket, write_id, self._partitions)
        for ingest_date, category in self._partitions - filled.keys():
            hadoop_files.remove(self._spark, lake.uri(self._bucket, lake.partition_prefix(lake.FEATURES, ingest_date, category)))
        self._remove_dates(lake.MOMENTS, {ingest_date for ingest_date, _ in n_rows})
        write_moments_states(self._bucket, self._dates, written)

    def _rows_expected(self) -> Counter[tuple[str, str, str]]:
        """How many rows of features each date, category and embedder will have."""
        expected = Counter((day_of(line), line.category, line.embedder_id) for line in self._kept if line.status == Status.FEATURISED)
        for outcome in self._outcomes:
            if outcome.status == Status.FEATURISED:
                expected[outcome.ingest_date, outcome.category, self._embedder_id] += outcome.n_images
        return expected

    def _check(self, run_id: str, rows_expected: Mapping[tuple[str, str, str], int], written: Sequence[WrittenMoments]) -> None:
        """Every row of features went into the moments: are they, by date and embedder, as many as the ledger will say?"""
        expected: Counter[tuple[str, str]] = Counter()
        for (ingest_date, _, embedder_id), n_rows in rows_expected.items():
            expected[ingest_date, embedder_id] += n_rows
        found = Counter({(moments.ingest_date, moments.embedder_id): moments.n_samples for moments in written})
        if found == expected:
            return
        differing = sorted({place for place in found | expected if found[place] != expected[place]})
        for increment in self._touched:
            if increment.ingest_date in {ingest_date for ingest_date, _ in differing}:
                self._mark(run_id, increment.ingest_date, increment.touched | {line.category for line in increment.kept})
        said = "; ".join(
            f"those of {ingest_date} have {found[ingest_date, embedder_id]:,} rows of {embedder_id}, where its ledger would have "
            f"{expected[ingest_date, embedder_id]:,} featurised images"
            for ingest_date, embedder_id in differing
        )
        raise IncompleteWriteError(
            f"Something else has changed the features: {said}. Run the same again: that run looks through all rows of these dates, and "
            "computes what is missing."
        )

    def _parts_of_untouched(self, partitions: Collection[tuple[str, str]]) -> DataFrame | None:
        """The moments' parts of partitions that are not written."""
        prefixes = [lake.partition_prefix(lake.FEATURES, ingest_date, category) for ingest_date, category in sorted(partitions)]
        return parts_of_files(self._spark, self._bucket, prefixes)

    def _packets_to_write(self) -> DataFrame:
        """Those of new images, and the rows that touched partitions keep or get from known contents."""
        # Of features, only those of touched partitions are read and written again.
        kept = [line for increment in self._touched for line in increment.unchanged if line.status == Status.FEATURISED]
        kept = [line for line in kept if (day_of(line), line.category) in self._partitions]
        packets = self._packets
        reused = self._reused()
        if kept or reused is not None:
            new = no_rows(self._spark, schema_of(PLACED_FEATURES)) if reused is None else reused
            packets = packets.unionByName(packed(self._with_known(lake.FEATURES, new, kept)))
        return packets

    def _reused(self) -> DataFrame | None:
        """The new images of known contents, with their features."""
        sources = self._known_contents.rows
        if sources is None:
            return None
        reused = self._rows.where(F.col(tables.REUSED)).drop(*(column for column in SOURCE_COLUMNS if column != tables.CONTENT_SHA256))
        # A content that is gone by now leaves null features, which packing refuses.
        return reused.join(sources, on=tables.CONTENT_SHA256, how="left")

    def _write_rejected(self) -> None:
        rejected = self._rows.where(F.col(tables.STATUS) == Status.REJECTED)
        kept = [line for line in self._kept if line.status == Status.REJECTED]
        dates = {day_of(line) for line in kept}
        dates |= {outcome.ingest_date for outcome in self._outcomes if outcome.status == Status.REJECTED}
        self._replace_dates(lake.REJECTED, rejected, kept, dates)

    def _write_ledger(self) -> None:
        dates = {day_of(line) for line in self._kept} | {outcome.ingest_date for outcome in self._outcomes}
        self._write_content_indexes()
        self._replace_dates(lake.LEDGER, self._rows, self._kept, dates)

    def _write_content_indexes(self) -> None:
        """Of what the ledger will hold. Its own line proves what an index says, so the index may come first."""
        contents: dict[str, list[tuple[str, int]]] = defaultdict(list)
        columns = (tables.INGEST_DATE, tables.ETAG, tables.SIZE_BYTES)
        known = self._with_known(lake.LEDGER, self._rows, self._kept)
        featurised = known.where((F.col(tables.STATUS) == Status.FEATURISED) & (F.col(tables.EMBEDDER_ID) == self._embedder_id))
        for ingest_date, etag, size_bytes in featurised.select(*columns).collect():
            contents[ingest_date].append((etag, size_bytes))
        for ingest_date in self._dates:
            write_content_index(self._bucket, self._embedder_id, ingest_date, contents[ingest_date])

    def _replace_dates(self, table: str, new: DataFrame, lines: Sequence[LedgerLine], with_rows: Collection[str]) -> None:
        """Replaces the dates' rows of a table that is partitioned by date alone."""
        if with_rows:
            replace_partitions(self._with_known(table, new, lines), self._bucket, table)
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
        # Of features, an interrupted write may have left rows of an image for another content or embedder beside the line's own.
        columns = [tables.IMAGE_KEY, *((tables.CONTENT_SHA256, tables.EMBEDDER_ID) if table == lake.FEATURES else ())]
        wanted = self._spark.createDataFrame([tuple(getattr(line, name) for name in columns) for line in lines], schema_of(columns))
        in_their_categories = known.where(F.col(tables.CATEGORY).isin(sorted({line.category for line in lines})))
        carried = in_their_categories.join(wanted, on=columns, how="left_semi")
        if self._mending:
            carried = carried.dropDuplicates([tables.IMAGE_KEY])
        return carried.unionByName(new)


def new_write_id() -> str:
    """What the files of one write have in their names, and those of no other."""
    return uuid.uuid4().hex[:12]


def day_of(line: LedgerLine) -> str:
    parts = lake.parse_image_key(line.image_key)
    if parts is None:
        raise ValueError(f"The ledger has a line for '{line.image_key}', which is not an image's key.")
    return parts.ingest_date
