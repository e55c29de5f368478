"""Writes to the lake every few seconds how far the features step has come, in a thread of the driver.

Workers count what they finish in Spark accumulators, which reach the driver with each task's end at no cost. An error
here is logged once and never fails the step.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from fruit_contract import tables
from fruit_contract.progress import StepProgress, StepState

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    import pyarrow as pa
    from pyspark import Accumulator, SparkContext

EVERY_SECONDS: Final = 5.0
# A rate over a shorter time would jump with every task's end.
_RATE_WINDOW_SECONDS: Final = 60.0
# A store that does not answer must not hold up a step that is done.
_PATIENCE_SECONDS: Final = 10.0


@dataclass(frozen=True)
class ImageCounters:
    """Holds what workers count. Spark adds it up when their tasks end."""

    done: Accumulator[int]
    rejected: Accumulator[int]

    @classmethod
    def of(cls, context: SparkContext) -> ImageCounters:
        return cls(context.accumulator(0), context.accumulator(0))

    def count(self, results: pa.RecordBatch) -> None:
        """Counts a record batch of `featurise`'s results in the worker. Only rejects have a reason."""
        self.done.add(results.num_rows)
        self.rejected.add(results.num_rows - results.column(tables.REASON).null_count)


class RecentRate:
    """Measures images a second over the minute before the last news, or since the beginning if that is shorter.

    Images are counted a task at a time, so the time since the last news is left out: the wait for the next task's end
    would look like a slower rate.
    """

    def __init__(self, began: float) -> None:
        self._news = deque([(began, 0)])

    def look(self, now: float, done: int) -> float | None:
        """Returns the rate, or None while no image is done. `now` (seconds) and `done` (images) must never decrease."""
        if done > self._news[-1][1]:
            self._news.append((now, done))
            # What remains is the last minute's news and one from before it.
            while now - self._news[1][0] >= _RATE_WINDOW_SECONDS:
                self._news.popleft()
        (first, first_done), (last, last_done) = self._news[0], self._news[-1]
        return (last_done - first_done) / (last - first) if last > first else None


class ProgressReporter:
    """Passes the step's progress to `write` every few seconds, at each change of its state, and at its end.

    It is a context. `write` is called by one thread, which nobody waits for except for some seconds at the end.
    """

    def __init__(
        self,
        counters: ImageCounters,
        run_id: str,
        step: str,
        write: Callable[[StepProgress], None],
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self.counters = counters
        self._run_id = run_id
        self._step = step
        self._write = write
        self._every_seconds = every_seconds
        self._lock = threading.Lock()
        self._state = StepState.LISTING
        self._total = 0
        self._began = time.monotonic()
        self._rate = RecentRate(self._began)
        # Holds when all images were computed, and how many of them were rejected, which is known exactly then.
        self._computed: tuple[float, int] | None = None
        self._complained = False
        self._is_over = False
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._state = StepState.DONE if kind is None else self._state
            self._is_over = True
        self._news.set()
        self._thread.join(_PATIENCE_SECONDS)

    def computing(self, total: int) -> None:
        """Says that the images are known, and that their computation begins."""
        with self._lock:
            self._state, self._total, self._began = StepState.COMPUTING, total, time.monotonic()
            self._rate = RecentRate(self._began)
        self._news.set()

    def writing(self) -> None:
        """Says that all images are computed."""
        with self._lock:
            self._state, self._computed = (
                StepState.WRITING,
                (time.monotonic(), min(self.counters.rejected.value, self._total)),
            )
        self._news.set()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            with self._lock:
                is_over, progress = self._is_over, self._progress()
            try:
                self._write(progress)
            except Exception as error:  # noqa: BLE001 - a step is worth more than the news of it
                self._complain(error)
            if not is_over:
                self._news.wait(self._every_seconds)
                self._news.clear()

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            print(f"Progress can't be written, the step goes on without it: {error}", flush=True)
        self._complained = True

    def _progress(self) -> StepProgress:
        now = time.monotonic()
        if self._computed is None:
            done = min(self.counters.done.value, self._total)
            rejected = min(self.counters.rejected.value, done)
            seconds = now - self._began
            rate = self._rate.look(now, done)
        else:
            done = self._total
            computed_at, rejected = self._computed
            seconds = computed_at - self._began
            rate = done / seconds if done else None
        return StepProgress(
            run_id=self._run_id,
            step=self._step,
            state=self._state,
            total=self._total,
            done=done,
            rejected=rejected,
            images_per_second=None if rate is None else round(rate, 1),
            seconds=round(seconds, 1),
            updated_at=datetime.now(UTC),
        )
