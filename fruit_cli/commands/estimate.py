"""Estimates the minutes and euros that some images take, by the settings and the model that `plan_run` uses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table

from fruit_cli.arguments import positive, positive_minutes
from fruit_cli.errors import CommandError
from fruit_pipeline.errors import InstanceTypeError, SettingsError
from fruit_pipeline.planning.estimate import estimate
from fruit_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT_IMAGES: Final = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
_MOST_NODES: Final = 10_000


@click.command()
@click.option(
    "--images",
    type=positive,
    multiple=True,
    metavar="NUMBER",
    help="How many new images; can be repeated.  [default: 10^3 to 10^9]",
)
@click.option(
    "--within-minutes",
    type=positive_minutes,
    default="1440",
    show_default=True,
    help="In which they shall be done.",
    metavar="MINUTES",
)
@click.option(
    "--most-nodes",
    type=positive,
    default="100",
    show_default=True,
    help="How many core and task nodes there may be.",
    metavar="NUMBER",
)
def command(images: Sequence[int], within_minutes: float, most_nodes: int) -> int:
    """Says how many nodes, minutes and euros some numbers of new images take, by the model that `plan_run` uses.

    It reads the deployment's settings (FRUITS_TARGET_MINUTES, FRUITS_CORE_INSTANCE_TYPE and the like, see
    docs/settings.md), and asks
    nobody: neither AWS nor Airflow.

    \b
    Example:
      python -m fruit_cli estimate --images 22,688 --within-minutes 60
    """
    if most_nodes > _MOST_NODES:
        raise CommandError(f"--most-nodes {most_nodes:,} is more than a cluster has: give {_MOST_NODES:,} at most.")
    try:
        settings = load_settings()
        rows = list(estimates(settings, images or DEFAULT_IMAGES, within_minutes, most_nodes))
        assumptions = estimate(1, settings).assumptions
    except (SettingsError, InstanceTypeError) as error:
        raise CommandError(str(error)) from error
    console = Console(highlight=False)
    kind, market = settings.core_instance_type, settings.task_market
    title = f"On the fewest nodes ({kind}, {most_nodes} at most) that finish within {within_minutes:g} minutes"
    heads = (
        "new images",
        "core nodes",
        f"{market} task nodes",
        "minutes",
        "EUR",
        "EUR of S3 requests",
        "EUR per 1,000 images",
    )
    console.print(_table(title, heads, rows))
    console.print(
        "It assumes: " + ", ".join(f"{name} {value}" for name, value in assumptions.items()) + ".", markup=False
    )
    console.print(
        f"A run takes the fewest task nodes that finish within FRUITS_TARGET_MINUTES ({settings.target_minutes:g}), "
        f"{settings.task_instance_max} at most (FRUITS_TASK_INSTANCE_MAX); its speed is what the last large run "
        "measured, if there is one.",
        markup=False,
    )
    return 0


def estimates(
    settings: Settings, images: Sequence[int], within_minutes: float, most_nodes: int
) -> Iterator[tuple[str, ...]]:
    """Yields a row for each number of images: the fewest task nodes beside the core nodes that finish in time, and what
    they cost.
    """
    sized = replace(
        settings, target_minutes=within_minutes, task_instance_max=max(0, most_nodes - settings.core_instance_count)
    )
    for n in images:
        result = estimate(n, sized)
        per_thousand = result.euros_per_thousand(n)
        yield (
            f"{n:,}",
            f"{result.core_instances:,}",
            f"{result.task_instances:,}",
            f"{result.minutes:,.0f}",
            "not known" if result.euros is None else f"{result.euros:,.2f}",
            f"{result.s3_euros:,.2f}",
            "not known" if per_thousand is None else f"{per_thousand:.4f}",
        )


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Returns a table for the narrowest terminal: heads are broken over lines, numbers never."""
    table = Table(title=title, title_justify="left")
    for name, *cells in zip(names, *rows, strict=True):
        table.add_column(name, justify="right", width=max(map(len, (*cells, *name.split()))))
    for row in rows:
        table.add_row(*row)
    return table
