"""Makes tables for the terminal (rich) and for a file (Markdown) from a description of their columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Row = TypeVar("Row")


@dataclass(frozen=True)
class Grid:
    """Holds text in rows and columns; the first column is left-aligned, the others right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_rich(self) -> Table:
        table = Table(title=self.title, title_justify="left")
        for number, name in enumerate(self.header):
            table.add_column(name, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def to_markdown(self) -> str:
        rule = ["---", *["---:"] * (len(self.header) - 1)]
        lines = [
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
            for row in (self.header, rule, *self.rows)
        ]
        return f"**{self.title}**\n\n" + "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Column(Generic[Row]):
    """Describes a column: its header, the form of its cells (as `str.format` takes it), and the value that it takes
    from a row.

    A value of None leaves its cell empty; a tuple fills several places of the form.
    """

    header: str
    form: str
    value: Callable[[Row], object]

    def cell(self, row: Row) -> str:
        value = self.value(row)
        if value is None:
            return ""
        return self.form.format(*value) if isinstance(value, tuple) else self.form.format(value)


def grid(title: str, columns: Sequence[Column[Row]], rows: Iterable[Row]) -> Grid:
    return Grid(
        title, [column.header for column in columns], [tuple(column.cell(row) for column in columns) for row in rows]
    )


def column_each(
    names: Iterable[str], form: str, value: Callable[[Row, str], object], header: Callable[[str], str] = str
) -> list[Column[Row]]:
    """Returns a column for each name, with what `value` finds in a row by it."""

    def column(name: str) -> Column[Row]:
        return Column(header(name), form, lambda row: value(row, name))

    return [column(name) for name in names]


def two_columns(title: str, header: tuple[str, str], form: str, rows: Iterable[tuple[str, object]]) -> Grid:
    """Returns a table of what was measured, and its figure."""
    return Grid(title, header, [(what, form.format(value)) for what, value in rows])


def markdown_page(title: str, facts: Mapping[str, str], grids: Sequence[Grid], notes: Sequence[str]) -> str:
    described = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    listed = "\n".join(f"- {note}" for note in notes)
    return "\n".join([f"# {title}\n", described + "\n", *(table.to_markdown() for table in grids), listed + "\n"])
