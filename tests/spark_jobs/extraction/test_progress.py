"""Checks the features step's news of itself: real Spark's workers count, it is written while the step runs, and no step
fails for it.
"""

from __future__ import annotations

import itertools
import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract import lake, release
from fruit_contract.progress import StepProgress, StepState
from fruit_features.extraction import step as extraction
from fruit_features.extraction.progress import ImageCounters, ProgressReporter, RecentRate
from fruit_features.extraction.step import BooksError, ExtractionRequest, extract_features
from fruit_features.lake.store import Store
from fruit_pipeline.progress.tracking import parse_progress
from tests.spark_jobs.lake_folder import RELEASE, LakeFolder, jpeg

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import SparkSession

DAY = "2026-11-22"
RUN_ID = "manual__2026-11-22T00:00:00+00:00"
STEP = release.EXTRACT_FEATURES_STEP


def request(published: LakeFolder) -> ExtractionRequest:
    return ExtractionRequest(published.bucket, RELEASE, RUN_ID, (DAY,), (), "litert")


def progress_in(published: LakeFolder) -> dict[str, Any]:
    return dict(json.loads((published.folder / lake.progress_key(RUN_ID, STEP)).read_bytes()))


def counters(done: int = 0, rejected: int = 0) -> Any:
    """Returns counters like ImageCounters, without Spark."""
    return SimpleNamespace(done=SimpleNamespace(value=done), rejected=SimpleNamespace(value=rejected))


