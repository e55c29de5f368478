"""Cuts a text into reports, each of which tells of one failure.

A report is a traceback with those it is chained to, a Java stack trace, a logger's line, or a plain `error: ...`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Final

from fruit_contract.failures.causes import CANCELLED
from fruit_contract.failures.rules import STEP_RULES, VAGUE, Rule, cause_of, rule_of_error

LONGEST_SCANNED: Final = 4000
_LINES_SCANNED: Final = 20_000  # from either end of what is left of a log without Spark's chatter
_FRAMES_OF_JAVA: Final = 2
_MESSAGE_LINES: Final = 8
RECORD: Final = re.compile(
    r"(?:\d\d/\d\d/\d\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[T ][\d:.,]+Z?)\s+(?:\[[^\]]{0,200}\]\s*)?(?:- "
    r")?(?P<level>[A-Z]{4,8})\b:?\s*"
)
_PYTHON_RECORD: Final = re.compile(r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):[\w.]+:")
_CHATTER: Final = frozenset({"INFO", "DEBUG", "TRACE"})
WARNINGS: Final = frozenset({"WARN", "WARNING"})
ERROR_LEVELS: Final = frozenset({"ERROR", "FATAL", "CRITICAL", "SEVERE"})
_SCHEDULER: Final = re.compile(
    r"(?:TaskSetManager|TaskSchedulerImpl|Yarn[\w$]*|BlockManagerMaster\w*|HealthTracker|ExecutorMonitor|Client)\b"
)
_NOISY_LOGGER: Final = re.compile(
    r"(?:ShutdownHookManager|Transport\w+|AsyncEventQueue|LiveListenerBus|ContextCleaner|Inbox|ApplicationMaster: "
    r"RECEIVED)\b"
)
DRIVER_FRAMES: Final = "Driver stacktrace:"  # and all the errors once more
_TRACEBACK: Final = "Traceback (most recent call last):"
_RAISED_FROM: Final = "The above exception was the direct cause of the following exception:"
_CHAINED: Final = frozenset({"During handling of the above exception, another exception occurred:", _RAISED_FROM})
_FROM_WORKER: Final = "An exception was thrown from the Python worker"
_UNRAISABLE: Final = ("Exception ignored in", "Error in atexit._run_exitfuncs", "Exception ignored on")
FRAME: Final = re.compile(r'\s+File "(?P<file>[^"]*)", line \d+')
LIBRARY: Final = re.compile(r"site-packages|dist-packages|/lib(?:64)?/python3|pyspark\.zip|py4j|<frozen |<string>")
_LAST_LINE: Final = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?::\s|:?$)")
_PYTHON: Final = re.compile(r"(?P<name>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit))(?::\s|$)")
_JAVA: Final = re.compile(
    r'(?:Exception in thread "[^"]{0,200}" |Caused by: |Suppressed: |: |# )?'
    r"(?P<name>(?:[a-z_][\w$]*\.)+[A-Z][\w$]*(?:Exception|Error|Failure|Fault|Throwable|Interrupt)[\w$]*)(?::\s|$)"
)
_JAVA_WITHIN: Final = re.compile(
    r"(?<![\w.$])(?P<name>(?:[a-z_][\w$]*\.){1,20}[A-Z][\w$]*(?:Exception|Error))(?=:\s|$)"
)
PLAIN: Final = re.compile(
    r"\S{0,200}: error: |(?i:fatal error|error|exception): |\S{0,200}: (?:command not found|Permission denied|No such "
    r"file or directory)$"
    r"|WARNING: Retrying \(|bootstrap failed: |(?:download|upload|copy) failed: |python\S{0,40}: can't open "
    r"file|Killed$"
    r"|\S{0,200}: line \d+: +\d+ (?:Killed|Segmentation fault|Aborted)|Fatal Python error: |Segmentation "
    r"fault|terminate called after"
    r"|OpenJDK 64-Bit Server VM warning: .*failed; error=|# There is insufficient memory|Unable to locate credentials"
    r"|No space left on device"
    r"|[\w.-]{1,80}: \S{1,80} installed, \S{1,80} pinned$"
)
_LOUD: Final = re.compile(r"error|fail|fatal|denied|killed|no space|not found|refused|unable|exit", re.IGNORECASE)
# The last pattern is of a log that Airflow can't read, and the reason for that is no failure of the step.
SURVIVED: Final = re.compile(
    r"ignor|retry|try(?:ing)? again|computed again|merged again|goes on without|fall(?:ing|s)? back|\(this log can't "
    r"be ",
    re.IGNORECASE,
)
_SYMPTOM: Final = re.compile(
    r"Py4JNetworkError|Answer from Java side is empty|Error while sending or receiving|trying to connect to the Java "
    r"server"
    r"|SparkContext (?:was|has been) (?:shut ?down|stopped)|stopped SparkContext|SparkContext was shut "
    r"down|[Ss]hutdown ?[Hh]ook"
    r"|Shutdown in progress|TaskKilled|Stage "
    r"cancelled|InterruptedException|ClosedByInterrupt|RejectedExecution|ClosedChannelException"
    r"|RpcEnv already stopped|Could not find CoarseGrainedScheduler|Failed to delete: "
    r"|^SystemExit|GeneratorExit|RECEIVED SIGNAL"
    r"|UncheckedIOException: .*shutdown|SparkContext is stopping|KeyboardInterrupt"
)
_WRAPPER: Final = re.compile(
    r"SparkUserAppException|User application exited with|Py4JJavaError|Py4JError|An exception was thrown from the "
    r"Python worker"
    r"|PythonException|Job aborted|[Tt]ask failed while writing|TASK_WRITE_FAILED|finished with (?:failed )?(?:final "
    r")?status"
    r"|CalledProcessError"
    r"|returned non-zero exit|^bootstrap failed|Exception thrown in awaitResult|aborting "
    r"job|ExecutionException|InvocationTargetException"
    r"|UndeclaredThrowable|failed with exit|exiting with ret|Uncaught exception in thread|Exception in task|Aborting "
    r"task|EOFException"
    r"|failed to write|Application diagnostics|StreamingQueryException|Failed to (?:start|run) |^Error: application "
    r"failed"
)
_LOOK_UP: Final = re.compile(r"(?:Key|Attribute|Index|Lookup)Error|StopIteration")
_LINK: Final = re.compile(r"(?:\w*Connection\w*|EOF|BrokenPipe|OS|Timeout|socket\.\w*)(?:Error|timeout)?\b")


def symptom_of_another(words: str) -> bool:
    """Returns whether the words tell of what follows whenever a process or its Java ends, whatever ended them."""
    return _SYMPTOM.search(words) is not None


@dataclass
class Mention:
    """Describes a line that names an error."""

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
class Report:
    """Holds the lines from `start` to `end` (inclusive) about one failure. `level` is the logger's, or empty for what
    ended the process.
    """

    start: int
    end: int
    level: str = ""
    is_noise: bool = False
    mentions: list[Mention] = field(default_factory=list)

    def root(self) -> Mention | None:
        """Returns the error that the others follow from, or None if there is none: Python's first real error, else the
        deepest known one of Java's, else the deepest real one, else the last.
        """
        real = [mention for mention in self.mentions if mention.is_real]
        python = [mention for mention in real if mention.is_python]
        began = next((mention for mention in self.mentions if mention.is_python), None)
        if began and began.is_symptom and not any(mention.is_known for mention in python):
            return began  # once its Java is gone, a step raises many more errors
        if python:
            first = python[0]
            better = (
                later
                for later in python[1:]
                if later.is_known and (later.is_raised_from or _LOOK_UP.search(first.name))
            )
            return first if first.is_known else next(better, first)
        known = [mention for mention in real if mention.is_known]
        return next(reversed(known or real or self.mentions), None)


def reports_of(lines: list[str]) -> list[Report]:
    """Returns the reports in a text's telling lines, in order."""
    reader = _Reader(lines)
    for number, line in enumerate(lines):
        reader.read(number, line)
    return reader.reports


