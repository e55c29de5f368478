"""Runs pyspark.ml on the same table: it fits and applies StandardScaler and PCA and writes the projections as Parquet
(see way_worker.py).

The comparison is fair to it: it is told k (to find it, it would fit twice), the vectors are cached, and its rows are
written as ours are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pyspark.ml.feature import PCA, StandardScaler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows

from benchmarks.harness.way_worker import seconds_since_process_start
from benchmarks.pca.result import SPARK_ML_OUTPUT
from fruit_contract import lake, release, tables
from fruit_features.spark.session import start_session
from fruit_features.spark.stopwatch import Stopwatch

if TYPE_CHECKING:
    from pyspark.ml.feature import PCAModel, StandardScalerModel
    from pyspark.sql import DataFrame, SparkSession

_FEATURES: Final = "features"
_STANDARDISED: Final = "standardised"
_PROJECTED: Final = "projected"

_PARTITIONED_BY: Final = (tables.INGEST_DATE, tables.CATEGORY)

_kept: dict[str, Any] = {}


def start() -> dict[str, Any]:
    """Starts the session and answers the seconds since this process started."""
    start_session(release.REFRESH_PCA_STEP)
    return {"seconds": seconds_since_process_start()}


def run(bucket: str, ingest_dates: list[str], k: int) -> dict[str, Any]:
    """Runs from `features/` to the projections of all its rows, and keeps the two models for `export`."""
    spark = start_session(release.REFRESH_PCA_STEP)
    watch = Stopwatch()
    vectors = _vectors(spark, bucket, ingest_dates).persist()
    n_samples = vectors.count()
    watch.mark("read")
    scaler = StandardScaler(inputCol=_FEATURES, outputCol=_STANDARDISED, withMean=True, withStd=True).fit(vectors)
    watch.mark("scaler_fit")
    standardised = scaler.transform(vectors)
    pca = PCA(k=k, inputCol=_STANDARDISED, outputCol=_PROJECTED).fit(standardised)
    watch.mark("pca_fit")
    projected = pca.transform(standardised).select(
        tables.IMAGE_KEY,
        tables.INGEST_DATE,
        tables.CATEGORY,
        vector_to_array(F.col(_PROJECTED), "float32").alias(tables.COMPONENTS),
    )
    _write(projected, bucket)
    watch.mark("transform")
    stages = watch.finish()
    vectors.unpersist(blocking=True)
    _kept["models"] = scaler, pca
    return {"seconds": stages.pop("total"), "stages": stages, "n_samples": n_samples}


def export(bucket: str, ingest_date: str, category: str, path: str) -> dict[str, Any]:
    """Saves the models of the last run as `path` (.npz), and what they make of one partition in float64.

    The arrays are `components` float64[k, d], `explained_variance_ratio` float64[k], and, ordered by image key,
    `image_keys` and `projections` float64[n, k].
    """
    spark = start_session(release.REFRESH_PCA_STEP)
    models: tuple[StandardScalerModel, PCAModel] = _kept["models"]
    scaler, pca = models
    vectors = _vectors(spark, bucket, [ingest_date]).where(F.col(tables.CATEGORY) == category)
    rows = (
        pca.transform(scaler.transform(vectors)).select(tables.IMAGE_KEY, vector_to_array(F.col(_PROJECTED))).collect()
    )
    rows.sort(key=lambda row: str(row[0]))
    np.savez(
        path,
        components=pca.pc.toArray().T,
        explained_variance_ratio=pca.explainedVariance.toArray(),
        image_keys=np.array([row[0] for row in rows]),
        projections=np.array([row[1] for row in rows]),
    )
    return {"n_rows": len(rows)}


def _vectors(spark: SparkSession, bucket: str, ingest_dates: list[str]) -> DataFrame:
    """Returns the image key, the partition columns, and the features as Spark ML's vectors."""
    # Types are not inferred, because a category may be called 007.
    spark.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
    paths = [lake.uri(bucket, lake.date_prefix(lake.FEATURES, day)) for day in ingest_dates]
    features = spark.read.option("basePath", lake.uri(bucket, f"{lake.FEATURES}/")).parquet(*paths)
    keys = (tables.IMAGE_KEY, tables.INGEST_DATE, tables.CATEGORY)
    return features.select(*keys, array_to_vector(F.col(tables.VECTOR)).alias(_FEATURES))


def _write(projected: DataFrame, bucket: str) -> None:
    """Writes the projections: one file for a partition, a few for a large one."""
    # The hint (which DataFrame.hint can't take columns for) brings a partition's rows together, splits a large one, and
    # joins small ones.
    hint = f"/*+ REBALANCE({', '.join(_PARTITIONED_BY)}) */"
    gathered = projected.sparkSession.sql(f"SELECT {hint} * FROM {{projected}}", projected=projected)  # noqa: S608 - built of our own constants
    gathered.write.mode("overwrite").partitionBy(*_PARTITIONED_BY).parquet(lake.uri(bucket, f"{SPARK_ML_OUTPUT}/"))
