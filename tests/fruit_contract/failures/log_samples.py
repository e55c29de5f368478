"""Holds logs as EMR, YARN, Spark 3.5, pip and our own steps write them, and the error that is picked out of each."""

from __future__ import annotations

from fruit_contract.failures.error_text import FoundError, find_error

STAMP = "26/11/25 12:58:46"
CHATTER = "".join(
    f"{STAMP} INFO TaskSetManager: Finished task {n}.0 in stage 1.0 (TID {n}) in 12 ms on ip-10-0-0-7\n"
    for n in range(50)
)
JAVA_FRAMES = "".join(
    f"\tat org.apache.spark.scheduler.DAGScheduler.frame{n}(DAGScheduler.scala:{n})\n" for n in range(30)
)
LIBRARY = "/opt/fruits/venv/lib/python3.11/site-packages"
DRIVER_FRAMES = f"""Traceback (most recent call last):
  File "/mnt/tmp/spark-1/extract_features.py", line 57, in <module>
    main()
  File "/mnt/tmp/spark-1/library.zip/fruit_features/extraction.py", line 61, in extract_features
    outcomes = _count_outcomes(results)
  File "/usr/lib/spark/python/lib/pyspark.zip/pyspark/sql/dataframe.py", line 1263, in collect
  File "{LIBRARY}/py4j/java_gateway.py", line 1322, in __call__
"""
WORKER_TRACEBACK = """Traceback (most recent call last):
  File "/usr/lib/spark/python/lib/pyspark.zip/pyspark/worker.py", line 1247, in main
  File "./library.zip/fruit_features/featurise.py", line 131, in featurise
    return engine.run(pixels)
"""
EXITED = "org.apache.spark.SparkUserAppException: User application exited with 1"


def aborted(reason: str, after: str = "") -> str:
    """Returns what a driver prints when a stage failed for `reason`."""
    return (
        f"{DRIVER_FRAMES}py4j.protocol.Py4JJavaError: An error occurred while calling o88.collectToPython.\n"
        ": org.apache.spark.SparkException: Job aborted due to stage failure: Task 7 in stage 3.0 failed 4 times, most "
        "recent failure: "
        f"Lost task 7.3 in stage 3.0 (TID 99) (ip-10-0-0-7.eu-west-1.compute.internal executor 2): {reason}\n{after}\n"
        f"Driver stacktrace:\n{JAVA_FRAMES}"
    )


def chain(first: str, link: str, second: str) -> str:
    frames = 'Traceback (most recent call last):\n  File "job.py", line 1, in <module>\n    main()\n'
    return f"{frames}{first}\n\n{link}\n\n{frames}{second}\n"


HANDLING = "During handling of the above exception, another exception occurred:"
RAISED_FROM = "The above exception was the direct cause of the following exception:"


def found_in(**logs: str) -> FoundError:
    found = find_error(logs)
    assert found is not None
    return found
