"""Finds the error that a text is about: the traceback that ends a job, or a log in which the same failure is told many times over. Pure.

A text is cut into reports (a traceback with those it is chained to, a Java stack trace, a logger's line, a plain `error: ...`), and of each
report the root is taken. Of the roots the one counts that stands nearest to the end of the process (see `Standing`), then the one whose
rule comes first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Final

from fruit_contract.failures.causes import BOOTSTRAP_FAILED, CANCELLED, CODE_ERROR, UNKNOWN, Cause
from fruit_contract.failures.rules import RULES, STEP_RULES, VAGUE, Rule, cause_of, rule_of_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LONGEST_SCANNED: Final = 4000
CONTEXT_LINES: Final = 40
_LINES_SCANNED: Final = 20_000  # from either end of what is left of a log without Spark's chatter
_REPORTS_KEPT: Final = 300  # from either end
_FRAMES_OF_JAVA: Final = 2
_MESSAGE_LINES: Final = 8
_LINES_BEFORE: Final = 12
_LINES_AFTER: Final = 6
_LAST_LINES: Final = 25

_RECORD: Final = re.compile(
    r"(?:\d\d/\d\d/\d\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[T ][\d:.,]+Z?)\s+(?:\[[^\]]{0,200}\]\s*)?(?:- )?(?P<level>[A-Z]{4,8})\b:?\s*"
)
_PYTHON_RECORD: Final = re.compile(r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):[\w.]+:")
_CHATTER: Final = frozenset({"INFO", "DEBUG", "TRACE"})
_WARNINGS: Final = frozenset({"WARN", "WARNING"})
_ERROR_LEVELS: Final = frozenset({"ERROR", "FATAL", "CRITICAL", "SEVERE"})
_SCHEDULER: Final = re.compile(
    r"(?:TaskSetManager|TaskSchedulerImpl|Yarn[\w$]*|BlockManagerMaster\w*|HealthTracker|ExecutorMonitor|Client)\b"
)
_NOISY_LOGGER: Final = re.compile(
    r"(?:ShutdownHookManager|Transport\w+|AsyncEventQueue|LiveListenerBus|ContextCleaner|Inbox|ApplicationMaster: RECEIVED)\b"
)
_LOST_TASK: Final = re.compile(r"Lost task (?P<task>\d+)\.\d+ in stage (?P<stage>[\d.]+)")
_ABORTING: Final = re.compile(r"Task (?P<task>\d+) in stage (?P<stage>[\d.]+) failed \d+ times?; aborting job")
_HANDED_ON: Final = re.compile(r".*Lost task [^:]{0,200}: |Caused by: |: ")

_TRACEBACK: Final = "Traceback (most recent call last):"
_RAISED_FROM: Final = "The above exception was the direct cause of the following exception:"
_CHAINED: Final = frozenset({"During handling of the above exception, another exception occurred:", _RAISED_FROM})
_FROM_WORKER: Final = "An exception was thrown from the Python worker"
_DRIVER_FRAMES: Final = "Driver stacktrace:"  # and all the errors once more
_UNRAISABLE: Final = ("Exception ignored in", "Error in atexit._run_exitfuncs", "Exception ignored on")
_FRAME: Final = re.compile(r'\s+File "(?P<file>[^"]*)", line \d+')
_POINTER: Final = re.compile(r"\s+[~^ ]+$")
_LIBRARY: Final = re.compile(r"site-packages|dist-packages|/lib(?:64)?/python3|pyspark\.zip|py4j|<frozen |<string>")
_LAST_LINE: Final = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?::\s|:?$)")
_PYTHON: Final = re.compile(r"(?P<name>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit))(?::\s|$)")
_JAVA: Final = re.compile(
    r'(?:Exception in thread "[^"]{0,200}" |Caused by: |Suppressed: |: |# )?'
    r"(?P<name>(?:[a-z_][\w$]*\.)+[A-Z][\w$]*(?:Exception|Error|Failure|Fault|Throwable|Interrupt)[\w$]*)(?::\s|$)"
)
_JAVA_WITHIN: Final = re.compile(r"(?<![\w.$])(?P<name>(?:[a-z_][\w$]*\.){1,20}[A-Z][\w$]*(?:Exception|Error))(?=:\s|$)")
_PLAIN: Final = re.compile(
    r"\S{0,200}: error: |(?i:fatal error|error|exception): |\S{0,200}: (?:command not found|Permission denied|No such file or directory)$"
    r"|WARNING: Retrying \(|bootstrap failed: |(?:download|upload|copy) failed: |python\S{0,40}: can't open file|Killed$"
    r"|\S{0,200}: line \d+: +\d+ (?:Killed|Segmentation fault|Aborted)|Fatal Python error: |Segmentation fault|terminate called after"
    r"|OpenJDK 64-Bit Server VM warning: .*failed; error=|# There is insufficient memory|Unable to locate credentials"
    r"|No space left on device"
    r"|[\w.-]{1,80}: \S{1,80} installed, \S{1,80} pinned$"
)
_LOUD: Final = re.compile(r"error|fail|fatal|denied|killed|no space|not found|refused|unable|exit", re.IGNORECASE)
# The last is of a log that Airflow can't read: why is no failure of the step.
_SURVIVED: Final = re.compile(
    r"ignor|retry|try(?:ing)? again|computed again|merged again|goes on without|fall(?:ing|s)? back|\(this log can't be ", re.IGNORECASE
)
_SYMPTOM: Final = re.compile(
    r"Py4JNetworkError|Answer from Java side is empty|Error while sending or receiving|trying to connect to the Java server"
    r"|SparkContext (?:was|has been) (?:shut ?down|stopped)|stopped SparkContext|SparkContext was shut down|[Ss]hutdown ?[Hh]ook"
    r"|Shutdown in progress|TaskKilled|Stage cancelled|InterruptedException|ClosedByInterrupt|RejectedExecution|ClosedChannelException"
    r"|RpcEnv already stopped|Could not find CoarseGrainedScheduler|Failed to delete: |^SystemExit|GeneratorExit|RECEIVED SIGNAL"
    r"|UncheckedIOException: .*shutdown|SparkContext is stopping|KeyboardInterrupt"
)
_WRAPPER: Final = re.compile(
    r"SparkUserAppException|User application exited with|Py4JJavaError|Py4JError|An exception was thrown from the Python worker"
    r"|PythonException|Job aborted|[Tt]ask failed while writing|TASK_WRITE_FAILED|finished with (?:failed )?(?:final )?status"
    r"|CalledProcessError"
    r"|returned non-zero exit|^bootstrap failed|Exception thrown in awaitResult|aborting job|ExecutionException|InvocationTargetException"
    r"|UndeclaredThrowable|failed with exit|exiting with ret|Uncaught exception in thread|Exception in task|Aborting task|EOFException"
    r"|failed to write|Application diagnostics|StreamingQueryException|Failed to (?:start|run) |^Error: application failed"
)
_LOOK_UP: Final = re.compile(r"(?:Key|Attribute|Index|Lookup)Error|StopIteration")
_LINK: Final = re.compile(r"(?:\w*Connection\w*|EOF|BrokenPipe|OS|Timeout|socket\.\w*)(?:Error|timeout)?\b")


class Standing(IntEnum):
    """How near an error stands to the end of the process: the nearest counts."""

    ENDED_IT = 0
    LOGGED = 1  # by a logger, or in words that nobody knows as an error's
    IN_PASSING = 2  # a warning of those who hand tasks out
    FOLLOWS = 3  # from an error that is not there itself, or only hands one on


@dataclass(frozen=True)
class FoundError:
    """An error as `name` and `words` tell it. `error` is its line, `context` what stands around it, without chatter and library frames."""

    cause: Cause
    standing: Standing
    log: str
    name: str
    words: str
    error: str
    context: tuple[str, ...]


def find_error(texts: Mapping[str, str]) -> FoundError | None:
    """Returns the error that counts most in texts by name; None if they name none. Never raises, however odd they are."""
    found = [error for log, text in texts.items() for error in _Text(log, text).errors()]
    return min(found, key=lambda ranked: ranked[0])[1] if found else None


def last_lines(text: str) -> tuple[str, ...]:
    """Returns the end of a text that names no error, without chatter."""
    return tuple([line for line in _telling_lines(text) if line.strip() and not _is_passing(line)][-_LAST_LINES:])


def symptom_of_another(words: str) -> bool:
    """Returns whether words tell of what follows when a process or its Java ends, whatever ended them."""
    return _SYMPTOM.search(words) is not None


@dataclass
class _Mention:
    """A line that names an error."""

    line: int
    name: str
    words: str  # the error's own: its line and what of its message follows
    is_python: bool = False
    is_plain: bool = False
    is_raised_from: bool = False
    is_link: bool = False  # a broken connection between Python and Java

    @cached_property
    def rule(self) -> Rule:
        return rule_of_error(self.name, self.words)

    @cached_property
    def is_symptom(self) -> bool:
        return self.is_link or symptom_of_another(self.words)

    @property
    def is_known(self) -> bool:
        return self.rule.cause not in VAGUE and not self.is_symptom

    @property
    def is_real(self) -> bool:
        return self.is_known or not (self.is_symptom or _WRAPPER.search(self.words))


@dataclass
class _Report:
    """Lines from `start` to `end` (inclusive) about one failure. `level` is a logger's, empty for what ended the process."""

    start: int
    end: int
    level: str = ""
    is_noise: bool = False
    mentions: list[_Mention] = field(default_factory=list)

    def root(self) -> _Mention | None:
        """Returns Python's first real error; else the deepest known one of Java's, else the deepest real one."""
        real = [mention for mention in self.mentions if mention.is_real]
        python = [mention for mention in real if mention.is_python]
        if python:
            first = python[0]
            better = (later for later in python[1:] if later.is_known and (later.is_raised_from or _LOOK_UP.search(first.name)))
            return first if first.is_known else next(better, first)
        known = [mention for mention in real if mention.is_known]
        return next(reversed(known or real or self.mentions), None)


