"""Runs inside a measured way's process: `python -m benchmarks.harness.way_worker <module>` answers requests with the
module's functions.

A request is a line of JSON on stdin, `{"do": <function>, ...arguments}`; its answer is a line of JSON on stdout. The
module is imported by its name and is not this program's `__main__`, so that what it keeps in a Spark worker stays from
task to task.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time

import psutil

from benchmarks.harness.memory import WORKER, kind_of, peak_megabytes


def seconds_since_process_start() -> float:
    """Returns how long this process has lived, including the start of Python and the imports."""
    return time.time() - psutil.Process().create_time()


def peak_spark_worker_megabytes() -> float | None:
    """Returns the largest resident memory that any living Spark Python worker of this process has had, as the kernel
    counts it. Returns None if there is no worker, or if this is not Linux.
    """
    peaks = []
    for process in psutil.Process().children(recursive=True):
        try:
            if kind_of(process) == WORKER:
                peaks.append(peak_megabytes(process.pid))
        except (psutil.Error, OSError):
            continue
    return max(peaks) if peaks else None


def main() -> None:
    # Whatever Spark, Java and TensorFlow print goes to stderr, which is the log. Only answers go to the real stdout.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    way = importlib.import_module(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(way, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
