"""Runs the DAG for every ingest date of a range, and follows the runs to their end."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.text import Text

from fruit_cli.airflow_client.api import AirflowApi
from fruit_cli.airflow_client.follow import (
    POLL_SECONDS,
    PauseWatch,
    RunFailedError,
    duration,
    failure_message,
    make_ready,
    print_log_tail,
)
from fruit_cli.airflow_client.http import AirflowHttp, current_airflow
from fruit_cli.arguments import ABOUT_AIRFLOW
from fruit_cli.commands.run import (
    categories_asked_for,
    categories_option,
    say_what_is_not_delivered,
    say_what_is_nowhere,
)
from fruit_cli.errors import CommandError
from fruit_cli.lake.target import Target, target_option
from fruit_contract.day_boundary import UTC_DAYS
from fruit_contract.ingest_days import days_between
from fruit_contract.runs import RunState, RunType
from fruit_pipeline.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fruit_cli.airflow_client.api import DagRun
    from fruit_contract.day_boundary import DayBoundary

_DAY: Final = timedelta(days=1)
_INSTANT: Final = "%Y-%m-%dT%H:%M:%SZ"


@click.command(epilog=ABOUT_AIRFLOW)
@click.option("--from-date", required=True, metavar="YYYY-MM-DD", help="The first ingest date.")
@click.option("--to-date", required=True, metavar="YYYY-MM-DD", help="The last ingest date.")
@categories_option
@target_option
def command(from_date: str, to_date: str, categories: Sequence[str], *, target: Target) -> int:
    """Runs the DAG for every ingest date of a range on the target's Airflow, and follows the runs to their end.

    Dates that have been run before are run again, and cost what is new in them. One date comes after another, with a
    cluster each; `run` takes a range on one cluster. For an Airflow elsewhere, set FRUITS_TIMEZONE and
    FRUITS_DAY_OFFSET_HOURS as they are set there.

    \b
    Example:
      python -m fruit_cli backfill --from-date 2026-11-01 --to-date 2026-11-20
    """
    ingest_dates = days_between(from_date, to_date)
    asked_for = categories_asked_for(categories)
    boundary = load_settings().day_boundary
    console = Console(highlight=False)
    address = current_airflow(target)
    if address.is_local:
        say_what_is_not_delivered(ingest_dates, console, "a backfill skips such dates")
    with AirflowHttp(address) as http:
        backfill(AirflowApi(http), ingest_dates, asked_for, console, boundary=boundary)
    return 0


def backfill(
    api: AirflowApi,
    ingest_dates: Sequence[str],
    categories: Sequence[str],
    console: Console,
    *,
    boundary: DayBoundary = UTC_DAYS,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Creates a backfill over consecutive dates and follows it. Raises RunFailedError if a run fails, and CommandError
    if no date can run.
    """
    make_ready(api, console, sleep=sleep)
    # Whole days are asked for, because the schedule may fire at any hour.
    begin, end = (
        boundary.begin_of(date.fromisoformat(ingest_dates[0])),
        boundary.begin_of(date.fromisoformat(ingest_dates[-1]) + _DAY),
    )
    span = {
        "logical_date_gte": begin.strftime(_INSTANT),
        "logical_date_lte": (end - timedelta(seconds=1)).strftime(_INSTANT),
    }
    request = {
        "from_date": span["logical_date_gte"],
        "to_date": span["logical_date_lte"],
        # The categories are always sent, because a run that is done again would otherwise keep those it had.
        "dag_run_conf": {"categories": list(categories)},
        "reprocess_behavior": "completed",
        "max_active_runs": 1,
    }
    planned = {_day(logical_date, boundary) for logical_date in api.backfill_dates(request)}
    if not planned:
        raise CommandError(
            f"No date from {ingest_dates[0]} to {ingest_dates[-1]} can run now: they lie ahead, or their runs are "
            "under way."
        )
    backfill_id = api.create_backfill(request)
    console.print(
        f"Backfill {backfill_id}: {len(planned)} runs, one after another. {api.dag_link}/backfills", soft_wrap=True
    )
    # Airflow creates no run for a date whose run was under way, and does not make up for it later.
    left_out = sorted(set(ingest_dates) - set(_runs_by_date(api, span, boundary)))
    if left_out:
        console.print(
            f"Not run: {', '.join(left_out)} (ahead of now, or under way already)", style="yellow", soft_wrap=True
        )
    failures = _follow(api, span, boundary, console, sleep)
    if categories:
        say_what_is_nowhere(api.plans(run.run_id for run in _runs_by_date(api, span, boundary).values()), console)
    if failures:
        raise RunFailedError(f"{len(failures)} of {len(planned)} runs failed.\n" + "\n".join(failures))


def _follow(
    api: AirflowApi, span: dict[str, str], boundary: DayBoundary, console: Console, sleep: Callable[[float], None]
) -> list[str]:
    """Says how each run fares until all have ended, and returns a sentence for each that failed."""
    said: dict[str, str] = {}
    pause = PauseWatch(api, console)
    failures = []
    while True:
        runs = _runs_by_date(api, span, boundary)
        for ingest_date, dag_run in sorted(runs.items()):
            if said.get(ingest_date) == dag_run.state:
                continue
            said[ingest_date] = dag_run.state
            console.print(_line(ingest_date, dag_run))
            if dag_run.state == RunState.FAILED:
                tasks = api.tasks(dag_run.run_id)
                failures.append(failure_message(api, dag_run, tasks))
                for task in tasks:
                    if task.state == "failed":
                        print_log_tail(api, dag_run.run_id, task, console)
        if all(dag_run.is_finished for dag_run in runs.values()):
            return failures
        pause.look()
        sleep(POLL_SECONDS)


def _runs_by_date(api: AirflowApi, span: dict[str, str], boundary: DayBoundary) -> dict[str, DagRun]:
    """Returns the range's backfill runs by ingest date. Airflow keeps one run for each logical date, and turns a run
    that it does again into a backfill run.
    """
    return {
        _day(run.logical_date, boundary): run
        for run in api.dag_runs({"run_type": RunType.BACKFILL, **span})
        if run.logical_date
    }


def _day(logical_date: str, boundary: DayBoundary) -> str:
    return boundary.day_at(datetime.fromisoformat(logical_date)).isoformat()


def _line(ingest_date: str, dag_run: DagRun) -> Text:
    style = {"success": "green", "failed": "bold red"}.get(dag_run.state, "")
    took = f" in {duration(dag_run.seconds)}" if dag_run.is_finished and dag_run.seconds is not None else ""
    return Text.assemble(f"  {ingest_date}  ", (dag_run.state + took, style))
