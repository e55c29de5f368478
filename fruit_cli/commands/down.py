"""Stops what `make up` started."""

from __future__ import annotations

import click

from fruit_cli.arguments import ABOUT_THE_LOCAL_CLOUD
from fruit_cli.stack.lifecycle import LocalStack
from local_cloud.stack.state import local_home


@click.command(epilog=ABOUT_THE_LOCAL_CLOUD)
def command() -> int:
    """Stops what `up` started: Airflow, and the local cloud with its clusters. The lake stays.

    \b
    Example:
      python -m fruit_cli down
    """
    LocalStack(local_home()).stop()
    return 0
