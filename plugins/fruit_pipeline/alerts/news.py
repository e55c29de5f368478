"""Words what people are told, and cuts it to what fits into a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from fruit_contract.runs import RunState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RUN_FAILED: Final = "run_failed"
RUN_LATE: Final = "run_late"
ORPHANS_SWEPT: Final = "orphans_swept"
OVER_BUDGET: Final = "over_budget"
BATCH_MISSING: Final = "batch_missing"
SETTINGS_REFUSED: Final = "settings_refused"

# SNS takes less than 100 characters of ASCII, and 256 kB with the message's attributes.
_LONGEST_SUBJECT: Final = 99
_MOST_MESSAGE_BYTES: Final = 250_000
_SAYS_WHAT_TO_DO: Final = "What to do: "


@dataclass(frozen=True)
class News:
    """Holds a piece of news: `event` is its kind, `subject` a line, `message` the whole, without its place."""

    event: str
    subject: str
    message: str


@dataclass(frozen=True)
class NewsPlace:
    """Says what the news is about: a run, and the task if it is one that tells the news. Fields are empty where Airflow
    does not say.
    """

    dag_id: str = ""
    run_id: str = ""
    task_id: str = ""

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.dag_id, self.run_id) if part)

    def link(self, base_url: str) -> str:
        """Returns the address of the run's (or task's) page in Airflow's UI; empty if nobody knows where the UI is."""
        if not (base_url and self.name):
            return ""
        task = f"/tasks/{_quoted(self.task_id)}" if self.task_id else ""
        return f"{base_url.rstrip('/')}/dags/{_quoted(self.dag_id)}/runs/{_quoted(self.run_id)}{task}"


@dataclass(frozen=True)
class TaskFailure:
    """Says why the last try of a task failed. `cause` names one of a step's causes, or is empty; `at` is when it
    failed, in ISO 8601.
    """

    task_id: str
    try_number: int
    event: str
    cause: str
    text: str
    at: str

    @classmethod
    def of_xcom(cls, value: Mapping[str, Any]) -> TaskFailure:
        """Returns the failure that `dataclasses.asdict` made `value` of. Raises KeyError, TypeError or ValueError if
        `value` is something else.
        """
        texts = {name: str(value[name]) for name in ("task_id", "event", "cause", "text", "at")}
        return cls(try_number=int(value["try_number"]), **texts)


def with_place(news: News, place: NewsPlace, base_url: str) -> News:
    """Returns the news with its run behind the subject, and with its task, its run and a link to their page below the
    message.
    """
    where = [f"Task: {place.task_id}"] if place.task_id else []
    where += [f"Run: {place.name}"] if place.name else []
    where += [f"Its page: {link}"] if (link := place.link(base_url)) else []
    subject = f"{news.subject}: {place.name}" if place.name else news.subject
    return News(news.event, subject, "\n".join([news.message, *([""] if where else []), *where]))


def news_of_failures(failures: Sequence[TaskFailure], silent: Sequence[str], *, subject: str, note: str = "") -> News:
    """Returns what to tell of a run that failed: each task, why, and what to do.

    `silent` are failed tasks that left no reason; `note` says what the failure means beyond the run.
    """
    ordered = sorted(failures, key=lambda failure: failure.at)
    first = ordered[0] if ordered else None
    parts = [note] if note else []
    parts += [_told(failure) for failure in ordered]
    parts += [_untold(silent)] if silent else []
    parts += [] if failures or silent else [_NOTHING_FAILED_NOW]
    if first and first.event == OVER_BUDGET:
        return News(OVER_BUDGET, "Fruits! run is above the budget", "\n\n".join(parts))
    names = ", ".join([*(failure.task_id for failure in ordered), *silent])
    cause = f" ({first.cause})" if first and first.cause else ""
    return News(RUN_FAILED, f"{subject} in {names}{cause}" if names else subject, "\n\n".join(parts))


_NOTHING_FAILED_NOW: Final = (
    "No task failed this time. Tasks that had not run because one before them failed were not cleared together with "
    f"it, so the run can't succeed.\n{_SAYS_WHAT_TO_DO}clear those as well (with *downstream*, without *only failed*), "
    "or trigger a run for the same dates: what is done is not done again."
)


def _told(failure: TaskFailure) -> str:
    lines = [f"{failure.task_id} failed, in its try {failure.try_number}.", failure.text]
    if _SAYS_WHAT_TO_DO not in failure.text:
        lines.append(
            f"{_SAYS_WHAT_TO_DO}what this says, or mend what it names. Then clear {failure.task_id} (with "
            "*downstream*, without *only failed*), or trigger a run for the same dates: what is done is not done again."
        )
    return "\n".join(lines)


def _untold(task_ids: Sequence[str]) -> str:
    names = ", ".join(task_ids)
    return (
        f"{names} failed, and left no word why: somebody marked it (or has cleared it already), or its process was "
        "lost.\n"
        f"{_SAYS_WHAT_TO_DO}if that was not meant, look at its log, then clear {names} (with *downstream*, without "
        "*only failed*), or "
        "trigger a run for the same dates."
    )


def is_worth_telling(event: str, run_state: str | None) -> bool:
    """Returns whether news of this kind is still news if the run is in that state (None if Airflow does not say).

    A run is late only while it runs. Airflow keeps the deadline of one that failed, and it queues all runs of a
    backfill at once.
    """
    return event != RUN_LATE or run_state in {None, RunState.RUNNING}


def sns_subject(subject: str) -> str:
    """Returns as much of a subject as SNS takes: ASCII that can be printed, on one line."""
    line = " ".join(subject.encode("ascii", "replace").decode().split())
    return "".join(character if character.isprintable() else "?" for character in line)[:_LONGEST_SUBJECT]


def sns_message(news: News) -> str:
    """Returns the subject and the message, cut off where SNS would refuse them."""
    return f"{news.subject}\n\n{news.message}".encode()[:_MOST_MESSAGE_BYTES].decode(errors="ignore")


def _quoted(name: str) -> str:
    return quote(name, safe="")
