"""Does the features step: lists images, computes the new ones, writes files as it goes, and commits each date."""

from __future__ import annotations

import time
import uuid
from collections import Counter, defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from fruit_contract import lake, release, tables
from fruit_contract.books import COLUMNS, Books, unbalanced
from fruit_contract.increments import Fate
from fruit_contract.summaries import SUMMARY_SCHEMA_VERSION, ExtractionSummary
from fruit_features.embedding.artefact import find_embedder, load_embedder
from fruit_features.extraction.committing import DateCommits
from fruit_features.extraction.date_work import plan_dates
from fruit_features.extraction.known_contents import find_sources
from fruit_features.extraction.progress import ImageCounters, ProgressReporter
from fruit_features.extraction.rejects import FEWEST_IMAGES, RejectWatch, UnusualRejectsError
from fruit_features.extraction.task import SOURCE, FeaturesTask, by_source, to_stream
from fruit_features.lake import files
from fruit_features.lake.commit import projected_versions
from fruit_features.lake.store import LISTED, Store
from fruit_features.spark.dealing import stream_tasks, warming
from fruit_features.spark.session import task_slots
from fruit_features.spark.stopwatch import Stopwatch
from fruit_features.spark.task_planning import plan_tasks, spread
from fruit_features.takeover import take_over

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pyspark.sql import SparkSession

    from fruit_contract.progress import StepProgress
    from fruit_features.embedding.artefact import EmbedderArtefact
    from fruit_features.extraction.date_work import DateWork
    from fruit_features.extraction.task import TaskAccount

# A time-out or a lost cluster costs at most this much work.
COMMIT_EVERY_SECONDS: Final = 180.0
# Commits mostly wait for the store. Each holds some 30 MB of moments, as does a date whose moments are merged ahead.
_COMMITS_AT_ONCE: Final = 8
_REJECTS_IN_SUMMARY: Final = 100


class BooksError(RuntimeError):
    """Raised if some listed images did not end in exactly one place."""


@dataclass(frozen=True)
class ExtractionRequest:
    """Says what one features step is asked for. No categories means all of them."""

    bucket: str
    release_id: str
    run_id: str
    ingest_dates: tuple[str, ...]
    categories: tuple[str, ...]
    engine: str
    retry_rejected: bool = False
    accept_rejects: bool = False
    task_slots: int | None = None
    release_folder: Path | None = None
    commit_every_seconds: float = COMMIT_EVERY_SECONDS


def extract_features(spark: SparkSession, request: ExtractionRequest) -> ExtractionSummary:
    """Does the step and returns its summary, as `runs/_steps/<run_id>/extract_features.json` holds it.

    Raises BooksError if an image would end in no place or in two, UnusualRejectsError if so many are rejected that
    nothing more should be committed, and what a task or the store raises. What was committed before stays.
    """
    watch = Stopwatch()
    store = Store(request.bucket)
    embedder = find_embedder(store, request.release_id, request.engine, request.release_folder)
    with _progress_reporter(spark, store, request) as progress:
        return _Extraction(spark, store, embedder, request, progress, watch).run()


def check_books(books: Books) -> None:
    """Raises BooksError unless listed = new + unchanged + reused = featurised + rejected in each date and category."""
    for complaint in unbalanced(books):
        raise BooksError(
            f"{complaint} What is not in the ledger counts as new in the next run. This is a defect of the step, "
            "please report it."
        )


