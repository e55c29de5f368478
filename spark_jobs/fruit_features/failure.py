"""Writes to the lake why a step fails, before it ends.

Airflow's side reads that first, and looks into logs only if a step has died without writing it.
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
    """Writes a failure.json for the error that ends the context. The error is raised on even if the writing fails.

    Nothing is written if a signal ended the step, or if the error only follows from the death of another process.
    """
    try:
        yield
    except Exception as error:
        with suppress(Exception):  # no thread can be started, for example: the step's own error matters more
            text = "".join(traceback.format_exception(error))
            writing = threading.Thread(
                target=_write, args=(Store(bucket), failure_key(run_id, step), step, text), daemon=True
            )
            writing.start()
            writing.join(_PATIENCE_SECONDS)
        raise


def failure_in(step: str, text: str) -> StepFailure | None:
    """Returns what a traceback tells of a step's failure, or None if it does not tell what ended the step."""
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
