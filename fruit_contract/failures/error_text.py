"""Finds the error that a text is about: the traceback that ends a job, or a log in which the same failure is told many
times over.

It takes the root of each report in the text (see `reports`). Of the roots, the one that stands nearest to the end of
the process counts (see `Standing`); of several such, the one whose rule comes first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from fruit_contract.failures.causes import BOOTSTRAP_FAILED, CANCELLED, CODE_ERROR, UNKNOWN, Cause
from fruit_contract.failures.reports import (
    DRIVER_FRAMES,
    ERROR_LEVELS,
    FRAME,
    LIBRARY,
    PLAIN,
    RECORD,
    SURVIVED,
    WARNINGS,
    Mention,
    Report,
    is_passing,
    reports_of,
    telling_lines,
)
from fruit_contract.failures.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CONTEXT_LINES: Final = 40
_REPORTS_KEPT: Final = 300  # from either end
_LINES_BEFORE: Final = 12
_LINES_AFTER: Final = 6
_LAST_LINES: Final = 25
_LOST_TASK: Final = re.compile(r"Lost task (?P<task>\d+)\.\d+ in stage (?P<stage>[\d.]+)")
_ABORTING: Final = re.compile(r"Task (?P<task>\d+) in stage (?P<stage>[\d.]+) failed \d+ times?; aborting job")
_HANDED_ON: Final = re.compile(r".*Lost task [^:]{0,200}: |Caused by: |: ")
_POINTER: Final = re.compile(r"\s+[~^ ]+$")


class Standing(IntEnum):
    """Says how near an error stands to the end of the process. The nearest counts."""

    ENDED_IT = 0
    LOGGED = 1  # a logger told it, or it is in words that no rule knows as an error's
    IN_PASSING = 2  # it is a warning of a scheduler of tasks or nodes
    FOLLOWS = 3  # it follows from an error that the text lacks, or only hands one on


@dataclass(frozen=True)
class FoundError:
    """Describes an error. `name` and `words` are its own, `error` is its line, and `context` has the lines around it,
    without chatter and library frames.
    """

    cause: Cause
    standing: Standing
    log: str
    name: str
    words: str
    error: str
    context: tuple[str, ...]


def find_error(texts: Mapping[str, str]) -> FoundError | None:
    """Returns the error that counts most in `texts`, which has each text by its log's name; None if they name none. It
    never raises, however odd they are.
    """
    found = [error for log, text in texts.items() for error in _Text(log, text).errors()]
    return min(found, key=lambda ranked: ranked[0])[1] if found else None


def last_lines(text: str) -> tuple[str, ...]:
    """Returns the last lines of a text that names no error, without chatter."""
    return tuple([line for line in telling_lines(text) if line.strip() and not is_passing(line)][-_LAST_LINES:])


class _Text:
    """Holds one text and its reports."""

    def __init__(self, log: str, text: str) -> None:
        self._log = log
        self._lines = telling_lines(text)
        self._reports = reports_of(self._lines)

    def errors(self) -> Iterator[tuple[tuple[int, ...], FoundError]]:
        """Yields the root of each report, with its rank: the least rank counts most."""
        aborted = {
            (found["task"], found["stage"])
            for line in self._lines
            if "aborting job" in line and (found := _ABORTING.search(line))
        }
        for report in [*self._reports[:_REPORTS_KEPT], *self._reports[_REPORTS_KEPT:][-_REPORTS_KEPT:]]:
            root = report.root()
            # A scheduler's warning that names no error is no failure.
            if root is None or report.is_noise or not (root.is_known or root.name or report.level not in WARNINGS):
                continue
            lost = _LOST_TASK.search(self._lines[report.start])
            ended_it = not report.level or (lost is not None and (lost["task"], lost["stage"]) in aborted)
            standing = self._standing(report, root, ended_it=ended_it)
            # What follows from an unknown error tells nothing of its cause.
            cause = UNKNOWN if root.is_symptom and root.rule.cause is not CANCELLED else root.rule.cause
            # Of several errors the first counts, but of plain lines the last: a script goes on after an error that it
            # survives.
            rank = (standing, RULES.index(root.rule), root.is_plain, -root.line if root.is_plain else root.line)
            error = self._error(root)
            yield (
                rank,
                FoundError(
                    cause, standing, self._log, root.name, root.words, error, self._context(report, root, error)
                ),
            )

    def _standing(self, report: Report, root: Mention, *, ended_it: bool) -> Standing:
        if root.is_symptom or not root.is_real or root.rule.cause in (CANCELLED, BOOTSTRAP_FAILED):
            return Standing.FOLLOWS
        if ended_it and not self._was_survived(report):
            is_error = (
                PLAIN.match(self._lines[root.line])
                if root.is_plain
                else root.is_known or root.is_python or root.rule.cause is CODE_ERROR
            )
            return Standing.ENDED_IT if is_error else Standing.LOGGED
        return Standing.LOGGED if report.level in ERROR_LEVELS else Standing.IN_PASSING

    def _was_survived(self, report: Report) -> bool:
        """Returns whether the line before a traceback says that the step went on."""
        before = self._lines[report.start - 1] if report.start else ""
        return (
            not report.level
            and before[:1].strip() != ""
            and not PLAIN.match(before)
            and SURVIVED.search(before) is not None
        )

    def _error(self, root: Mention) -> str:
        line = self._lines[root.line]
        record = RECORD.match(line)
        line = line[record.end() :] if record else line
        handed_on = _HANDED_ON.match(line)
        return line[handed_on.end() if handed_on else 0 :].strip()

    def _context(self, report: Report, root: Mention, error: str) -> tuple[str, ...]:
        start, end = report.start, report.end
        if root.is_plain or (len(report.mentions) == 1 and not root.is_python):
            start, end = max(0, start - _LINES_BEFORE), min(len(self._lines) - 1, end + _LINES_AFTER)
        end = next(
            (number - 1 for number in range(root.line, end + 1) if self._lines[number].startswith(DRIVER_FRAMES)), end
        )
        shown = list(_without_libraries(self._lines, start, end))
        place = next((place for place, (number, _) in enumerate(shown) if number >= root.line), len(shown) - 1)
        first = max(0, min(place - CONTEXT_LINES * 3 // 4, len(shown) - CONTEXT_LINES))
        # A long line is cut where it is shown, so what stands before the error is left out of the root's line.
        return tuple(error if number == root.line else line for number, line in shown[first : first + CONTEXT_LINES])


def _without_libraries(lines: Sequence[str], start: int, end: int) -> Iterator[tuple[int, str]]:
    """Yields the lines worth showing, with their numbers. Of Python's frames these are only those of our own code."""
    is_library = False
    for number in range(start, end + 1):
        line = lines[number]
        if frame := FRAME.match(line):
            is_library = LIBRARY.search(frame["file"]) is not None
        elif not line[:4].isspace() or line.startswith("\t"):
            is_library = False
        if line.strip() and not (is_library or is_passing(line) or _POINTER.match(line)):
            yield number, line
