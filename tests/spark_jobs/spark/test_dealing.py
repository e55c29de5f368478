"""Checks work that real Spark deals out: results come as tasks end, each once, and no error is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from pyspark.errors import PySparkException

from fruit_features.spark import dealing
from fruit_features.spark.dealing import attempt_number, run_tasks, stream_tasks, warming
from local_cloud.stack.java import find_java

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def wait_for(path: Path) -> None:
    for _ in range(1000):
        if path.exists():
            return
        time.sleep(0.02)
    raise TimeoutError(f"{path} does not come.")


def no_stream_threads() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("stream-")]


def test_results_come_in_the_order_of_the_items(spark_session: SparkSession) -> None:
    assert run_tasks(spark_session, [3, 1, 2], lambda item: item * 10) == [30, 10, 20]
    assert run_tasks(spark_session, [], lambda item: item) == []


def test_each_item_is_a_task_of_its_own(spark_session: SparkSession) -> None:
    from pyspark import TaskContext

    partitions = run_tasks(spark_session, list(range(7)), lambda _: TaskContext.get().partitionId())
    assert sorted(partitions) == list(range(7))


def test_every_result_is_streamed_once(spark_session: SparkSession) -> None:
    came = [
        result for some in stream_tasks(spark_session, list(range(25)), lambda item, _: item * 10) for result in some
    ]
    assert sorted(came) == [item * 10 for item in range(25)]
    assert list(stream_tasks(spark_session, [], lambda item, _: item)) == []


def test_results_are_there_before_all_tasks_have_ended(spark_session: SparkSession, tmp_path: Path) -> None:
    """The second task waits for what is done with the first one's result."""
    go_on = tmp_path / "go on"

    def work(item: int, _: int) -> int:
        if item:
            wait_for(go_on)
        return item

    came = []
    for some in stream_tasks(spark_session, [0, 1], work):
        came += some
        if came == [0]:
            go_on.touch()
    assert came == [0, 1]


@pytest.fixture
def first_jobs(spark_session: SparkSession, monkeypatch: pytest.MonkeyPatch) -> list[list[object]]:
    """Returns a list that gets what the workers of a session that has run nothing yet answered while they warmed up."""
    answers: list[list[object]] = []
    monkeypatch.setattr(spark_session.sparkContext, "statusTracker", lambda: SimpleNamespace(getJobIdsForGroup=list))
    monkeypatch.setattr(dealing, "run_tasks", lambda *arguments: answers.append(run_tasks(*arguments)))
    return answers


def test_workers_are_warm_at_the_end_of_what_the_driver_does_meanwhile(
    spark_session: SparkSession, first_jobs, tmp_path: Path
) -> None:
    def load() -> object:
        (tmp_path / str(os.getpid())).touch()
        # What workers load stays there: an engine can't be sent.
        return threading.Lock()

    with warming(spark_session, 2, load):
        pass
    assert list(tmp_path.iterdir())
    assert first_jobs == [[None, None]]


