"""Checks the causes of failure. docs/operations.md has their table; FRUITS_WRITE_DOCS=1 writes it there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fruit_contract.failures.rules import CAUSES
from fruit_pipeline.settings import VARIABLES
from local_cloud.page_table import PageTable, is_to_be_written
from local_cloud.project import PROJECT

if TYPE_CHECKING:
    from fruit_contract.failures.causes import Cause

TABLE = PageTable(
    PROJECT / "docs" / "operations.md",
    "<!-- causes, written by tests/fruit_contract/failures/test_causes.py -->",
    "<!-- end of the causes -->",
)


def table() -> str:
    """Returns all causes as a Markdown table, as docs/operations.md has it."""
    rows = [("cause", "usually", "what to do", "tried again"), ("---",) * 4]
    rows += [
        (f"`{cause.name}`", cause.usually, cause.what_to_do, "yes, while its cluster is up" if cause.passes else "no")
        for cause in CAUSES
    ]
    # Markdown would take <words> for a tag and | for the end of a cell.
    lines = (" | ".join(cell.replace("<", "&lt;").replace("|", "\\|") for cell in row) for row in rows)
    return "".join(f"| {line} |\n" for line in lines)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_every_cause_says_what_to_do_in_a_line(cause: Cause) -> None:
    for words in (cause.usually, cause.what_to_do):
        assert words.endswith((".", "?"))
        assert "\n" not in words
        assert len(words) < 500
    assert re.fullmatch(r"[a-z_]+", cause.name)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_whoever_is_to_clear_plan_run_is_told_how(cause: Cause) -> None:
    """With *only failed*, Airflow would leave out the tasks that are to run again because plan_run does."""
    words = f"{cause.usually} {cause.what_to_do}"
    told = words.count("(with *downstream*, without *only failed*)")
    assert len(re.findall(r"[Cc]lear[^.;:]*\bplan_run\b", words)) == words.count("*downstream*") == told


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


def test_the_operations_manual_has_this_table() -> None:
    if is_to_be_written():
        TABLE.write(table())
    assert TABLE.read() == table(), "FRUITS_WRITE_DOCS=1 writes the table anew"