@dataclass
class _Extraction:
    """Holds a step under way. The names of its files begin with `write`."""

    spark: SparkSession
    store: Store
    embedder: EmbedderArtefact
    request: ExtractionRequest
    progress: ProgressReporter
    watch: Stopwatch
    write: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    rejects: RejectWatch = field(default_factory=RejectWatch)
    n_waited_for: int = 0

    def __post_init__(self) -> None:
        self.n_slots = self.request.task_slots or task_slots(self.spark)

    def run(self) -> ExtractionSummary:
        request = self.request
        with warming(self.spark, self.n_slots, partial(load_embedder, self.embedder)):
            plans = self._plan(request.ingest_dates)
        earlier = [plan.ingest_date for plan in plans if plan.has_earlier_ledger]
        if earlier:
            take_over(lambda: self.spark, self.store, earlier)
            planned = {plan.ingest_date: plan for plan in self._plan(earlier)}
            plans = [planned.get(plan.ingest_date, plan) for plan in plans]
        touched = [plan for plan in plans if plan.is_touched]
        images = pa.concat_tables([plan.images for plan in touched]) if touched else LISTED.empty_table()
        self.watch.mark("list")
        images = images.append_column(
            SOURCE, pa.array(find_sources(self.store, self.embedder.embedder_id, images), pa.string())
        )
        self.watch.mark("find_known_contents")
        n_known = images.num_rows - images.column(SOURCE).null_count
        print(
            f"{images.num_rows:,} new images in {len(touched)} of {len(plans)} ingest dates: {n_known:,} look like "
            f"content that is featurised already, {images.num_rows - n_known:,} to compute with {request.engine}.",
            flush=True,
        )
        commits = {
            plan.ingest_date: DateCommits(self.spark, self.store, self.embedder.embedder_id, self.write, plan)
            for plan in touched
        }
        self.progress.computing(images.num_rows)
        compute_seconds = self._compute(images, commits)
        books = {plan.ingest_date: _books(plan, commits.get(plan.ingest_date), request.categories) for plan in plans}
        check_books(books)
        return self._summary(plans, commits, books, compute_seconds)

    def _plan(self, ingest_dates: Sequence[str]) -> list[DateWork]:
        request = self.request
        versions = projected_versions(self.store)
        embedder_id = self.embedder.embedder_id
        return plan_dates(
            self.store, ingest_dates, embedder_id, request.categories, versions, retry_rejected=request.retry_rejected
        )

    def _compute(self, images: pa.Table, commits: Mapping[str, DateCommits]) -> float:
        """Computes the images and commits the dates meanwhile, and returns how many seconds the computing took.

        A date is committed when it is done, and every few minutes as far as it has come.
        """
        self.n_waited_for = images.num_rows
        tasks = list(_tasks(by_source(images), self.n_slots))
        work = FeaturesTask(self.embedder, self.write, self.progress.counters)
        committed_at = time.monotonic()
        # If something fails, the commits that have begun still go on to their end, so that what was computed is kept.
        with ThreadPoolExecutor(_COMMITS_AT_ONCE, thread_name_prefix="commit") as threads:
            under_way = _Commits(threads)
            # A date without images to compute needs a commit because something has left it.
            ready = [date for date in commits.values() if date.is_complete]
            try:
                # If something fails here, the stream is closed at once, so that the job does not go on.
                with closing(stream_tasks(self.spark, tasks, work)) as arriving:
                    for accounts in arriving:
                        ready += self._take(accounts, commits)
                        for date in [date for date in commits.values() if date.has_pending and not date.is_complete][
                            :_COMMITS_AT_ONCE
                        ]:
                            date.merge_ahead()
                        if self._may_commit():
                            if time.monotonic() - committed_at > self.request.commit_every_seconds:
                                ready += [
                                    date for date in commits.values() if date.has_pending and not date.is_complete
                                ]
                                committed_at = time.monotonic()
                            under_way.begin(ready)
                            ready = []
            except (Py4JJavaError, PySparkException):
                # A task has failed for good. What others did need not be done again.
                if self._may_commit():
                    under_way.begin([date for date in commits.values() if date.has_pending])
                raise
            seconds = self.watch.mark("compute")
            self.progress.writing()
            self._may_commit()
            under_way.begin(ready)
        under_way.raise_what_failed()
        self.watch.mark("commit")
        return seconds

    def _take(self, accounts: Sequence[TaskAccount], commits: Mapping[str, DateCommits]) -> list[DateCommits]:
        """Passes to each date what tasks did of it, and returns the dates that have become complete."""
        complete = []
        for account in accounts:
            rows = account.table()
            self.n_waited_for -= rows.num_rows
            for ingest_date, own in _by_date(rows):
                date = commits[ingest_date]
                self.rejects.add(own, date.plan.changed)
                date.add(own, [part for part in account.parts if part.ingest_date == ingest_date])
                if date.is_complete:
                    complete.append(date)
        return complete

    def _may_commit(self) -> bool:
        """Says whether enough images were seen to commit. Raises UnusualRejectsError if too many were rejected."""
        if self.n_waited_for and self.rejects.n_seen < FEWEST_IMAGES:
            return False
        complaint = None if self.request.accept_rejects else self.rejects.complaint()
        if complaint:
            raise UnusualRejectsError(
                f"{complaint} That is unusual, so nothing more was committed. Look at some of these images, and at "
                "what has changed in the release; if they are to be rejected all the same, run again with 'Accept many "
                "rejected images' (`accept_rejects`)."
            )
        return True

    def _summary(
        self, plans: Sequence[DateWork], commits: Mapping[str, DateCommits], books: Books, compute_seconds: float
    ) -> ExtractionSummary:
        request = self.request
        rejects_by_date = {
            plan.ingest_date: _rejected(plan, commits.get(plan.ingest_date), request.categories) for plan in plans
        }
        by_date = {day: Counter(rows.column(tables.REASON).to_pylist()) for day, rows in rejects_by_date.items()}
        listed = pa.concat_tables([rows.slice(0, _REJECTS_IN_SUMMARY) for rows in rejects_by_date.values()])
        n_reused = sum(date.n_reused.total() for date in commits.values())
        n_computed = sum(plan.images.num_rows for plan in plans if plan.is_touched) - n_reused
        return {
            "schema_version": SUMMARY_SCHEMA_VERSION,
            "step": release.EXTRACT_FEATURES_STEP,
            "run_id": request.run_id,
            "release": request.release_id,
            "embedder_id": self.embedder.embedder_id,
            "engine": request.engine,
            "ingest_dates": list(request.ingest_dates),
            "touched_ingest_dates": list(commits),
            "by_category": books,
            "rejects": listed.select([tables.IMAGE_KEY, tables.REASON, tables.DETAIL])
            .slice(0, _REJECTS_IN_SUMMARY)
            .to_pylist(),
            "rejected_by_reason": dict(sum(by_date.values(), Counter())),
            "rejected_by_reason_by_date": {day: dict(counts) for day, counts in by_date.items()},
            "images_computed": n_computed,
            "images_per_second": round(n_computed / compute_seconds, 1) if n_computed else None,
            "timings_seconds": self.watch.finish(),
        }


