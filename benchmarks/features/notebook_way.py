"""Does what the notebook does: binaryFile, repartition, Keras `predict` in a pandas UDF with broadcast weights, and
Parquet (see way_worker.py).

The comparison is fair to it: no action is computed twice, and `predict` gets its best inference batch.
"""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from PIL import Image
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark reader knows
from pyspark.sql.pandas.functions import PandasUDFType, pandas_udf

from benchmarks.harness.way_worker import peak_spark_worker_megabytes, seconds_since_process_start
from fruit_contract import lake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray
    from pyspark import Broadcast

    Weights = list[NDArray[np.float32]]

OUTPUT: Final = "notebook"
NETWORK_SIDE: Final = 224
# This is the best of 16, 32, 64 and 128 (README.md); Keras takes 32 by default.
PREDICT_BATCH: Final = 64
_kept: dict[str, Any] = {}


def start(tensors: str, rows_at_once: int) -> dict[str, Any]:
    """Starts the session and broadcasts the weights in the file `tensors`. A pandas series has `rows_at_once` rows."""
    from fruit_cli.release.export import keras_network

    spark = (
        SparkSession.builder.appName("notebook_way")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", str(rows_at_once))
        .getOrCreate()
    )
    with np.load(tensors) as stored:
        weights = keras_network(dict(stored)).get_weights()
    _kept["weights"] = spark.sparkContext.broadcast(weights)
    return {"seconds": seconds_since_process_start()}


def run(bucket: str, ingest_date: str, n_partitions: int, *, keep_network: bool) -> dict[str, Any]:
    """Reads, featurises and writes the date's images. `keep_network` keeps the network from task to task, which the
    notebook itself does not.
    """
    spark = SparkSession.builder.getOrCreate()
    featurise = pandas_udf(
        _featuriser(_kept["weights"], keep_network=keep_network), "array<float>", PandasUDFType.SCALAR_ITER
    )
    started = time.monotonic()
    images = (
        spark.read.format("binaryFile")
        .option("recursiveFileLookup", "true")
        .load(lake.uri(bucket, lake.raw_prefix(ingest_date)))
    )
    label = F.element_at(F.split("path", "/"), -2).alias("label")
    features = images.repartition(n_partitions).select("path", label, featurise("content").alias("features"))
    output = lake.uri(bucket, lake.date_prefix(OUTPUT, ingest_date))
    features.write.mode("overwrite").parquet(output)
    seconds = time.monotonic() - started
    return {
        "seconds": seconds,
        "n_images": spark.read.parquet(output).count(),
        "worker_megabytes": peak_spark_worker_megabytes(),
    }


def _featuriser(
    weights: Broadcast[Weights], *, keep_network: bool
) -> Callable[[Iterable[Any]], Iterator[pd.Series[Any]]]:
    def featurise(contents: Iterable[Any]) -> Iterator[pd.Series[Any]]:
        network = _kept_network(weights) if keep_network else _network(weights)
        for series in contents:
            images = np.stack(series.map(_preprocess).tolist())
            yield pd.Series(list(network.predict(images, batch_size=PREDICT_BATCH, verbose=0)))

    return featurise


def _network(weights: Broadcast[Weights]) -> Any:
    from keras.applications import MobileNetV2

    network = MobileNetV2(include_top=False, weights=None, pooling="avg", input_shape=(NETWORK_SIDE, NETWORK_SIDE, 3))
    network.set_weights(weights.value)
    return network


def _kept_network(weights: Broadcast[Weights]) -> Any:
    if "network" not in _kept:
        _kept["network"] = _network(weights)
    return _kept["network"]


def _preprocess(content: bytes) -> NDArray[np.float32]:
    from keras.applications.mobilenet_v2 import preprocess_input

    image = Image.open(io.BytesIO(content)).convert("RGB").resize((NETWORK_SIDE, NETWORK_SIDE))
    return np.asarray(preprocess_input(np.asarray(image, dtype=np.float32)))
