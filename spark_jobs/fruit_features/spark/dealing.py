"""Lets Spark deal out work and bring back short accounts of it: no vector and no file goes through it.

PySpark is loaded where it is used, as a step may need none of it (`session_on_demand`).
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from fruit_features.spark.worker_imports import forget_zip_importers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from pyspark import AccumulatorParam
    from pyspark.sql import SparkSession

Item = TypeVar("Item")
Result = TypeVar("Result")

# Results are looked for at this interval while a job runs. Its end is noticed at once.
_LOOK_SECONDS: Final = 0.2
# What a step does beside its long job must not wait for that job's end, so each pool of jobs gets its share.
_POOL: Final = "spark.scheduler.pool"
_LONG: Final = "long"
_BESIDE: Final = "beside"


def run_tasks(spark: SparkSession, items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """Returns what `work` makes of each item, in their order.

    Each item is one task. The tasks get their share of the slots beside a long job.
    """
    if not items:
        return []
    context = spark.sparkContext
    context.setLocalProperty(_POOL, _BESIDE)

    def call(item: Item) -> Result:
        forget_zip_importers()
        return work(item)

    return context.parallelize(items, len(items)).map(call).collect()


@contextmanager
def warming(spark: SparkSession, n_tasks: int, work: Callable[[], object]) -> Iterator[None]:
    """Lets workers do `work` while the driver is in the context, and waits for them at its end.

    A session's first job waits for Java's classes, for executors and Python's workers, and for what these load. A
    session that has run a job needs no warming. Errors are ignored here, because they come again where the result is
    needed.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark import InheritableThread
    from pyspark.errors import PySparkException

    if spark.sparkContext.statusTracker().getJobIdsForGroup():
        yield
        return

    def call(_: int) -> None:
        # The result stays in the worker.
        work()

    def run() -> None:
        with suppress(Py4JJavaError, PySparkException):
            run_tasks(spark, range(n_tasks), call)

    thread = InheritableThread(target=run, name="warming", daemon=True)
    thread.start()
    yield
    thread.join()


def stream_tasks(
    spark: SparkSession, items: Sequence[Item], work: Callable[[Item, int], Result]
) -> Generator[list[Result]]:
    """Yields what `work` makes of the items, as tasks end. A list has what came since the one before; it may be empty.

    `work` also gets a number that no other attempt at a task of this session has. A task that is tried again counts
    once. Raises what the job raised, after all that came before.
    """
    if not items:
        return
    from pyspark import InheritableThread

    context = spark.sparkContext
    arrived = context.accumulator([], cast("AccumulatorParam[list[Any]]", _ListParam()))

    def call(item: Item) -> None:
        forget_zip_importers()
        arrived.add([work(item, attempt_number())])

    group = f"stream-{uuid.uuid4().hex}"
    failures: list[BaseException] = []
    ended = Event()

    def run() -> None:
        try:
            context.setLocalProperty(_POOL, _LONG)
            context.setJobGroup(group, "the step's own tasks")
            context.parallelize(items, len(items)).foreach(call)
        except BaseException as error:  # noqa: BLE001 - raised again where the results are awaited
            failures.append(error)
        finally:
            ended.set()

    thread = InheritableThread(target=run, name=group, daemon=True)
    thread.start()
    try:
        while not ended.wait(_LOOK_SECONDS):
            yield _take(arrived.value)
        yield _take(arrived.value)
    finally:
        if not ended.is_set():
            context.cancelJobGroup(group)
        thread.join()
    for failure in failures:
        raise failure


def attempt_number() -> int:
    """Returns a number that no other attempt at a task of this session has, or zero outside of tasks."""
    from pyspark import TaskContext

    task = TaskContext.get()
    return 0 if task is None else task.taskAttemptId()


def is_retry() -> bool:
    """Says whether a task was tried before, and so may meet again what ended the attempt before."""
    from pyspark import TaskContext

    task = TaskContext.get()
    return task is not None and task.attemptNumber() > 0


class _ListParam:
    """Adds up lists. Spark needs only these two methods."""

    def zero(self, value: list[Any]) -> list[Any]:  # noqa: ARG002 - the interface's
        return []

    def addInPlace(self, value1: list[Any], value2: list[Any]) -> list[Any]:  # noqa: N802 - the interface's
        value1.extend(value2)
        return value1


def _take(arrived: list[Result]) -> list[Result]:
    """Removes and returns what is in the list. Others may add to its end meanwhile."""
    taken = arrived[: len(arrived)]
    del arrived[: len(taken)]
    return taken
