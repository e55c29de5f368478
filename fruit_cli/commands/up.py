"""`make up`: the local cloud and the Airflow UI, in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fruit_cli.lake.connection import current_connection
from fruit_cli.stack.airflow_environment import AIRFLOW_USER
from fruit_cli.stack.lifecycle import LocalStack
from local_cloud.stack.state import local_home

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from local_cloud.stack.state import StackState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--without-airflow", action="store_true", help="S3 and EMR only")
    parser.add_argument("--without-release", action="store_true", help="publishes no release into the lake")


def run(arguments: argparse.Namespace) -> int:
    stack = LocalStack(local_home())
    already_up = stack.state()
    if already_up is None and (reason := stack.why_it_stopped()):
        print(f"The last local cloud stopped by itself: {reason}\n")
    state = stack.start(with_airflow=not arguments.without_airflow)
    if not arguments.without_release:
        from fruit_cli.commands.publish import publish  # TensorFlow and numpy are behind it

        publish(current_connection())
    print(summary(state, stack.home, already_up=state == already_up))
    return 0


def ui(state: StackState) -> str | None:
    """Where Airflow's UI is, and who may log in there."""
    who = f" (user {AIRFLOW_USER}, password {state.airflow_password})" if state.airflow_password else ""
    return f"{state.airflow_url}{who}" if state.airflow_url else None


def summary(state: StackState, home: Path, *, already_up: bool) -> str:
    """What is where, and how to end it."""
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
