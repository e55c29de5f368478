"""`make down`: stops what `make up` started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fruit_cli.stack.lifecycle import LocalStack
from local_cloud.stack.state import local_home

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`down` takes none: the home is $FRUITS_LOCAL_HOME, else `.local/`."""


def run(_: argparse.Namespace) -> int:
    LocalStack(local_home()).stop()
    return 0
