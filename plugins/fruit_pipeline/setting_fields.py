"""Declares a setting as a field of a dataclass that also says what its variable may hold, its unit and what it
is for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from zoneinfo import ZoneInfo

from croniter import croniter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from dataclasses import Field

Value = TypeVar("Value")
_METADATA_KEY: Final = "setting"
_CRON_FIELDS: Final = 5
# croniter draws such a field anew each time, so the schedule would change with every parse.
_DRAWN: Final = re.compile(r"(?:^|\s)[rR](?:[\s(/]|$)")


@dataclass(frozen=True)
class Kind(Generic[Value]):
    """Says in words what a variable may hold (`allowed`). `read` turns its text into the field's value, and raises
    ValueError for any other text.
    """

    allowed: str
    read: Callable[[str], Value]


@dataclass(frozen=True)
class Declaration:
    """Holds what is said of a setting beside its name, type and default.

    An empty `variable` means `FRUITS_` and the field's name. `part` is the title of the settings that begin with this
    one.
    """

    kind: Kind[Any]
    meaning: str
    unit: str = ""
    variable: str = ""
    part: str = ""


def setting(
    default: Value, kind: Kind[Value], meaning: str, *, unit: str = "", variable: str = "", part: str = ""
) -> Value:
    """Returns a dataclass field. It is typed as the field's value, so that the type checker compares field, default and
    kind.
    """
    declared: Any = field(default=default, metadata={_METADATA_KEY: Declaration(kind, meaning, unit, variable, part)})
    typed: Value = declared
    return typed


def declaration_of(declared: Field[Any]) -> Declaration:
    """Returns what `setting` was told about the field."""
    found: Declaration = declared.metadata[_METADATA_KEY]
    return found


def text_like(pattern: str, allowed: str) -> Kind[str]:
    """Returns the kind of texts that match `pattern` from begin to end."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return Kind(allowed, read)


def one_of(choices: Iterable[Value]) -> Kind[Value]:
    """Returns the kind of some words: strings, or the members of a StrEnum."""
    known = {str(choice): choice for choice in choices}

    def read(text: str) -> Value:
        if text not in known:
            raise ValueError(text)
        return known[text]

    return Kind(f"one of {', '.join(known)}", read)


def whole_number(lowest: int, highest: int) -> Kind[int]:
    """Returns the kind of whole numbers from `lowest` to `highest`, both included."""

    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not lowest <= int(text) <= highest:
            raise ValueError(text)
        return int(text)

    return Kind(f"a whole number from {lowest} to {highest}", read)


def number(above: float, highest: float) -> Kind[float]:
    """Returns the kind of numbers above the first bound, up to the second."""

    def read(text: str) -> float:
        if not above < float(text) <= highest:  # not true of NaN either
            raise ValueError(text)
        return float(text)

    return Kind(f"a number above {above:g}, at most {highest:,.10g}", read)


def _read_cron(text: str) -> str:
    if len(text.split()) != _CRON_FIELDS or _DRAWN.search(text):
        raise ValueError(text)
    # What Airflow itself reads it with. An expression may be one and yet name no day, as the 30th of February.
    croniter(text).get_next()
    return text


def _read_time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, OSError):  # one that is not known, or a folder of them
        raise ValueError(text) from None
    return text


ANY_TEXT: Final = Kind("any text", str)
NAME: Final = text_like(r"[A-Za-z0-9_.:/+=,@-]{1,256}", "a name of letters, digits and `_.:/+=,@-`")
ABSOLUTE_PATH: Final = text_like(r"/(?s:.*)", "the absolute path of a file")
CRON: Final = Kind("a cron expression of five fields, for example `0 0 * * *` (midnight)", _read_cron)
TIME_ZONE: Final = Kind("the name of a time zone, for example Europe/Berlin", _read_time_zone)
