"""Tells the lake why a step fails, before it ends: Airflow's side reads that first, and logs only where a step died
without a word.
"""

from __future__ import annotations

import threading
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from fruit_contract.failures.error_text import Standing, find_error
from fruit_contract.failures.record import StepFailure
from fruit_contract.lake import failure_key
from fruit_features.lake.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

# A store that does not answer must not hold up a step that has failed.
_PATIENCE_SECONDS: Final = 15.0


@contextmanager
def failure_told(bucket: str, run_id: str, step: str) -> Iterator[None]:
    """A context that writes a failure.json for the error that ends it, and raises that error on, whatever comes of the
    writing.

    Nothing is written of an end that others decided (a signal), nor of an error that only follows from another process'
    death.
    """
    try:
        yield
    except Exception as error:
        with suppress(Exception):  # such as that no thread can be started: the step's own error is the news
            text = "".join(traceback.format_exception(error))
            writing = threading.Thread(
                target=_write, args=(Store(bucket), failure_key(run_id, step), step, text), daemon=True
            )
            writing.start()
            writing.join(_PATIENCE_SECONDS)
        raise


def failure_in(step: str, text: str) -> StepFailure | None:
    """Returns what a traceback tells of a step's failure; None if what ended it is not in there."""
    found = find_error({"": text})
    return StepFailure.of(step, found) if found and found.standing is Standing.ENDED_IT else None


def _write(store: Store, key: str, step: str, text: str) -> None:
    try:
        failure = failure_in(step, text)
        if failure:
            store.write(key, failure.to_json())
    except Exception as error:  # noqa: BLE001 - as above
        print(
            f"warning: why the step failed could not be told to the lake ({type(error).__name__}); its log says it.",
            flush=True,
        )
