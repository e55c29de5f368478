"""What a person types, read in one way by all commands. What can't be meant is refused in a sentence."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Final, NoReturn

from fruit_cli.errors import CommandError

# Above it, sums of money and time are no longer exact numbers.
_MOST: Final = 10**15


class OneLineParser(argparse.ArgumentParser):
    """A parser that refuses in one line, without the list of all that could be asked for."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}. See `python -m {self.prog} --help`.\n")


def positive(text: str) -> int:
    """Returns a whole number from 1 on, which may be written as 22,688 or 22_688."""
    try:
        number = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        number = 0
    if not 1 <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 to {_MOST:,}")
    return number


def positive_minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes <= _MOST:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of minutes above 0")
    return minutes


def typed_path(text: str) -> Path:
    """Returns the path, `~` being the home. Raises CommandError if that is nobody's."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise CommandError(f"'{text}' begins with the home of a user that is not known here. Type the folder's whole path.") from error
