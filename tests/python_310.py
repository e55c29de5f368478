"""Gives Python 3.10 the names that the tests, which are written for 3.11, take from its standard library: `-p
tests.python_310`.

The code that is tested does without: `make compat` has imported it before.
"""

from __future__ import annotations

import datetime as dt
import typing

import typing_extensions

dt.UTC = dt.timezone.utc  # noqa: UP017  # the name is what is missing
for name in ("NotRequired", "Self", "assert_never"):
    setattr(typing, name, getattr(typing_extensions, name))