class _Text:
    """One text, read line by line into reports."""

    def __init__(self, log: str, text: str) -> None:
        self._log = log
        self._lines = _telling_lines(text)
        self._reports: list[_Report] = []
        self._report: _Report | None = None
        self._frames: list[str] | None = None  # of the traceback that is being read
        self._is_raised_from = False
        for number, line in enumerate(self._lines):
            self._read(number, line)

    def errors(self) -> Iterator[tuple[tuple[int, ...], FoundError]]:
        """The root of each report, with what ranks it: the least counts most."""
        aborted = {(found["task"], found["stage"]) for line in self._lines if "aborting job" in line and (found := _ABORTING.search(line))}
        for report in [*self._reports[:_REPORTS_KEPT], *self._reports[_REPORTS_KEPT:][-_REPORTS_KEPT:]]:
            root = report.root()
            # A scheduler's warning that names no error is no failure.
            if root is None or report.is_noise or not (root.is_known or root.name or report.level not in _WARNINGS):
                continue
            lost = _LOST_TASK.search(self._lines[report.start])
            ended_it = not report.level or (lost is not None and (lost["task"], lost["stage"]) in aborted)
            standing = self._standing(report, root, ended_it=ended_it)
            # What follows from an unknown error tells nothing of its cause.
            cause = UNKNOWN if root.is_symptom and root.rule.cause is not CANCELLED else root.rule.cause
            # The first of several, but the last of plain lines: a script goes on after an error that it survives.
            rank = (standing, RULES.index(root.rule), root.is_plain, -root.line if root.is_plain else root.line)
            error = self._error(root)
            yield rank, FoundError(cause, standing, self._log, root.name, root.words, error, self._context(report, root, error))

    def _standing(self, report: _Report, root: _Mention, *, ended_it: bool) -> Standing:
        if root.is_symptom or not root.is_real or root.rule.cause in (CANCELLED, BOOTSTRAP_FAILED):
            return Standing.FOLLOWS
        if ended_it and not self._was_survived(report):
            is_error = (
                _PLAIN.match(self._lines[root.line]) if root.is_plain else root.is_known or root.is_python or root.rule.cause is CODE_ERROR
            )
            return Standing.ENDED_IT if is_error else Standing.LOGGED
        return Standing.LOGGED if report.level in _ERROR_LEVELS else Standing.IN_PASSING

    def _was_survived(self, report: _Report) -> bool:
        """Whether the line before a traceback says that the step went on."""
        before = self._lines[report.start - 1] if report.start else ""
        return not report.level and before[:1].strip() != "" and not _PLAIN.match(before) and _SURVIVED.search(before) is not None

    def _error(self, root: _Mention) -> str:
        line = self._lines[root.line]
        record = _RECORD.match(line)
        line = line[record.end() :] if record else line
        handed_on = _HANDED_ON.match(line)
        return line[handed_on.end() if handed_on else 0 :].strip()

    def _context(self, report: _Report, root: _Mention, error: str) -> tuple[str, ...]:
        start, end = report.start, report.end
        if root.is_plain or (len(report.mentions) == 1 and not root.is_python):
            start, end = max(0, start - _LINES_BEFORE), min(len(self._lines) - 1, end + _LINES_AFTER)
        shown = list(_without_libraries(self._lines, start, end))
        place = next((place for place, (number, _) in enumerate(shown) if number >= root.line), len(shown) - 1)
        first = max(0, min(place - CONTEXT_LINES * 3 // 4, len(shown) - CONTEXT_LINES))
        # A long line is cut where it is shown, so of the root's what is in front of the error is left out.
        return tuple(error if number == root.line else line for number, line in shown[first : first + CONTEXT_LINES])

    def _read(self, number: int, line: str) -> None:
        record = _RECORD.match(line) or _PYTHON_RECORD.match(line)
        if record:
            self._read_record(number, line, record)
        elif _TRACEBACK in line:
            self._read_traceback(number, line)
        elif self._frames is not None and (not line.strip() or line[:1].isspace()):
            if frame := _FRAME.match(line):
                self._frames.append(frame["file"])
            self._extend(number)
        elif self._frames is not None and (found := _LAST_LINE.match(line)):
            is_link = _LINK.match(found["name"]) is not None and any("py4j" in file or "pyspark" in file for file in self._frames[-3:])
            self._frames = None
            self._mention(number, found["name"], is_python=True, is_raised_from=self._is_raised_from, is_link=is_link)
        elif line.startswith(_UNRAISABLE):
            self._open(number, is_noise=True)
        else:
            self._frames = None
            self._read_text(number, line)

    def _read_text(self, number: int, line: str) -> None:
        if found := _JAVA.match(line):
            if line.startswith("Exception in thread"):
                self._open(number)
            self._mention(number, found["name"])
        elif found := _PYTHON.match(line):
            self._mention(number, found["name"], is_python=True)
        elif _PLAIN.match(line) or (_LOUD.search(line) and line[:1].strip() and self._is_plain_and_known(line)):
            self._open(number)
            self._mention(number, "", is_plain=True)
        elif not line.strip() or line[:1].isspace() or line in _CHAINED or line == _DRIVER_FRAMES:
            self._extend(number)

    def _read_record(self, number: int, line: str, record: re.Match[str]) -> None:
        level, said = record["level"], line[record.end() :]
        is_noise = bool(_NOISY_LOGGER.match(said)) or not (level in _ERROR_LEVELS or _SCHEDULER.match(said))
        self._open(number, level=level, is_noise=is_noise)
        if _TRACEBACK in line:
            self._frames = []
        else:
            found = _JAVA_WITHIN.search(said)
            self._mention(number, found["name"] if found else "")

    def _read_traceback(self, number: int, line: str) -> None:
        report, before = self._report, self._before(number)
        is_logged = report is not None and report.end == number - 1 and bool(_PYTHON_RECORD.match(before) or before.startswith(_UNRAISABLE))
        if found := _JAVA.match(line):
            self._mention(number, found["name"])
        elif report is None or not (before in _CHAINED or is_logged or before.startswith(_FROM_WORKER) or line[:1].isspace()):
            self._open(number)
        self._frames = []
        self._is_raised_from = before == _RAISED_FROM

    def _mention(self, number: int, name: str, **kind: bool) -> None:
        report = self._report if self._report is not None and number - self._report.end <= _MESSAGE_LINES else self._open(number)
        report.mentions.append(_Mention(number, name, self._words(number), **kind))
        report.end = number

    def _words(self, number: int) -> str:
        lines = [self._lines[number]]
        for line in islice(self._lines, number + 1, number + _MESSAGE_LINES):
            is_other = _TRACEBACK in line or line.startswith(("\tat ", "Caused by: ", ": "))
            if not line.strip() or is_other or any(error.match(line) for error in (_RECORD, _JAVA, _PYTHON, _PLAIN)):
                break
            lines.append(line)
        return "\n".join(lines)[:LONGEST_SCANNED]

    def _is_plain_and_known(self, line: str) -> bool:
        is_harmless = _SURVIVED.search(line) or "warn" in line.lower()
        return not is_harmless and cause_of(line[:400], STEP_RULES) not in (*VAGUE, CANCELLED)

    def _before(self, number: int) -> str:
        """The last line that is not empty."""
        return next((self._lines[place] for place in range(number - 1, max(-1, number - 4), -1) if self._lines[place].strip()), "").strip()

    def _open(self, number: int, *, level: str = "", is_noise: bool = False) -> _Report:
        self._report = _Report(number, number, level, is_noise)
        self._frames = None
        self._reports.append(self._report)
        return self._report

    def _extend(self, number: int) -> None:
        if self._report is not None:
            self._report.end = number


def _telling_lines(text: str) -> list[str]:
    """The lines without Spark's chatter and without all but the first of Java's frames."""
    telling: list[str] = []
    frames = 0
    for whole in text.splitlines():
        line = whole[:LONGEST_SCANNED].rstrip()
        frames = frames + 1 if line.startswith("\tat ") else 0
        record = _RECORD.match(line) if line[:1].isdigit() else None
        if frames <= _FRAMES_OF_JAVA and not (record and record["level"] in _CHATTER):
            telling.append(line)
    if len(telling) > 2 * _LINES_SCANNED:
        return [*telling[:_LINES_SCANNED], *telling[-_LINES_SCANNED:]]
    return telling


def _is_passing(line: str) -> bool:
    """Whether it is a warning of anything but the schedulers of tasks and nodes."""
    record = _RECORD.match(line)
    return record is not None and record["level"] in _WARNINGS and not _SCHEDULER.match(line, record.end())


def _without_libraries(lines: Sequence[str], start: int, end: int) -> Iterator[tuple[int, str]]:
    """The lines worth showing, with their numbers: of Python's frames those of our own code."""
    is_library = False
    for number in range(start, end + 1):
        line = lines[number]
        if line.startswith(_DRIVER_FRAMES):
            return
        if frame := _FRAME.match(line):
            is_library = _LIBRARY.search(frame["file"]) is not None
        elif not line[:4].isspace() or line.startswith("\t"):
            is_library = False
        if line.strip() and not (is_library or _is_passing(line) or _POINTER.match(line)):
            yield number, line
