"""Tells that a run failed, once, when it has ended: which tasks, why, and what to do.

Each task that fails leaves its reason among its XComs. They are Airflow's own, so they are there although the lake
can't be reached, and can be read where Airflow calls back at the end of a run (in the DAG processor).
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk.exceptions import AirflowException

from fruit_contract.newer_python import UTC
from fruit_pipeline.alerts.news import OVER_BUDGET, RUN_FAILED, TaskFailure, news_of_failures
from fruit_pipeline.alerts.notifiers import FruitsNotifier, place_of
from fruit_pipeline.errors import CauseKnownError, OverBudgetError
from fruit_pipeline.failures.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.sdk import Context

    from fruit_pipeline.alerts.news import News

LOG: Final = logging.getLogger(__name__)

FAILURE_KEY: Final = "failure"
_LONGEST_TEXT: Final = 8_000
# A task tells Airflow that it failed, and leaves its reason a moment later.
_LOOKS: Final = 4
# Airflow's word for why a run ended, if a failed task was the reason.
_A_TASK_FAILED: Final = "task_failure"
_BETWEEN_LOOKS_SECONDS: Final = 1.0


def keep_failure(context: Context) -> None:
    """Leaves the error that ended a task among its XComs, for the message at the end of the run. Does nothing if there
    is no error: a try whose process died has none, and this is called for it from elsewhere.
    """
    error = context.get("exception")
    if error is None:
        return
    task_instance = context["ti"]
    failure = failure_of(error, task_instance.task_id, task_instance.try_number)
    task_instance.xcom_push(key=FAILURE_KEY, value=asdict(failure))


def failure_of(error: BaseException | str, task_id: str, try_number: int) -> TaskFailure:
    """Returns what to tell of an error, without secrets and not too long."""
    errors = list(_with_reasons(error)) if isinstance(error, BaseException) else []
    cause = next((found.cause_name for found in errors if isinstance(found, CauseKnownError)), "")
    event = OVER_BUDGET if any(isinstance(found, OverBudgetError) for found in errors) else RUN_FAILED
    # What Airflow's own exceptions say is written for people; of any other, its class says the most.
    name = "" if isinstance(error, (str, AirflowException)) else f"{type(error).__name__}: "
    text = redact(f"{name}{error}")
    text = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}\n[...] the rest is in its log"
    return TaskFailure(task_id, try_number, event, cause, text, datetime.now(UTC).isoformat())


def _with_reasons(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__


class FailedRunNotifier(FruitsNotifier):
    """Tells of a run that failed. Airflow calls it once, when the last task has ended, and again after a clear, when
    the run has ended again.

    Reasons of tasks that can't be read are left out, and the message is sent all the same.

    :param subject: a line; the names of the failed tasks are put behind it
    :param message: what such a failure means beyond the run, or empty
    """

    def __init__(self, *, subject: str = "Fruits! run failed", message: str = "", **kwargs: Any) -> None:
        super().__init__(event=RUN_FAILED, subject=subject, message=message, **kwargs)

    def news(self, context: Context) -> News:
        failed = _failed_tasks(context)
        failures = _reasons(context, failed)
        told = {failure.task_id for failure in failures}
        silent = [task_id for task_id in failed if task_id not in told]
        return news_of_failures(failures, silent, subject=self.subject, note=self.message)


class FailedTaskNotifier(FailedRunNotifier):
    """Tells of a run that ended as successful although a task of it has failed. It is the callback of a run's success.

    Airflow looks at a run's last task only, which is still successful from before if somebody cleared an earlier one
    alone.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            subject="Fruits! run counts as successful, yet it failed", message=_LAST_TASK_DID_NOT_RUN, **kwargs
        )

    def notify(self, context: Context) -> None:
        if _failed_tasks(context):
            super().notify(context)


_LAST_TASK_DID_NOT_RUN: Final = (
    "Airflow calls this run successful, for its last task was not run again: somebody "
    "cleared another one alone, and that one failed."
)


def _failed_tasks(context: Context) -> list[str]:
    """Returns the ids of the tasks that have failed, sorted: the last one to fail, which Airflow hands over, and those
    that are failed at this moment.

    Somebody may have cleared the last one already. If no task had failed, Airflow hands over none, or one that could
    not run.
    """
    task_instance: Any = context.get("ti")
    if task_instance is None:
        return []
    place = place_of(context)
    last = {str(task_instance.task_id)} if context.get("reason") == _A_TASK_FAILED else set()
    try:
        states = task_instance.get_task_states(dag_id=place.dag_id, run_ids=[place.run_id])[place.run_id]
    except Exception:  # the message must not be lost over its details
        LOG.exception("The states of the tasks of %s can't be had.", place.name)
        return sorted(last)
    return sorted(last.union(task_id for task_id, state in states.items() if state == "failed"))


def _reasons(context: Context, failed: Sequence[str]) -> list[TaskFailure]:
    """Returns what the tasks left, as far as it can be read."""
    missing, found = list(failed), []
    try:
        for look in range(_LOOKS):
            kept = {
                task_id: context["ti"].xcom_pull(task_ids=task_id, key=FAILURE_KEY, map_indexes=-1)
                for task_id in missing
            }
            missing = [task_id for task_id in missing if not kept[task_id]]
            found += [failure for value in kept.values() if value and (failure := _as_failure(value, context["ti"]))]
            if not missing or look == _LOOKS - 1:
                break
            time.sleep(_BETWEEN_LOOKS_SECONDS)
    except Exception:  # the message must not be lost over its details
        LOG.exception("Why %s failed can't be read.", ", ".join(missing))
    return found


def _as_failure(kept: Any, last_failed: Any) -> TaskFailure | None:
    """Returns what a task left, or None if that can't be understood. It is None, too, if the task was the last to fail
    and left this in another try.
    """
    try:
        failure = TaskFailure.of_xcom(kept)
    except (KeyError, TypeError, ValueError):
        LOG.warning("What a task left of its failure can't be understood: %r", kept)
        return None
    is_of_another_try = failure.task_id == last_failed.task_id and failure.try_number != last_failed.try_number
    return None if is_of_another_try else failure
