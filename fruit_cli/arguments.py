"""Reads what a person types in the same way for all commands, and refuses in a sentence what can't be meant."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import click

from fruit_cli.errors import CommandError

# Sums of money and time are not exact above this number.
_MOST: Final = 10**15

# A command's help ends with one of these texts, which say what it reads from the environment.
ABOUT_THE_LAKE: Final = (
    "The local cloud's home is FRUITS_LOCAL_HOME, else .local/. On AWS, with your usual credentials, "
    "FRUITS_LAKE_BUCKET and FRUITS_AWS_REGION [default: eu-west-1] say which lake, and FRUITS_LAKE_OWNER whose "
    "[default: the account of the credentials]."
)
ABOUT_AIRFLOW: Final = (
    "For an Airflow elsewhere (--target aws) set AIRFLOW_API_URL (https), and AIRFLOW_API_TOKEN or AIRFLOW_API_USER "
    "and AIRFLOW_API_PASSWORD."
)
ABOUT_THE_LOCAL_CLOUD: Final = (
    "Everything is kept in FRUITS_LOCAL_HOME [default: .local/]. FRUITS_LOCAL_UI_PORT, FRUITS_LOCAL_S3_PORT and "
    "FRUITS_LOCAL_EMR_PORT choose other ports, FRUITS_LAKE_BUCKET [default: fruits-lake] another bucket."
)


def positive(text: str) -> int:
    """Returns the whole number that `text` says, which may be written as 22,688 or 22_688. Raises click.BadParameter if
    it is none from 1 to 10^15.
    """
    try:
        number = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        number = 0
    if not 1 <= number <= _MOST:
        raise click.BadParameter(f"'{text}' is not a whole number from 1 to {_MOST:,}.")
    return number


def positive_minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes <= _MOST:
        raise click.BadParameter(f"'{text}' is not a number of minutes above 0.")
    return minutes


def typed_path(text: str) -> Path:
    """Returns the path, in which `~` stands for a user's home. Raises CommandError if it begins with the home of an
    unknown user.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise CommandError(
            f"'{text}' begins with the home of a user that is not known here. Type the folder's whole path."
        ) from error