def test_a_session_that_has_run_a_job_is_warm(spark_session: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    run_tasks(spark_session, [1], lambda item: item)
    monkeypatch.setattr(dealing, "run_tasks", lambda *_: pytest.fail("it was warmed up again"))
    with warming(spark_session, 2, list):
        pass


def test_what_fails_while_workers_warm_up_is_left_to_who_needs_it(spark_session: SparkSession, first_jobs) -> None:
    def fail() -> None:
        raise ValueError("no model")

    with warming(spark_session, 2, fail):
        pass
    assert first_jobs == []


def test_no_two_attempts_have_the_same_number(spark_session: SparkSession) -> None:
    def numbers() -> list[int]:
        return [
            number
            for some in stream_tasks(spark_session, list(range(6)), lambda _, attempt: attempt)
            for number in some
        ]

    found = numbers() + numbers()
    assert len(set(found)) == 12
    assert attempt_number() == 0


def test_what_a_task_raised_is_raised_after_what_came_before(spark_session: SparkSession, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"

    def work(item: int, _: int) -> int:
        if item:
            wait_for(go_on)
            raise ValueError("this item can't be done")
        return item

    came = []

    def consume() -> None:
        for some in stream_tasks(spark_session, [0, 1], work):
            came.extend(some)
            if came:
                go_on.touch()

    with pytest.raises(Exception, match="this item can't be done") as raised:
        consume()

    from py4j.protocol import Py4JJavaError

    # What the step catches, to commit what other tasks did.
    assert isinstance(raised.value, (Py4JJavaError, PySparkException))
    assert came == [0]
    assert no_stream_threads()


def test_who_stops_early_ends_the_tasks(spark_session: SparkSession, tmp_path: Path) -> None:
    def work(item: int, _: int) -> int:
        (tmp_path / f"begun {item}").touch()
        if item:
            wait_for(tmp_path / "never")
        return item

    started = time.monotonic()
    streaming = stream_tasks(spark_session, list(range(50)), work)
    while not next(streaming):
        pass
    streaming.close()

    assert time.monotonic() - started < 15
    assert no_stream_threads()
    assert len(list(tmp_path.iterdir())) < 50
    # The session goes on.
    assert run_tasks(spark_session, [1], lambda item: item) == [1]


def test_an_error_where_results_are_used_ends_the_tasks_and_is_raised(
    spark_session: SparkSession, tmp_path: Path
) -> None:
    def consume() -> None:
        for some in stream_tasks(
            spark_session, list(range(50)), lambda item, _: item if not item else wait_for(tmp_path / "never")
        ):
            if some:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()
    assert no_stream_threads()


def test_work_beside_a_long_job_does_not_wait_for_its_end(spark_session: SparkSession, tmp_path: Path) -> None:
    """Whoever deals out the long job may have dealt out others before."""
    beside = tmp_path / "beside"
    run_tasks(spark_session, [1], lambda item: item)

    def work(_: int, __: int) -> bool:
        time.sleep(0.3)
        return beside.exists()

    first = stream_tasks(spark_session, list(range(20)), work)
    came = list(next(first))
    threading.Thread(target=lambda: run_tasks(spark_session, [beside], lambda path: path.touch()), daemon=True).start()

    for some in first:
        came += some

    assert came.count(True) > 10


RETRIED = """
import sys
from pathlib import Path
from pyspark.sql import SparkSession
from fruit_features.spark.dealing import run_tasks, stream_tasks

folder = Path(sys.argv[1])

def work(item, attempt):
    tried = folder / f"tried {item} {attempt}"
    tried.touch()
    if item % 2 and len(list(folder.glob(f"tried {item} *"))) < 3:
        raise ValueError("not yet")
    return item, attempt

spark = SparkSession.builder.getOrCreate()
came = [result for some in stream_tasks(spark, list(range(6)), work) for result in some]
assert sorted(item for item, _ in came) == list(range(6)), came
tried = [path.name.split()[1:] for path in folder.iterdir()]
assert len(tried) == 3 * 3 + 3, tried
assert len({attempt for _, attempt in tried}) == len(tried), tried
assert all((folder / f"tried {item} {attempt}").exists() for item, attempt in came)
assert run_tasks(spark, [5], lambda item: work(item, 99)) == [(5, 99)]
print("each once")
"""


def test_a_task_that_is_tried_again_counts_once(tmp_path: Path) -> None:
    """A session in this process tries a task once; a cluster's tries it four times."""
    (tmp_path / "tried").mkdir()
    (tmp_path / "retried.py").write_text(RETRIED, encoding="utf-8")
    (tmp_path / "spark-defaults.conf").write_text(
        "spark.master local[2,4]\nspark.ui.enabled false\nspark.driver.memory 512m\n", encoding="utf-8"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "JAVA_HOME": str(find_java()),
        "SPARK_CONF_DIR": str(tmp_path),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }
    done = subprocess.run(
        [sys.executable, tmp_path / "retried.py", tmp_path / "tried"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "each once" in done.stdout
