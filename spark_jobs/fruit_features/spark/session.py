"""Starts the Spark session of a step, with the settings that the steps rely on.

PySpark is loaded with the session, because a step that needs none is quicker without it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import SparkSession

# There is one worker a core, so a worker's own threads would compete with its neighbours.
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_SETTINGS: Final = {
    # What a step does beside its long job (rewriting files) gets a share of the slots, and need not wait for the job's
    # end.
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
    # People read a step's log to find what went wrong.
    spark.sparkContext.setLogLevel("WARN")
    return spark


@contextmanager
def session_on_demand(step: str) -> Iterator[Callable[[], SparkSession]]:
    """Yields a function that returns the step's session, which starts at the first call and stops with the context.

    A step whose driver does all of its work never waits for a session, and starts no application of YARN on a cluster.
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
