"""Lets a test run the steps without a Spark session: their tasks are done in its own process, one after another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fruit_features import takeover
from fruit_features.extraction import committing
from fruit_features.extraction import step as extraction_step
from fruit_features.moments import of_files
from fruit_features.pca import projecting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pytest


class NoSpark:
    """Stands in for a session, for steps whose tasks are done in this process."""

    class sparkContext:  # noqa: N801 - PySpark's name
        @staticmethod
        def accumulator(value: int) -> Any:
            class Accumulator:
                def __init__(self) -> None:
                    self.value = value

                def add(self, more: int) -> None:
                    self.value += more

            return Accumulator()

        @staticmethod
        def statusTracker() -> Any:  # noqa: N802 - PySpark's name
            # It has run a job: nothing need be warmed up.
            return SimpleNamespace(getJobIdsForGroup=lambda: (0,))


def deal_in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Does tasks one after another where the step runs, each with an attempt's number of its own."""
    attempts = iter(range(10**9))

    def run(spark: Any, items: Sequence[Any], work: Callable[[Any], Any]) -> list[Any]:
        return [work(item) for item in items]

    def stream(spark: Any, items: Sequence[Any], work: Callable[[Any, int], Any]) -> Iterator[list[Any]]:
        for item in items:
            yield [work(item, next(attempts))]

    for module in (committing, of_files, projecting, takeover):
        patch.setattr(module, "run_tasks", run)
    patch.setattr(extraction_step, "stream_tasks", stream)
    # Commits one after another, so that a history is the same when it is run again.
    patch.setattr(extraction_step, "_COMMITS_AT_ONCE", 1)
