"""The Spark session every step uses, and what the steps rely on in it."""

from __future__ import annotations

from typing import Final

from pyspark.sql import SparkSession

# One worker a core: a worker's own threads would fight with its neighbours.
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_SETTINGS: Final = {
    # Of the ledger and the rejects, a date is replaced whole, its neighbours stay.
    "spark.sql.sources.partitionOverwriteMode": "dynamic",
    # Partition values are strings: a category may be called `007`.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    # Bounds a Python worker: 2,048 vectors are 10 MB, 21 MB in float64.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "2048",
    "spark.sql.adaptive.enabled": "true",
    # A date of them up to this size is one file.
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": "128m",
    "spark.sql.session.timeZone": "UTC",
    # With it on, workers of DataFrames differ in their environment from those of RDDs, and a step would start (and fill) both kinds.
    "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "false",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}


def start_session(step: str) -> SparkSession:
    builder = SparkSession.builder.appName(step)
    for variable in _ONE_THREAD:
        builder = builder.config(f"spark.executorEnv.{variable}", "1")
    for name, value in _SETTINGS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    # A step's log is read by people who look for what went wrong.
    spark.sparkContext.setLogLevel("WARN")
    # Spark's 200 would be 200 tasks of nothing on a laptop, and too few for a large day on a large cluster.
    spark.conf.set("spark.sql.shuffle.partitions", str(2 * task_slots(spark)))
    return spark


def task_slots(spark: SparkSession) -> int:
    """How many tasks run at once, as far as the driver knows now."""
    return max(1, int(spark.sparkContext.defaultParallelism))
