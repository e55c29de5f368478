"""What a date needs: its listing against its ledger, and what an interrupted run left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from fruit_contract import lake, tables
from fruit_contract.increments import Increment, LedgerLine, plan_increment
from fruit_contract.tables import Status
from fruit_features import hadoop_files
from fruit_features.lake import store as object_store
from fruit_features.lake_tables import collect_columns, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import SparkSession

_LINE_COLUMNS: Final = (
    tables.IMAGE_KEY, tables.ETAG, tables.CATEGORY, tables.STATUS, tables.EMBEDDER_ID, tables.REASON, tables.CONTENT_SHA256,
)  # fmt: skip


def plan_date(
    spark: SparkSession, bucket: str, ingest_date: str, embedder_id: str, scope: Sequence[str], *, retry_rejected: bool
) -> Increment:
    """The date's increment. Where a run was interrupted, a ledger line counts only if its row is still there."""
    listed = object_store.list_folder(bucket, lake.raw_prefix(ingest_date))
    ledger = [LedgerLine(*row) for row in collect_columns(spark, bucket, lake.LEDGER, [ingest_date], _LINE_COLUMNS)]
    marker = object_store.read_json_if_there(bucket, lake.in_progress_key(ingest_date))
    interrupted = None
    if marker is not None:
        print(f"A run was interrupted while it wrote {ingest_date} ({marker['run_id']}): what it left is looked through.", flush=True)
        known_categories = {line.category for line in ledger}
        interrupted = set(marker["categories"]) | (_categories_with_features(spark, bucket, ingest_date) - known_categories)
        ledger = _lines_with_rows(spark, bucket, ingest_date, ledger, interrupted)
    return plan_increment(ingest_date, listed, ledger, embedder_id, scope, retry_rejected=retry_rejected, interrupted=interrupted)


def _categories_with_features(spark: SparkSession, bucket: str, ingest_date: str) -> set[str]:
    folders = hadoop_files.list_folders(spark, lake.uri(bucket, lake.date_prefix(lake.FEATURES, ingest_date)))
    return {lake.unescape_partition_value(name.partition("=")[2]) for name in folders if name.startswith(f"{tables.CATEGORY}=")}


def _lines_with_rows(
    spark: SparkSession, bucket: str, ingest_date: str, ledger: Sequence[LedgerLine], categories: set[str]
) -> list[LedgerLine]:
    """The lines whose row of `features/` (in the categories that were being written) or `rejected/` is as the line says."""
    columns = (tables.IMAGE_KEY, tables.CONTENT_SHA256)
    features = read_table(spark, bucket, lake.FEATURES, [ingest_date]).where(F.col(tables.CATEGORY).isin(sorted(categories)))
    featurised = {tuple(row) for row in features.select(*columns, tables.EMBEDDER_ID).collect()}
    rejects = collect_columns(spark, bucket, lake.REJECTED, [ingest_date], (*columns, tables.REASON))
    rejected = {tuple(row) for row in rejects}

    def has_row(line: LedgerLine) -> bool:
        if line.status == Status.REJECTED:
            return (line.image_key, line.content_sha256, line.reason) in rejected
        return line.category not in categories or (line.image_key, line.content_sha256, line.embedder_id) in featurised

    return [line for line in ledger if has_row(line)]
