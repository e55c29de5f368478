"""Triggers the DAG for one ingest date, or for a range of them on one cluster, and follows it to its end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console

from fruit_cli.airflow_client.api import AirflowApi
from fruit_cli.airflow_client.follow import duration, follow_run, make_ready
from fruit_cli.airflow_client.http import AirflowHttp, current_airflow
from fruit_cli.arguments import ABOUT_AIRFLOW
from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import current_connection
from fruit_cli.lake.store import missing_keys
from fruit_cli.lake.target import Target, target_option
from fruit_contract import lake
from fruit_contract.ingest_days import days_between
from fruit_contract.pca import RefreshPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fruit_cli.airflow_client.api import DagRun

_DATES_SHOWN: Final = 8


categories_option = click.option(
    "--categories",
    "--category",
    "categories",
    multiple=True,
    metavar="A,B",
    help="Only these categories. For names with commas or outer spaces, give a JSON list, or one name each time, two "
    "times or more.  [default: all]",
)


@click.command(epilog=ABOUT_AIRFLOW)
@click.option("--date", "day", default="", metavar="YYYY-MM-DD", help="The ingest date to run.")
@click.option(
    "--from-date", default="", metavar="YYYY-MM-DD", help="The first ingest date of a range, instead of --date."
)
@click.option("--to-date", default="", metavar="YYYY-MM-DD", help="The last ingest date of the range.")
@categories_option
@click.option(
    "--pca-policy",
    type=click.Choice([policy.value for policy in RefreshPolicy]),
    help="Whether the PCA is fitted anew.  [default: FRUITS_PCA_POLICY of the deployment]",
)
@click.option("--retry-rejected", is_flag=True, help="Looks again at images that were rejected before.")
@click.option(
    "--accept-rejects", is_flag=True, help="Goes on although an unusual share of the images is rejected for one reason."
)
@click.option(
    "--switch-embedder",
    is_flag=True,
    help="Switches readers to the PCA of a new embedder before everything is featurised anew.",
)
@click.option(
    "--over-budget", is_flag=True, help="Goes on although the estimate is above the budget (FRUITS_BUDGET_EUR)."
)
@target_option
def command(
    day: str,
    from_date: str,
    to_date: str,
    categories: Sequence[str],
    *,
    pca_policy: str | None,
    retry_rejected: bool,
    accept_rejects: bool,
    switch_embedder: bool,
    over_budget: bool,
    target: Target,
) -> int:
    """Runs the DAG for one ingest date, or for a range on one cluster, on the target's Airflow, and follows it to its
    end.

    Dates that have been run before cost what is new in them. Ctrl-C ends the following, not the run.

    \b
    Examples:
      python -m fruit_cli run --date 2026-11-22
      python -m fruit_cli run --from-date 2026-11-01 --to-date 2026-11-20 --categories Kiwi,Lemon
      python -m fruit_cli run --date 2026-11-22 --categories '["Apple, red", " Kiwi"]'
    """
    ingest_dates = dates_asked_for(day, from_date, to_date)
    request = run_request(
        ingest_dates,
        categories_asked_for(categories),
        pca_policy=pca_policy,
        retry_rejected=retry_rejected,
        accept_rejects=accept_rejects,
        switch_embedder=switch_embedder,
        over_budget=over_budget,
    )
    console = Console(highlight=False)
    address = current_airflow(target)
    if address.is_local:
        what_happens = "the run waits for it" if len(ingest_dates) == 1 else "the run leaves them out"
        say_what_is_not_delivered(ingest_dates, console, what_happens)
    with AirflowHttp(address) as http:
        api = AirflowApi(http)
        make_ready(api, console)
        try:
            finished = trigger_and_follow(api, request, console)
        except KeyboardInterrupt:
            console.print("No longer followed: what was triggered goes on.")
            raise
        console.print(f"Done in {duration(finished.seconds or 0)}: {api.run_link(finished.run_id)}", soft_wrap=True)
    return 0


def dates_asked_for(day: str, first: str, last: str) -> list[str]:
    """Returns the one date, or every date of the range. Raises CommandError unless exactly one of both is given."""
    if day and not (first or last):
        return [lake.parse_ingest_date(day)]
    if first and last and not day:
        return days_between(first, last)
    raise CommandError("Give an ingest date (DATE=yyyy-mm-dd), or a range of them (FROM=yyyy-mm-dd TO=yyyy-mm-dd).")


def run_request(
    ingest_dates: Sequence[str],
    categories: Sequence[str] = (),
    *,
    pca_policy: str | None = None,
    retry_rejected: bool = False,
    accept_rejects: bool = False,
    switch_embedder: bool = False,
    over_budget: bool = False,
) -> dict[str, object]:
    """Returns the DAG's params for a run of consecutive dates."""
    last = ingest_dates[-1] if len(ingest_dates) > 1 else None
    return {
        "ingest_date": ingest_dates[0],
        "last_ingest_date": last,
        "categories": list(categories),
        "pca_policy": pca_policy,
        "retry_rejected": retry_rejected,
        "accept_rejects": accept_rejects,
        "switch_embedder": switch_embedder,
        "over_budget": over_budget,
    }