def telling_lines(text: str) -> list[str]:
    """Returns the lines of a text, without Spark's chatter and with only the first two of Java's frames in a row. Of a
    very long text both ends are taken, and long lines are cut.
    """
    telling: list[str] = []
    frames = 0
    for whole in text.splitlines():
        line = whole[:LONGEST_SCANNED].rstrip()
        frames = frames + 1 if line.startswith("\tat ") else 0
        record = RECORD.match(line) if line[:1].isdigit() else None
        if frames <= _FRAMES_OF_JAVA and not (record and record["level"] in _CHATTER):
            telling.append(line)
    if len(telling) > 2 * _LINES_SCANNED:
        return [*telling[:_LINES_SCANNED], *telling[-_LINES_SCANNED:]]
    return telling


def is_passing(line: str) -> bool:
    """Returns whether a line is a warning of anything but the schedulers of tasks and nodes."""
    record = RECORD.match(line)
    return record is not None and record["level"] in WARNINGS and not _SCHEDULER.match(line, record.end())


def _is_of_the_link(frames: list[str]) -> bool:
    """Returns whether an error came up where Python and Java talk, and not in code that was called from there."""
    return all(LIBRARY.search(file) for file in frames) and any("py4j" in file or "pyspark" in file for file in frames)


class _Reader:
    """Reads a text line by line into reports."""

    def __init__(self, lines: list[str]) -> None:
        self.reports: list[Report] = []
        self._lines = lines
        self._report: Report | None = None
        self._frames: list[str] | None = None  # of the traceback that is being read
        self._is_raised_from = False

    def read(self, number: int, line: str) -> None:
        record = RECORD.match(line) or _PYTHON_RECORD.match(line)
        if record:
            self._read_record(number, line, record)
        elif _TRACEBACK in line:
            self._read_traceback(number, line)
        elif self._frames is not None and (not line.strip() or line[:1].isspace()):
            if frame := FRAME.match(line):
                self._frames.append(frame["file"])
            self._extend(number)
        elif self._frames is not None and (found := _LAST_LINE.match(line)):
            is_link = _LINK.match(found["name"]) is not None and _is_of_the_link(self._frames[-3:])
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
        elif PLAIN.match(line) or (_LOUD.search(line) and line[:1].strip() and self._is_plain_and_known(line)):
            self._open(number)
            self._mention(number, "", is_plain=True)
        elif not line.strip() or line[:1].isspace() or line in _CHAINED or line == DRIVER_FRAMES:
            self._extend(number)

    def _read_record(self, number: int, line: str, record: re.Match[str]) -> None:
        level, said = record["level"], line[record.end() :]
        is_noise = bool(_NOISY_LOGGER.match(said)) or not (level in ERROR_LEVELS or _SCHEDULER.match(said))
        self._open(number, level=level, is_noise=is_noise)
        if _TRACEBACK in line:
            self._frames = []
        else:
            found = _JAVA_WITHIN.search(said)
            self._mention(number, found["name"] if found else "")

    def _read_traceback(self, number: int, line: str) -> None:
        report, before = self._report, self._before(number)
        is_logged = (
            report is not None
            and report.end == number - 1
            and bool(_PYTHON_RECORD.match(before) or before.startswith(_UNRAISABLE))
        )
        if found := _JAVA.match(line):
            self._mention(number, found["name"])
        elif report is None or not (
            before in _CHAINED or is_logged or before.startswith(_FROM_WORKER) or line[:1].isspace()
        ):
            self._open(number)
        self._frames = []
        self._is_raised_from = before == _RAISED_FROM

    def _mention(self, number: int, name: str, **kind: bool) -> None:
        report = (
            self._report
            if self._report is not None and number - self._report.end <= _MESSAGE_LINES
            else self._open(number)
        )
        report.mentions.append(Mention(number, name, self._words(number), **kind))
        report.end = number

    def _words(self, number: int) -> str:
        lines = [self._lines[number]]
        for line in islice(self._lines, number + 1, number + _MESSAGE_LINES):
            is_other = _TRACEBACK in line or line.startswith(("\tat ", "Caused by: ", ": "))
            if not line.strip() or is_other or any(error.match(line) for error in (RECORD, _JAVA, _PYTHON, PLAIN)):
                break
            lines.append(line)
        return "\n".join(lines)[:LONGEST_SCANNED]

    def _is_plain_and_known(self, line: str) -> bool:
        is_harmless = SURVIVED.search(line) or "warn" in line.lower()
        return not is_harmless and cause_of(line[:400], STEP_RULES) not in (*VAGUE, CANCELLED)

    def _before(self, number: int) -> str:
        """Returns the last line before a line that is not empty, without blanks around it; an empty text if three are
        empty.
        """
        return next(
            (self._lines[place] for place in range(number - 1, max(-1, number - 4), -1) if self._lines[place].strip()),
            "",
        ).strip()

    def _open(self, number: int, *, level: str = "", is_noise: bool = False) -> Report:
        self._report = Report(number, number, level, is_noise)
        self._frames = None
        self.reports.append(self._report)
        return self._report

    def _extend(self, number: int) -> None:
        if self._report is not None:
            self._report.end = number
