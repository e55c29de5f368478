"""docs/operations.md has the table of causes; FRUITS_WRITE_DOCS=1 writes it there."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from fruit_contract.failures.rules import CAUSES
from fruit_pipeline.settings import VARIABLES
from local_cloud.project import PROJECT

if TYPE_CHECKING:
    from fruit_contract.failures.causes import Cause

OPERATIONS = PROJECT / "docs" / "operations.md"
BEGIN = "<!-- causes, written by tests/fruit_contract/failures/test_causes.py -->"
END = "<!-- end of the causes -->"


def table() -> str:
    """Returns all causes as a Markdown table, as docs/operations.md has it."""
    rows = [("cause", "usually", "what to do", "tried again"), ("---",) * 4]
    rows += [
        (f"`{cause.name}`", cause.usually, cause.what_to_do, "yes, while its cluster is up" if cause.passes else "no") for cause in CAUSES
    ]
    # Markdown would take <words> for a tag and | for the end of a cell.
    lines = (" | ".join(cell.replace("<", "&lt;").replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join(f"| {line} |" for line in lines)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_every_cause_says_what_to_do_in_a_line(cause: Cause) -> None:
    for words in (cause.usually, cause.what_to_do):
        assert words.endswith((".", "?"))
        assert "\n" not in words
        assert len(words) < 500
    assert re.fullmatch(r"[a-z_]+", cause.name)


def test_names_are_unique() -> None:
    names = [cause.name for cause in CAUSES]
    assert len(set(names)) == len(names)


def test_advice_names_only_settings_files_and_targets_that_there_are() -> None:
    advice = " ".join(f"{cause.usually} {cause.what_to_do}" for cause in CAUSES)
    assert set(re.findall(r"FRUITS_[A-Z_]+[A-Z]", advice)) <= set(VARIABLES.values())
    for file in set(re.findall(r"(?:bootstrap|docs)/[\w./-]+\w", advice)):
        assert (PROJECT / file).exists()
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", advice)) <= targets


def test_only_what_may_pass_by_itself_is_tried_again() -> None:
    assert {cause.name for cause in CAUSES if cause.passes} == {"another_writer", "node_lost", "throttled", "network"}


def test_the_table_has_a_row_of_four_cells_for_every_cause() -> None:
    rows = table().splitlines()
    assert len(rows) == 2 + len(CAUSES)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    for row, cause in zip(rows[2:], CAUSES, strict=True):
        assert row.startswith(f"| `{cause.name}` | ")
        assert row.endswith(" | yes, while its cluster is up |" if cause.passes else " | no |")


def test_the_operations_manual_has_this_table() -> None:
    page = OPERATIONS.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin
    assert end
    wanted = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if os.environ.get("FRUITS_WRITE_DOCS"):
        OPERATIONS.write_text(wanted, encoding="utf-8")
    assert page == wanted or os.environ.get("FRUITS_WRITE_DOCS"), "FRUITS_WRITE_DOCS=1 writes the table anew"
