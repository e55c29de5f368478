"""Reads and writes the tables that programs keep in the pages of docs/, between two markers that readers don't see."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# Where this variable is set, tests and the soak write the tables anew. Elsewhere, tests compare them.
WRITE_DOCS: Final = "FRUITS_WRITE_DOCS"


def is_to_be_written() -> bool:
    return bool(os.environ.get(WRITE_DOCS))


@dataclass(frozen=True)
class PageTable:
    """Describes the lines of a page between `begin` and `end`, which stand on their own lines and may be the same."""

    page: Path
    begin: str
    end: str

    def read(self) -> str:
        """Returns the table that the page has. Raises ValueError if it has no place for one."""
        return self._parts()[1]

    def write(self, table: str) -> None:
        """Replaces the table of the page by `table`, whole lines. Raises ValueError if it has no place for one."""
        before, _, after = self._parts()
        self.page.write_text(f"{before}{table}{after}", encoding="utf-8")

    def _parts(self) -> tuple[str, str, str]:
        before, begin, rest = self.page.read_text(encoding="utf-8").partition(f"{self.begin}\n")
        table, end, after = rest.partition(self.end)
        if not (begin and end):
            raise ValueError(f"{self.page} has no '{self.begin}' with '{self.end}' below it.")
        return before + begin, table, end + after
