"""Starts the local cloud and the Airflow UI in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fruit_cli.arguments import ABOUT_THE_LOCAL_CLOUD
from fruit_cli.lake.connection import current_connection
from fruit_cli.stack.airflow_environment import AIRFLOW_USER
from fruit_cli.stack.lifecycle import LocalStack
from local_cloud.stack.state import local_home, why_it_stopped

if TYPE_CHECKING:
    from pathlib import Path

    from local_cloud.stack.state import StackState


@click.command(epilog=ABOUT_THE_LOCAL_CLOUD)
@click.option("--without-airflow", is_flag=True, help="Starts S3 and EMR only.")
@click.option("--without-release", is_flag=True, help="Publishes no release into the lake.")
def command(*, without_airflow: bool, without_release: bool) -> int:
    """Starts the local cloud (S3 and EMR on this machine) and Airflow's UI in the background, and publishes a release.

    \b
    Example:
      python -m fruit_cli up
    """
    stack = LocalStack(local_home())
    already_up = stack.state()
    if already_up is None and (reason := why_it_stopped(stack.home)):
        print(f"The last local cloud stopped by itself: {reason}\n")
    state = stack.start(with_airflow=not without_airflow)
    if not without_release:
        from fruit_cli.commands.publish import publish  # TensorFlow and numpy are behind it

        publish(current_connection())
    print(summary(state, stack.home, already_up=state == already_up))
    return 0


def ui(state: StackState) -> str | None:
    """Returns where Airflow's UI is and who may log in there, or None if Airflow is not up."""
    who = f" (user {AIRFLOW_USER}, password {state.airflow_password})" if state.airflow_password else ""
    return f"{state.airflow_url}{who}" if state.airflow_url else None


def summary(state: StackState, home: Path, *, already_up: bool) -> str:
    """Returns the lines that tell a person what is where, and how to stop it."""
    rows = {
        "Airflow UI": ui(state),
        "S3": state.s3_url,
        "EMR": state.emr_url,
        "Lake": str(home / "s3" / state.bucket),
        "Logs": str(home / "logs"),
    }
    lines = [f"  {name:<11}{value}" for name, value in rows.items() if value]
    head = "It is already up:" if already_up else "It is up:"
    return "\n".join([head, *lines, "Stop it with `make down`; the lake stays."])
