"""Uploads a folder of categories as one image batch."""

from __future__ import annotations

import click
from rich.console import Console

from fruit_cli.arguments import ABOUT_THE_LAKE, typed_path
from fruit_cli.lake.delivery import deliver_plan
from fruit_cli.lake.delivery_plan import DeliveryRefusedError, plan_delivery
from fruit_cli.lake.target import Target, target_option
from fruit_cli.lake.whereabouts import lake_of_target


@click.command(epilog=ABOUT_THE_LAKE)
@click.option(
    "--directory",
    required=True,
    metavar="FOLDER",
    help="The folder that holds one folder a category, as Fruits-360 does.",
)
@click.option(
    "--date", "ingest_date", required=True, metavar="YYYY-MM-DD", help="The ingest date that the images belong to."
)
@click.option("--as-is", is_flag=True, help="Takes the folders in it for categories, whatever they look like.")
@target_option
def command(directory: str, ingest_date: str, *, as_is: bool, target: Target) -> int:
    """Uploads a folder of categories as the image batch of a date, its marker last.

    Type the same command again to resume: what is there already is not sent again. The marker comes when the bucket
    lists every image as it was sent, and the DAG waits for it. A delivery adds and replaces; images that are there and
    not in the folder stay.

    \b
    Example:
      python -m fruit_cli deliver --directory ~/fruits-360/Training --date 2026-11-22
    """
    console = Console(highlight=False)
    if not directory:
        raise DeliveryRefusedError("Which folder? Type `make deliver DIR=<folder of categories> DATE=<yyyy-mm-dd>`.")
    # A wrong folder is told before any service is asked.
    plan = plan_delivery(typed_path(directory), ingest_date, as_is=as_is)
    deliver_plan(lake_of_target(target), plan, console=console)
    return 0
