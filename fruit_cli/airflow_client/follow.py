"""Follows a run of the DAG until it ends. It says each change when it happens, and shows the log of what failed or
stopped the run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.text import Text

from fruit_cli.airflow_client.api import PLAN_TASK
from fruit_cli.airflow_client.http import AirflowError
from fruit_cli.errors import CommandError
from fruit_contract.runs import RunState, RunType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rich.console import Console

    from fruit_cli.airflow_client.api import AirflowApi, DagRun, TaskState

POLL_SECONDS: Final = 2.0
LOG_LINES_SHOWN: Final = 20
_DAG_APPEARS_WITHIN_SECONDS: Final = 120
_SCHEDULE_SETTLES_WITHIN_SECONDS: Final = 60
_UNDER_WAY: Final = frozenset({"running", "deferred", "up_for_reschedule"})
# state: (what is said of it, colour)
_ENDINGS: Final[Mapping[str, tuple[str, str]]] = {
    "success": ("done", "green"),
    "failed": ("failed", "bold red"),
    "up_for_retry": ("failed, will be tried again", "yellow"),
    "skipped": ("skipped", "dim"),
    "upstream_failed": ("not run: a task before it failed", "red"),
    "removed": ("removed", "dim"),
}
_SET_ASIDE_NOTE: Final = (
    "Set aside by the command line, because it was under way before the run that was asked for next and could have "
    "worked on the same image batch at the same time. Unpausing a DAG starts the scheduled run that is due."
)


class RunFailedError(CommandError):
    """Raised if a run ended as failed. The message names the tasks and the page to look at."""


@dataclass(frozen=True)
class TaskChange:
    """Says that a task started, or that a try of it ended. `style` is the rich style of `text`."""

    task: TaskState
    text: str
    style: str

    @property
    def log_says_why(self) -> bool:
        """Returns whether the task failed, or ran and decided to skip itself and what follows."""
        return self.task.state in {"failed", "up_for_retry"} or (
            self.task.state == "skipped" and self.task.try_number > 0
        )


def task_changes(said: set[tuple[str, int, str]], tasks: Iterable[TaskState]) -> list[TaskChange]:
    """Returns what is new in `tasks`, in the order in which it happened, and adds it to `said`.

    A task that goes back and forth between running and waiting has started once.
    """
    changes = []
    for task in sorted(tasks, key=lambda task: (task.started or "9", task.task_id)):
        state = task.state or ""
        if state in _UNDER_WAY:
            phase, text, style = "started", "started" if task.try_number < 2 else f"started, try {task.try_number}", ""
        elif state in _ENDINGS:
            phase = state
            text, style = _ENDINGS[state]
            if state == "success" and task.seconds is not None:
                text += f" in {duration(task.seconds)}"
        else:
            continue
        event = (task.task_id, task.try_number, phase)
        if event not in said:
            said.add(event)
            changes.append(TaskChange(task, text, style))
    return changes


def follow_run(
    api: AirflowApi,
    run_id: str,
    console: Console,
    *,
    planned: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> DagRun:
    """Says what happens in a run until it ends, and returns it if it succeeded. Raises RunFailedError if it failed.

    It calls `planned` when there is a plan of the run.
    """
    said: set[tuple[str, int, str]] = set()
    pause = PauseWatch(api, console)
    with console.status("") as status:
        while True:
            # The run is asked for before its tasks, because once it has ended, its tasks have ended, too.
            run = api.dag_run(run_id)
            tasks = api.tasks(run_id)
            for change in task_changes(said, tasks):
                console.print(_line(change))
                if change.log_says_why:
                    print_log_tail(api, run_id, change.task, console)
                if change.task.task_id == PLAN_TASK and change.task.state in {"success", "skipped"}:
                    planned()
            if run.is_finished:
                break
            pause.look()
            status.update(Text(_under_way(run, tasks)))
            sleep(POLL_SECONDS)
    if run.state == RunState.FAILED:
        raise RunFailedError(failure_message(api, run, tasks))
    return run


class PauseWatch:
    """Says when somebody pauses the DAG while its runs are followed. They then stand still, for ever and without an
    error, so a person must be told.
    """

    def __init__(self, api: AirflowApi, console: Console) -> None:
        self._api = api
        self._console = console
        self._was_paused = False

    def look(self) -> None:
        dag = self._api.dag()
        is_paused = dag is not None and dag.is_paused
        if is_paused and not self._was_paused:
            text = (
                f"The DAG {self._api.dag_id} is paused: what runs goes on, and no other task starts. "
                f"{_how_to_unpause(self._api)}"
            )
            self._console.print(text, style="yellow", markup=False, soft_wrap=True)
        elif self._was_paused and not is_paused:
            self._console.print("The DAG is no longer paused: the run goes on.")
        self._was_paused = is_paused


def _how_to_unpause(api: AirflowApi) -> str:
    switch = f"Start it with the switch on its page, {api.dag_link}, or with `airflow dags unpause {api.dag_id}`"
    return f"{switch}. It then runs by its schedule, too."


def failure_message(api: AirflowApi, run: DagRun, tasks: Sequence[TaskState]) -> str:
    failed = [task.task_id for task in tasks if task.state == "failed"]
    where = f" in {', '.join(failed)}" if failed else ""
    return f"The run {run.run_id} failed{where}. Its page: {api.run_link(run.run_id, failed[0] if failed else None)}"


def print_log_tail(api: AirflowApi, run_id: str, task: TaskState, console: Console) -> None:
    """Prints the last lines of a task's log. If the log can't be had, it prints why and raises nothing, so that the run
    is followed on.
    """
    try:
        lines = api.log_lines(run_id, task.task_id, task.try_number)
    except AirflowError as error:
        lines = [f"its log can't be had: {error}"]
    for line in lines[-LOG_LINES_SHOWN:] or ["its log is empty"]:
        console.print(Text(f"    | {line}", style="dim"), soft_wrap=True)


def make_ready(api: AirflowApi, console: Console, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Waits until Airflow knows the DAG. A local DAG that is paused is unpaused, and the scheduled runs that this
    starts are set aside.

    Raises AirflowError if the DAG doesn't appear, or if it is paused on an Airflow that isn't ours to unpause.
    """
    dag = api.dag()
    waited = 0
    while dag is None:
        if not api.is_local or waited >= _DAG_APPEARS_WITHIN_SECONDS:
            problems = "; ".join(api.import_errors()) or "its DAG files are read, and it isn't among them"
            raise AirflowError(f"{api.url} doesn't know the DAG {api.dag_id}: {problems}.")
        sleep(1)
        waited += 1
        dag = api.dag()
    if not dag.is_paused:
        return
    if not api.is_local:
        raise AirflowError(
            f"The DAG {api.dag_id} is paused on {api.url}, so none of its runs starts. {_how_to_unpause(api)}"
        )
    console.print("The DAG was paused: unpausing it")
    api.unpause()
    set_runs_aside(api, {"run_type": RunType.SCHEDULED}, sleep=sleep)


