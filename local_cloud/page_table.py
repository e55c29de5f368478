"""Reads and writes the tables that programs keep in the pages of docs/, between two markers that readers don't see."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# With it in their environment, tests and the soak write tables anew; without it, tests compare them.
WRITE_DOCS: Final = "FRUITS_WRITE_DOCS"


def is_to_be_written() -> bool:
    return bool(os.environ.get(WRITE_DOCS))


@dataclass(frozen=True)
class PageTable:
    """The lines of a page between `begin` and `end`, which stand on lines of their own and may be the same."""

    page: Path
    begin: str
    end: str

    def read(self) -> str:
        """Returns what the page has. Raises ValueError if it has no place for it."""
        return self._parts()[1]

    def write(self, table: str) -> None:
        """Puts whole lines in place of those that the page has. Raises ValueError if it has no place for them."""
        before, _, after = self._parts()
        self.page.write_text(f"{before}{table}{after}", encoding="utf-8")

    def _parts(self) -> tuple[str, str, str]:
        before, begin, rest = self.page.read_text(encoding="utf-8").partition(f"{self.begin}\n")
        table, end, after = rest.partition(self.end)
        if not (begin and end):
            raise ValueError(f"{self.page} has no '{self.begin}' with '{self.end}' below it.")
        return before + begin, table, end + after
