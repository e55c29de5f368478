"""`run`: triggers the DAG for one ingest date on whatever Airflow is up, and follows it to its end.

The local stack is used if it is up. For an Airflow elsewhere set AIRFLOW_API_URL (https) and AIRFLOW_API_TOKEN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from fruit_cli.airflow_api import AirflowApi
from fruit_cli.airflow_http import AirflowHttp, current_airflow
from fruit_cli.connection import current_connection
from fruit_cli.errors import CommandError
from fruit_cli.follow_run import duration, follow_run, make_ready
from fruit_cli.lake_store import missing_keys
from fruit_contract import lake

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from fruit_cli.airflow_api import DagRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("--date", required=True, help="the ingest date, yyyy-mm-dd")
    parser.add_argument("--categories", default="", help="only these categories, as a,b (default: all)")


def run(arguments: argparse.Namespace) -> int:
    ingest_date = lake.parse_ingest_date(arguments.date)
    categories = parse_categories(arguments.categories)
    console = Console(highlight=False)
    address = current_airflow()
    if address.is_local:
        say_what_is_not_delivered([ingest_date], console)
    with AirflowHttp(address) as http:
        api = AirflowApi(http)
        make_ready(api, console)
        try:
            finished = run_date(api, ingest_date, categories, console)
        except KeyboardInterrupt:
            console.print("No longer followed: what was triggered goes on.")
            raise
        console.print(f"Done in {duration(finished.seconds or 0)}: {api.run_link(finished.run_id)}", soft_wrap=True)
    return 0


def run_date(api: AirflowApi, ingest_date: str, categories: Sequence[str], console: Console) -> DagRun:
    """Triggers one run and follows it. Raises RunFailedError if it fails."""
    run_id = api.trigger({"ingest_date": ingest_date, "categories": list(categories)})
    only = f", only {', '.join(categories)}" if categories else ""
    console.print(f"Running {api.dag_id} for {ingest_date}{only}: {api.run_link(run_id)}", markup=False, soft_wrap=True)
    return follow_run(api, run_id, console)


def parse_categories(text: str) -> list[str]:
    """`a,b` as [a, b]. Raises LakeNameError for what can't be a category, CommandError for a list of nothing."""
    if not text:
        return []
    categories = [part.strip() for part in text.split(",")]
    if not any(categories):
        raise CommandError(f"'{text}' names no category: write them as 'Kiwi,Apple Red 1'.")
    return list(dict.fromkeys(lake.check_category(category) for category in categories if category))


def say_what_is_not_delivered(ingest_dates: Sequence[str], console: Console, what_happens: str = "the run waits for it") -> None:
    markers = {lake.success_marker_key(ingest_date): ingest_date for ingest_date in ingest_dates}
    waiting = [markers[key] for key in missing_keys(current_connection(), markers)]
    if waiting:
        console.print(
            f"No complete image batch is there for {', '.join(waiting)}: {what_happens}. "
            f"Deliver one with `make deliver DIR=<folder> DATE={waiting[0]}`.",
            style="yellow",
            soft_wrap=True,
        )