def set_runs_aside(api: AirflowApi, kind: Mapping[str, str], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Ends the runs of a kind (filters of the API, such as run_type) that are under way, and a scheduled one that is
    due.

    Scheduled runs are marked as done and not deleted: Airflow would create a deleted one again. Others are marked as
    failed.
    """
    for _ in range(_SCHEDULE_SETTLES_WITHIN_SECONDS):
        active = [run for run in api.dag_runs(kind) if not run.is_finished]
        for run in active:
            api.set_run_state(
                run.run_id, RunState.SUCCESS if run.run_type == RunType.SCHEDULED else RunState.FAILED, _SET_ASIDE_NOTE
            )
        dag = api.dag()
        due = (
            dag is not None
            and dag.next_run_after is not None
            and datetime.fromisoformat(dag.next_run_after) <= datetime.now(UTC)
        )
        if not active and not due:
            return
        sleep(1)


def duration(seconds: float) -> str:
    """Returns a duration in words: `8.4 s`, `59 s`, `3 min 20 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _line(change: TaskChange) -> Text:
    return Text.assemble((f"  {_clock()}  ", "dim"), f"{change.task.task_id:<18} ", (change.text, change.style))


def _under_way(run: DagRun, tasks: Sequence[TaskState]) -> str:
    active = [task for task in tasks if task.state in _UNDER_WAY and task.started]
    if not active:
        return f"the run is {run.state}"
    now = datetime.now(UTC)
    return ", ".join(
        f"{task.task_id} {duration((now - datetime.fromisoformat(task.started or '')).total_seconds())}"
        for task in active
    )


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
