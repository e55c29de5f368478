"""Holds what Python 3.11 has in its standard library and 3.10 lacks. Airflow's side takes these names from here,
because it may run on 3.10.
"""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from datetime import UTC
    from enum import StrEnum
else:
    from datetime import timezone
    from enum import Enum

    UTC = timezone.utc

    class StrEnum(str, Enum):
        """Makes the members of an enumeration strings, in f-strings and templates too."""

        __str__ = str.__str__


__all__ = ["UTC", "StrEnum"]
