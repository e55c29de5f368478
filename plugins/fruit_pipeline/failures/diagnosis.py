"""Which of a log's many errors is the one that made a step fail, and what usually causes it. Pure.

A failure is told many times over: by the worker, by the task, by the stage, by the driver, and by whoever was waiting for it. A log is cut
into reports (a traceback with those it is chained to, a Java stack trace, a logger's line, a plain `error: ...`). Of each report the root
is taken, and of all of them the one that weighs most: what ended the process before what a logger said in passing, a known cause before
an unknown one, a real error before one that only hands another on (a wrapper) or follows from it (a symptom).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fruit_contract.failures import causes as failure_causes
from fruit_contract.failures.causes import Cause, cause_of
from fruit_contract.failures.error_text import (
    ERROR_LEVELS,
    FRAME,
    GAP,
    LIBRARY,
    LONGEST_LINE,
    LONGEST_SCANNED,
    PLAIN,
    RECORD,
    SCHEDULER,
    SURVIVED,
    SYMPTOM,
    Mention,
    Reader,
    Report,
    telling_lines,
)
from fruit_pipeline.failures.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EMR: Final = "EMR"  # in place of a log's name, where EMR's own words tell the cause
CONTEXT_LINES: Final = 40
_REPORTS_KEPT: Final = 300  # from either end
_LINES_BEFORE: Final = 12
_LINES_AFTER: Final = 6
_LAST_LINES: Final = 25
_LOGS_IN_ORDER: Final = ("stdout", "stderr", "controller")
_WARNINGS: Final = frozenset({"WARN", "WARNING"})
_POINTER: Final = re.compile(r"\s+[~^ ]+$")
_LOST_TASK: Final = re.compile(r"Lost task (?P<task>\d+)\.\d+ in stage (?P<stage>[\d.]+)")
_ABORTING: Final = re.compile(r"Task (?P<task>\d+) in stage (?P<stage>[\d.]+) failed \d+ times?; aborting job")
_HANDED_ON: Final = re.compile(r".*Lost task [^:]{0,200}: ")
_NO_INDEX_WORDS: Final = ("WARNING: Retrying", "ERROR: Could not find a version", "ERROR: No matching distribution")
# What weighs more is nearer to what made the step fail. See `_weight`.
(
    _ROOT_KNOWN,
    _ROOT_REAL,
    _NO_INDEX,
    _NO_VERSION,
    _LOGGED_KNOWN,
    _ROOT_UNKNOWN,
    _SAID_KNOWN,
    _LOGGED_REAL,
    _PASSING_KNOWN,
    _PASSING,
    _WRAPPED,
    _FOLLOWS,
) = range(12, 0, -1)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|\x1b\[[0-9;]{0,20}m")


@dataclass(frozen=True)
class Diagnosis:
    """`log` is the name of the log (or EMR) that holds `error`; `context` is what stands around it, without secrets and chatter."""

    cause: Cause
    log: str
    error: str
    context: tuple[str, ...]


def diagnose(logs: Mapping[str, str], emr_words: Sequence[str] = ()) -> Diagnosis:
    """Why a step or a bootstrap action failed, from its logs by name and from EMR's own reasons. Never raises, however odd they are."""
    names = sorted(logs, key=lambda name: (_LOGS_IN_ORDER.index(name) if name in _LOGS_IN_ORDER else len(_LOGS_IN_ORDER), name))
    parsed = [_Log(name, telling_lines(logs[name])) for name in names]
    found = [candidate for log in parsed if (candidate := log.best()) is not None]
    best = max(found, key=lambda candidate: candidate.weight, default=None)
    told = _cause_emr_tells(emr_words, best)
    if told is not None:
        context = best.context if best is not None and best.weight > _WRAPPED else ()
        return Diagnosis(told[0], EMR, _shown(told[1]), context)
    if best is not None:
        return Diagnosis(best.cause, best.log, best.error, best.context)
    for log in parsed:
        lines = log.last_lines()
        if lines:
            return Diagnosis(failure_causes.UNKNOWN, log.name, lines[-1], lines)
    return Diagnosis(failure_causes.UNKNOWN, EMR, _shown(" ".join(emr_words)), ())


@dataclass(frozen=True)
class _Candidate:
    weight: int
    cause: Cause
    log: str
    error: str
    context: tuple[str, ...]