def run_date(
    api: AirflowApi, ingest_date: str, categories: Sequence[str], console: Console, *, pca_policy: str | None = None
) -> DagRun:
    """Triggers a run of one date, follows it and returns it. Raises RunFailedError if it fails."""
    return trigger_and_follow(api, run_request([ingest_date], categories, pca_policy=pca_policy), console)


def trigger_and_follow(api: AirflowApi, request: Mapping[str, Any], console: Console) -> DagRun:
    """Triggers one run, follows it and returns it. Raises RunFailedError if it fails."""
    run_id = api.trigger(request)
    last, categories = request["last_ingest_date"], request["categories"]
    until = f" to {last}" if last else ""
    only = f", only {', '.join(map(repr, categories))}" if categories else ""
    console.print(
        f"Running {api.dag_id} for {request['ingest_date']}{until}{only}: {api.run_link(run_id)}",
        markup=False,
        soft_wrap=True,
    )

    def planned() -> None:
        if categories:
            say_what_is_nowhere(api.plans([run_id]), console)

    return follow_run(api, run_id, console, planned=planned)


def categories_asked_for(given: Sequence[str]) -> list[str]:
    """Returns the categories of one list (`a,b` or JSON), or several names, each exactly as it was given."""
    named = [text for text in given if text]
    if len(named) < 2:
        return parse_categories(*named) if named else []
    return _checked(named)


def parse_categories(text: str) -> list[str]:
    """Returns [a, b] for `a,b`, and for `["a", "b"]`, where commas and outer spaces are part of a name.

    Raises LakeNameError for a name that can't be a category, and CommandError for a list without names or for text that
    begins like JSON and is no list of names.
    """
    if not text:
        return []
    categories = _from_json(text) if text.lstrip().startswith("[") else [part.strip() for part in text.split(",")]
    if not any(categories):
        raise CommandError(f"{text!r} names no category: write them as 'Kiwi,Apple Red 1'.")
    return _checked(categories)


def _from_json(text: str) -> list[str]:
    try:
        found = json.loads(text)
        if all(isinstance(name, str) for name in found):
            return list(found)
    except ValueError:
        pass
    raise CommandError(
        f"""{text!r} begins like a JSON list, and is none of names: write it as '["Apple, red", "Kiwi"]'."""
    )


def _checked(categories: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(lake.check_category(category) for category in categories if category))


def say_what_is_nowhere(plans: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Warns of categories that were asked for and are in none of the planned runs. `plans` are the plans that
    `plan_run` made of them.
    """
    nowhere = (
        [name for name in plans[0]["missing_categories"] if all(name in plan["missing_categories"] for plan in plans)]
        if plans
        else []
    )
    similar = {name: there for plan in plans for name, there in plan["similar_categories"].items() if name in nowhere}
    if nowhere:
        meant = "".join(f" Much like {name!r}: {', '.join(map(repr, there))}." for name, there in similar.items())
        console.print(
            f"Nowhere in what was delivered: {', '.join(map(repr, nowhere))}.{meant} Names are exact, to the letter "
            "and the space.",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )


def say_what_is_not_delivered(
    ingest_dates: Sequence[str], console: Console, what_happens: str = "the run waits for it"
) -> None:
    markers = {lake.success_marker_key(ingest_date): ingest_date for ingest_date in ingest_dates}
    waiting = [markers[key] for key in missing_keys(current_connection(), markers)]
    if waiting:
        shown = ", ".join(waiting[:_DATES_SHOWN]) + (
            f" and {len(waiting) - _DATES_SHOWN} more" if len(waiting) > _DATES_SHOWN else ""
        )
        console.print(
            f"No complete image batch is there for {shown}: {what_happens}. "
            f"Deliver one with `make deliver DIR=<folder> DATE={waiting[0]}`.",
            style="yellow",
            soft_wrap=True,
        )
