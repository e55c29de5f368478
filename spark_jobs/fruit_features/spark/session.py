"""Starts the Spark session that the steps use, with what they rely on in it. PySpark is loaded with it: a step without
one is quicker.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import SparkSession

# One worker a core: a worker's own threads would fight with its neighbours.
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_SETTINGS: Final = {
    # What a step does beside its long job (files written again) gets a share of the slots, instead of waiting for that
    # one's end.
    "spark.scheduler.mode": "FAIR",
    "spark.sql.session.timeZone": "UTC",
}


def start_session(step: str) -> SparkSession:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName(step)
    for variable in _ONE_THREAD:
        builder = builder.config(f"spark.executorEnv.{variable}", "1")
    for name, value in _SETTINGS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    # A step's log is read by people who look for what went wrong.
    spark.sparkContext.setLogLevel("WARN")
    return spark


@contextmanager
def session_on_demand(step: str) -> Iterator[Callable[[], SparkSession]]:
    """A context whose value gives the step's session. It is started when it is first asked for, and stopped at the end.

    A step whose driver does all of its work never waits for one: on a cluster that is an application of YARN's less.
    """
    started: list[SparkSession] = []

    def session() -> SparkSession:
        if not started:
            started.append(start_session(step))
        return started[0]

    try:
        yield session
    finally:
        for spark in started:
            spark.stop()


def task_slots(spark: SparkSession) -> int:
    """Returns how many tasks run at once, as far as the driver knows now."""
    return max(1, int(spark.sparkContext.defaultParallelism))