class _Log:
    def __init__(self, name: str, lines: list[str]) -> None:
        self.name = name
        self.lines = lines
        self._reports = Reader(lines).reports

    def best(self) -> _Candidate | None:
        aborted = {(found["task"], found["stage"]) for line in self.lines if "aborting job" in line and (found := _ABORTING.search(line))}
        weighed = []
        for report in [*self._reports[:_REPORTS_KEPT], *self._reports[_REPORTS_KEPT:][-_REPORTS_KEPT:]]:
            root = report.root()
            # A scheduler's warning that names no error is no failure.
            if root is not None and not report.is_noise and (root.is_known or root.name or report.level not in _WARNINGS):
                weighed.append((self._weight(report, root, aborted), report, root))
        if not weighed:
            return None
        # The first of several, but the last of plain lines: a script goes on after an error that it survives.
        most = max(weight for weight, _, _ in weighed)
        heaviest = [(report, root) for weight, report, root in weighed if weight == most]
        plain = [pair for pair in heaviest if pair[1].is_plain]
        report, root = plain[-1] if len(plain) == len(heaviest) else next(pair for pair in heaviest if not pair[1].is_plain)
        # What follows from an unknown error tells nothing of its cause.
        cause = failure_causes.UNKNOWN if root.is_symptom and root.cause is not failure_causes.CANCELLED else root.cause
        return _Candidate(most, cause, self.name, self._error(root), self._context(report, root))

    def last_lines(self) -> tuple[str, ...]:
        lines = [line for line in self.lines if line.strip() and not _is_chatter(line)]
        return tuple(_shown(line) for line in lines[-_LAST_LINES:])

    def _weight(self, report: Report, root: Mention, aborted: set[tuple[str, str]]) -> int:
        if root.is_symptom:
            return _FOLLOWS
        if not root.is_real or root.cause in (failure_causes.CANCELLED, failure_causes.BOOTSTRAP_FAILED):
            return _WRAPPED
        lost = _LOST_TASK.search(self.lines[report.start])
        ended_it = not report.level or (lost is not None and (lost["task"], lost["stage"]) in aborted)
        if ended_it and not self._was_survived(report):
            return self._weight_of_root(root)
        if report.level in ERROR_LEVELS:
            return _LOGGED_KNOWN if root.is_known else _LOGGED_REAL
        return _PASSING_KNOWN if root.is_known else _PASSING

    def _weight_of_root(self, root: Mention) -> int:
        if root.is_plain:
            if not PLAIN.match(self.lines[root.line]):
                return _SAID_KNOWN
            # Without an index no package has a version: what comes before says why.
            if root.words.startswith(_NO_INDEX_WORDS):
                return _NO_INDEX if root.words.startswith(_NO_INDEX_WORDS[0]) else _NO_VERSION
        if root.is_known:
            return _ROOT_KNOWN
        return _ROOT_REAL if root.is_python or root.cause is failure_causes.CODE_ERROR else _ROOT_UNKNOWN

    def _was_survived(self, report: Report) -> bool:
        """Whether the line before a traceback says that the step went on."""
        before = self.lines[report.start - 1] if report.start else ""
        return not report.level and before[:1].strip() != "" and not PLAIN.match(before) and SURVIVED.search(before) is not None

    def _error(self, root: Mention) -> str:
        line = self.lines[root.line]
        record = RECORD.match(line)
        line = line[record.end() :] if record else line
        handed_on = _HANDED_ON.match(line)
        line = line[handed_on.end() :] if handed_on else line
        return _shown(line.removeprefix("Caused by: ").removeprefix(": ").strip())

    def _context(self, report: Report, root: Mention) -> tuple[str, ...]:
        start, end = report.start, report.end
        if root.is_plain or (len(report.mentions) == 1 and not root.is_python):
            start, end = max(0, start - _LINES_BEFORE), min(len(self.lines) - 1, end + _LINES_AFTER)
        # The driver's own frames, and all the errors once more.
        end = next((number - 1 for number in range(root.line, end + 1) if self.lines[number].startswith("Driver stacktrace:")), end)
        kept = list(_condensed(self.lines, start, end))
        place = next((place for place, number in enumerate(kept) if number >= root.line), len(kept) - 1)
        first = max(0, min(place - CONTEXT_LINES * 3 // 4, len(kept) - CONTEXT_LINES))
        error = self._error(root)
        shown = {number: _shown(self.lines[number]) for number in kept[first : first + CONTEXT_LINES]}
        if root.line in shown and error not in shown[root.line]:
            shown[root.line] = error
        return tuple(shown.values())


def _is_chatter(line: str) -> bool:
    """A gap, or a warning of anything but the schedulers of tasks and nodes."""
    record = RECORD.match(line)
    return line == GAP or (record is not None and record["level"] in _WARNINGS and not SCHEDULER.match(line, record.end()))


def _condensed(lines: Sequence[str], start: int, end: int) -> Iterator[int]:
    """The numbers of the lines worth showing: of Python's frames those of our own code, or the last if there is none."""
    frames: list[tuple[bool, list[int]]] = []
    for number in range(start, end + 1):
        line = lines[number]
        frame = FRAME.match(line)
        if frame:
            frames.append((LIBRARY.search(frame["file"]) is None, [number]))
        elif frames and line[:4].isspace() and line.strip() and not line.startswith("\t"):
            if not _POINTER.match(line):
                frames[-1][1].append(number)
        else:
            yield from _frames_shown(frames)
            frames = []
            if line.strip() and not _is_chatter(line):
                yield number
    yield from _frames_shown(frames)


def _frames_shown(frames: list[tuple[bool, list[int]]]) -> Iterator[int]:
    own = [numbers for is_own, numbers in frames if is_own] or [numbers for _, numbers in frames[-1:]]
    for numbers in own:
        yield from numbers


def _cause_emr_tells(emr_words: Sequence[str], best: _Candidate | None) -> tuple[Cause, str] | None:
    """The cause and the words, if EMR knows better than the logs: it knows of machines that are gone, and who ended what."""
    told = [
        words for words in emr_words if words.strip() and not SYMPTOM.search(words) and not (best and best.error and best.error in words)
    ]
    cause = cause_of("; ".join(told), failure_causes.CAUSES)
    if cause is failure_causes.UNKNOWN:
        return None
    words = next((words for words in told if cause_of(words, failure_causes.CAUSES) is cause), "; ".join(told))
    if best is None:
        return cause, words
    if cause in (failure_causes.NODE_LOST, failure_causes.CANCELLED) and (best.weight < _ROOT_REAL or best.cause.passes):
        return cause, words
    if best.weight <= _WRAPPED and cause not in (failure_causes.CODE_ERROR, failure_causes.BOOTSTRAP_FAILED):
        return cause, words
    return None


def _shown(line: str) -> str:
    """A line fit to be shown: no secrets, no control characters, not too long. Its end is kept: wrappers begin, roots end a line."""
    clean = redact(_UNPRINTABLE.sub("", line[:LONGEST_SCANNED])).rstrip()
    return clean if len(clean) <= LONGEST_LINE else f"{clean[: LONGEST_LINE // 2]} [...] {clean[-LONGEST_LINE // 2 + 7 :]}"