def soon(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 5 seconds")


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> list[StepProgress]:
    """Returns a list that gets what a step reports, at very short intervals."""
    seen: list[StepProgress] = []

    def reporter(spark: SparkSession, store: Store, asked: ExtractionRequest) -> ProgressReporter:
        return ProgressReporter(
            ImageCounters.of(spark.sparkContext), asked.run_id, STEP, seen.append, every_seconds=0.02
        )

    monkeypatch.setattr(extraction, "_progress_reporter", reporter)
    return seen


@pytest.mark.spark
def test_a_run_leaves_its_whole_progress_in_the_lake(spark: SparkSession, published: LakeFolder) -> None:
    images = {f"Kiwi/{index}.jpg": jpeg(index) for index in range(10)}
    published.deliver(DAY, images | {"Kiwi/text.jpg": b"I am not an image", "Lemon/empty.jpg": b""})

    extract_features(spark, request(published))

    progress = progress_in(published)
    assert progress.keys() == {
        "run_id", "step", "state", "total", "done", "rejected", "images_per_second", "seconds", "updated_at",
    }  # fmt: skip
    assert (progress["run_id"], progress["step"], progress["state"]) == (RUN_ID, STEP, StepState.DONE)
    assert (progress["total"], progress["done"], progress["rejected"]) == (12, 12, 2)
    assert progress["images_per_second"] > 0
    assert progress["updated_at"].endswith("+00:00")


@pytest.mark.spark
def test_a_run_without_new_images_is_done_at_once(spark: SparkSession, published: LakeFolder) -> None:
    published.deliver(DAY, {})
    extract_features(spark, request(published))
    progress = progress_in(published)
    assert (progress["state"], progress["total"], progress["images_per_second"]) == (StepState.DONE, 0, None)


@pytest.mark.spark
def test_progress_grows_while_the_workers_compute(
    spark: SparkSession, published: LakeFolder, snapshots: list[StepProgress]
) -> None:
    """Every third image is no image, so that rejects grow, too."""
    published.deliver(DAY, {f"Kiwi/{index:03}.jpg": jpeg(index) if index % 3 else b"no" for index in range(400)})

    extract_features(spark, request(published))

    assert [state for state, _ in itertools.groupby(snapshot.state for snapshot in snapshots)] == list(StepState)
    done = [snapshot.done for snapshot in snapshots]
    rejected = [snapshot.rejected for snapshot in snapshots]
    assert done == sorted(done)
    assert rejected == sorted(rejected)
    under_way = {snapshot.done for snapshot in snapshots if snapshot.state == StepState.COMPUTING}
    assert len(under_way - {0, 400}) >= 2
    assert (done[-1], rejected[-1]) == (400, 134)
    assert all(snapshot.images_per_second for snapshot in snapshots if snapshot.done)


@pytest.mark.spark
def test_a_lake_that_takes_no_news_does_not_fail_the_step(
    spark: SparkSession, published: LakeFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published.deliver(DAY, {f"Kiwi/{index}.jpg": jpeg(index) for index in range(3)})

    write_json = Store.write_json

    def refuse_news(store: Store, key: str, value: Any) -> None:
        if key == lake.progress_key(RUN_ID, STEP):
            raise OSError("the lake is closed")
        write_json(store, key, value)

    monkeypatch.setattr(Store, "write_json", refuse_news)
    summary = extract_features(spark, request(published))

    assert summary["images_computed"] == 3
    assert capsys.readouterr().out.count("the lake is closed") == 1


@pytest.mark.spark
def test_a_step_that_fails_leaves_how_far_it_had_come(
    spark: SparkSession, published: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.deliver(DAY, {f"Kiwi/{index}.jpg": jpeg(index) for index in range(3)})

    def unbalanced(_: object) -> None:
        raise BooksError("no")

    monkeypatch.setattr(extraction, "check_books", unbalanced)
    with pytest.raises(BooksError):
        extract_features(spark, request(published))
    assert (progress_in(published)["state"], progress_in(published)["done"]) == (StepState.WRITING, 3)


def test_airflow_understands_every_state_that_is_written() -> None:
    seen: list[StepProgress] = []
    counted = counters(3, 1)
    with ProgressReporter(counted, RUN_ID, STEP, seen.append, 0.01) as reporter:
        soon(lambda: bool(seen))
        reporter.computing(10)
        soon(lambda: seen[-1].state == StepState.COMPUTING)
        counted.rejected.value = 2
        reporter.writing()
        soon(lambda: seen[-1].state == StepState.WRITING)
    understood = [parse_progress(json.dumps(said.to_json()).encode()) for said in seen]
    assert None not in understood
    assert {progress.state for progress in understood if progress} == set(StepState)
    last = understood[-1]
    assert last
    assert (last.run_id, last.total, last.done, last.rejected) == (RUN_ID, 10, 10, 2)


def test_the_end_is_written_at_once_however_long_the_pause() -> None:
    seen: list[StepProgress] = []
    started = time.monotonic()
    with ProgressReporter(counters(), RUN_ID, STEP, seen.append, every_seconds=60) as reporter:
        reporter.computing(1)
    assert seen[-1].state == StepState.DONE
    assert time.monotonic() - started < 5


def test_a_failure_keeps_the_last_state() -> None:
    seen: list[StepProgress] = []

    def fail() -> None:
        with ProgressReporter(counters(4, 1), RUN_ID, STEP, seen.append, every_seconds=60) as reporter:
            reporter.computing(10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (seen[-1].state, seen[-1].done, seen[-1].rejected) == (StepState.COMPUTING, 4, 1)


def test_a_store_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fruit_features.extraction.progress._PATIENCE_SECONDS", 0.1)
    started = time.monotonic()
    with ProgressReporter(counters(), RUN_ID, STEP, lambda _: time.sleep(3), every_seconds=60):
        pass
    assert time.monotonic() - started < 2


def test_a_rate_is_that_of_the_last_minute_of_news() -> None:
    rate = RecentRate(began=0)
    assert rate.look(5, 0) is None
    assert rate.look(10, 100) == 10
    # No news since: the same, for the next task may end in a moment.
    assert rate.look(25, 100) == 10
    assert rate.look(40, 400) == 10
    # Twice as fast from here on.
    assert rate.look(70, 1000) == pytest.approx(900 / 60)
    assert rate.look(100, 1600) == pytest.approx(1200 / 60)


@given(st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 1000)), max_size=60))
def test_a_rate_lies_between_the_slowest_and_the_fastest_stretch(steps: list[tuple[float, int]]) -> None:
    rate = RecentRate(began=0)
    now, done, news = 0.0, 0, [(0.0, 0)]
    for seconds, images in steps:
        now, done = now + seconds, done + images
        result = rate.look(now, done)
        if images:
            news.append((now, done))
        assert (result is None) == (done == 0)
        if result is not None:
            stretches = [(after[1] - before[1]) / (after[0] - before[0]) for before, after in itertools.pairwise(news)]
            assert min(stretches) * (1 - 1e-9) <= result <= max(stretches) * (1 + 1e-9)