class _Commits:
    """Commits dates side by side in `threads`, one commit of a date at a time."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._under_way: dict[str, Future[None]] = {}

    def begin(self, dates: Sequence[DateCommits]) -> None:
        """Begins to commit what these dates have pending. Raises what an earlier commit has raised."""
        self.raise_what_failed()
        for date in dates:
            before = self._under_way.get(date.plan.ingest_date)
            if before is not None:
                before.result()
            self._under_way[date.plan.ingest_date] = self._threads.submit(date.next_commit())

    def raise_what_failed(self) -> None:
        """Raises what a commit that has ended has raised, if one has."""
        for commit in self._under_way.values():
            if commit.done():
                commit.result()


def _progress_reporter(spark: SparkSession, store: Store, request: ExtractionRequest) -> ProgressReporter:
    step = release.EXTRACT_FEATURES_STEP
    key = lake.progress_key(request.run_id, step)

    def write(progress: StepProgress) -> None:
        store.write_json(key, progress.to_json())

    return ProgressReporter(ImageCounters.of(spark.sparkContext), request.run_id, step, write)


def _tasks(images: pa.Table, n_slots: int) -> Iterator[bytes]:
    """Yields what each task is sent: its images as an Arrow stream of IMAGES."""
    for task in spread(plan_tasks(images.column(tables.SIZE_BYTES).to_pylist(), n_slots), n_slots):
        yield to_stream(images.slice(task.start, len(task)))


def _by_date(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yields each date in these rows, with its rows."""
    dates = pa.array([lake.ingest_date_of(key) for key in rows.column(tables.IMAGE_KEY).to_pylist()], pa.string())
    for ingest_date in pc.unique(dates).to_pylist():
        yield ingest_date, rows.filter(pc.equal(dates, ingest_date))


def _in_scope(plan: DateWork, date: DateCommits | None, categories: Sequence[str]) -> pa.Table:
    """Returns the date's rows in the chosen categories, as the ledger has them now."""
    rows = (date or plan).ledger.rows
    return (
        rows.filter(pc.is_in(rows.column(tables.CATEGORY), pa.array(categories, pa.string()))) if categories else rows
    )


def _rejected(plan: DateWork, date: DateCommits | None, categories: Sequence[str]) -> pa.Table:
    return files.rejected_rows(_in_scope(plan, date, categories))


def _books(plan: DateWork, date: DateCommits | None, categories: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns the books of each category of a date.

    The plan says what was listed, and the ledger as it is now says where it ended.
    """
    books: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    for fate, counts in plan.counts.items():
        for category, count in counts.items():
            if fate in (Fate.NEW, Fate.CHANGED, Fate.UNCHANGED):
                books[category]["listed"] += count
                books[category]["unchanged" if fate is Fate.UNCHANGED else "new"] += count
            elif fate is Fate.REMOVED:
                books[category]["removed"] += count
    for category, count in (date.n_reused if date else Counter()).items():
        books[category]["reused"] += count
        books[category]["new"] -= count
    ends = _in_scope(plan, date, categories).group_by([tables.CATEGORY, tables.STATUS]).aggregate([([], "count_all")])
    for found in ends.to_pylist():
        books[found[tables.CATEGORY]][found[tables.STATUS]] += found["count_all"]
    return dict(sorted(books.items()))
