"""The lake's tables as Spark reads and writes them: schemas, reading some dates, replacing whole partitions."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows
from pyspark.sql.types import ArrayType, BooleanType, DoubleType, FloatType, IntegerType, LongType, StringType, StructField, StructType

from fruit_contract import lake, tables
from fruit_features import hadoop_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyspark.sql import DataFrame, Row, SparkSession

_TYPES: Final = {
    tables.IMAGE_KEY: StringType(),
    tables.INGEST_DATE: StringType(),
    tables.CATEGORY: StringType(),
    tables.CONTENT_SHA256: StringType(),
    tables.WIDTH: IntegerType(),
    tables.HEIGHT: IntegerType(),
    tables.EMBEDDER_ID: StringType(),
    tables.VECTOR: ArrayType(FloatType()),
    tables.ETAG: StringType(),
    tables.SIZE_BYTES: LongType(),
    tables.STATUS: StringType(),
    tables.REASON: StringType(),
    tables.DETAIL: StringType(),
    tables.N_SAMPLES: LongType(),
    tables.CONTENT_DIGEST: LongType(),
    tables.MEAN: ArrayType(DoubleType()),
    tables.SCATTER: ArrayType(DoubleType()),
    tables.PCA_VERSION: StringType(),
    tables.COMPONENTS: ArrayType(FloatType()),
    tables.REUSED: BooleanType(),
}
_RECORDS_SETTING: Final = "spark.sql.execution.arrow.maxRecordsPerBatch"
TABLE_COLUMNS: Final = {
    lake.FEATURES: (tables.FEATURES_COLUMNS, (tables.INGEST_DATE, tables.CATEGORY)),
    lake.REJECTED: (tables.REJECTED_COLUMNS, (tables.INGEST_DATE,)),
    lake.MOMENTS: (tables.MOMENTS_COLUMNS, (tables.INGEST_DATE,)),
    lake.LEDGER: (tables.LEDGER_COLUMNS, (tables.INGEST_DATE,)),
    lake.PROJECTIONS: (tables.PROJECTIONS_COLUMNS, (tables.PCA_VERSION, tables.INGEST_DATE, tables.CATEGORY)),
}


def schema_of(columns: Iterable[str]) -> StructType:
    return StructType([StructField(name, _TYPES[name]) for name in columns])


def no_rows(spark: SparkSession, schema: StructType) -> DataFrame:
    """An empty table that Spark plans away. (`createDataFrame([])` would start Python workers to find out that it is empty.)"""
    columns = [F.lit(None).cast(field.dataType).alias(field.name) for field in schema]
    return spark.range(0).where(F.lit(False)).select(*columns)


def ingest_dates(spark: SparkSession, bucket: str, table: str) -> list[str]:
    """The dates a table has, sorted; for tables whose first partition column is the date."""
    folders = hadoop_files.list_folders(spark, lake.uri(bucket, f"{table}/"))
    return [name.partition("=")[2] for name in folders if name.startswith(f"{tables.INGEST_DATE}=")]


def read_table(spark: SparkSession, bucket: str, table: str, dates: Sequence[str]) -> DataFrame:
    """The rows of `dates` with the partition columns last; a date that isn't there has no rows."""
    columns, partition_columns = TABLE_COLUMNS[table]
    schema = schema_of((*columns, *partition_columns))
    paths = [lake.uri(bucket, lake.date_prefix(table, day)) for day in dates]
    present = [path for path in paths if hadoop_files.exists(spark, path)]
    if not present:
        return no_rows(spark, schema)
    return spark.read.schema(schema).option("basePath", lake.uri(bucket, f"{table}/")).parquet(*present)


def collect_columns(spark: SparkSession, bucket: str, table: str, dates: Sequence[str], columns: Sequence[str]) -> list[Row]:
    """The rows of `dates`, in the driver; of dates that aren't there, without a Spark job."""
    if not any(hadoop_files.exists(spark, lake.uri(bucket, lake.date_prefix(table, day))) for day in dates):
        return []
    return read_table(spark, bucket, table, dates).select(*columns).collect()


@contextmanager
def few_rows_at_once(spark: SparkSession, n_rows: int) -> Iterator[None]:
    """While it lasts, a worker gets `n_rows` in a batch: Spark bounds a batch by rows, and a row of packets or moments is megabytes."""
    before = str(spark.conf.get(_RECORDS_SETTING))
    spark.conf.set(_RECORDS_SETTING, str(n_rows))
    try:
        yield
    finally:
        spark.conf.set(_RECORDS_SETTING, before)


def replace_partitions(rows: DataFrame, bucket: str, table: str) -> None:
    """Writes `rows`, replacing every partition they touch and no other. A partition becomes one file, a large one a few."""
    columns, partition_columns = TABLE_COLUMNS[table]
    selected = rows.select(*columns, *partition_columns)
    # The hint (which DataFrame.hint can't take columns for) brings a partition's rows together, splits a large one, and joins small ones.
    hint = f"/*+ REBALANCE({', '.join(partition_columns)}) */"
    gathered = rows.sparkSession.sql(f"SELECT {hint} * FROM {{selected}}", selected=selected)  # noqa: S608 - built of our own constants
    gathered.write.mode("overwrite").partitionBy(*partition_columns).parquet(lake.uri(bucket, f"{table}/"))
