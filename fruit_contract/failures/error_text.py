"""Cuts a log into reports: what tells of one failure (a traceback with those it is chained to, a Java stack trace, a logger's line, a plain
`error: ...`), and which of the errors in it is the root. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Final

from fruit_contract.failures import causes as failure_causes
from fruit_contract.failures.causes import Cause, cause_of

LONGEST_LINE: Final = 400
LONGEST_SCANNED: Final = 4000
_LINES_SCANNED: Final = 20_000  # from either end of what is left of a log without Spark's chatter
_FRAMES_OF_JAVA: Final = 2
_MESSAGE_LINES: Final = 8
GAP: Final = "\0"  # where chatter was left out
RECORD: Final = re.compile(
    r"(?:\d\d/\d\d/\d\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[T ][\d:.,]+Z?)\s+(?:\[[^\]]{0,200}\]\s*)?(?:- )?(?P<level>[A-Z]{4,8})\b:?\s*"
)
_PYTHON_RECORD: Final = re.compile(r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):[\w.]+:")
_CHATTER: Final = frozenset({"INFO", "DEBUG", "TRACE"})
ERROR_LEVELS: Final = frozenset({"ERROR", "FATAL", "CRITICAL", "SEVERE"})
SCHEDULER: Final = re.compile(
    r"(?:TaskSetManager|TaskSchedulerImpl|Yarn[\w$]*|BlockManagerMaster\w*|HealthTracker|ExecutorMonitor|Client)\b"
)
_NOISY_LOGGER: Final = re.compile(
    r"(?:ShutdownHookManager|Transport\w+|AsyncEventQueue|LiveListenerBus|ContextCleaner|Inbox|ApplicationMaster: RECEIVED)\b"
)
_TRACEBACK: Final = "Traceback (most recent call last):"
_CHAINED: Final = "During handling of the above exception, another exception occurred:"
_RAISED_FROM: Final = "The above exception was the direct cause of the following exception:"
_FROM_WORKER: Final = "An exception was thrown from the Python worker"
_UNRAISABLE: Final = ("Exception ignored in", "Error in atexit._run_exitfuncs", "Exception ignored on")
FRAME: Final = re.compile(r'\s+File "(?P<file>[^"]*)", line \d+')
LIBRARY: Final = re.compile(r"site-packages|dist-packages|/lib(?:64)?/python3|pyspark\.zip|py4j|<frozen |<string>")
_FINAL_LINE: Final = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?::\s|:?$)")
_BARE_ERROR: Final = re.compile(r"(?P<name>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit))(?::\s|$)")
_JAVA: Final = re.compile(
    r'(?:Exception in thread "[^"]{0,200}" |Caused by: |Suppressed: |: |# )?'
    r"(?P<name>(?:[a-z_][\w$]*\.)+[A-Z][\w$]*(?:Exception|Error|Failure|Fault|Throwable|Interrupt)[\w$]*)(?::\s|$)"
)
_JAVA_WITHIN: Final = re.compile(r"(?<![\w.$])(?P<name>(?:[a-z_][\w$]*\.){1,20}[A-Z][\w$]*(?:Exception|Error))(?=:\s|$)")
PLAIN: Final = re.compile(
    r"\S{0,200}: error: |(?i:fatal error|error|exception): |\S{0,200}: (?:command not found|Permission denied|No such file or directory)$"
    r"|WARNING: Retrying \(|bootstrap failed: |(?:download|upload|copy) failed: |python\S{0,40}: can't open file|Killed$"
    r"|\S{0,200}: line \d+: +\d+ (?:Killed|Segmentation fault|Aborted)|Fatal Python error: |Segmentation fault|terminate called after"
    r"|OpenJDK 64-Bit Server VM warning: .*failed; error=|# There is insufficient memory|Unable to locate credentials"
    r"|No space left on device"
    r"|[\w.-]{1,80}: \S{1,80} installed, \S{1,80} pinned$"
)
_UNREAD_LOG: Final = "(this log can't be "  # see step_logs: why Airflow can't read it is no failure of the step
_LOUD: Final = re.compile(r"error|fail|fatal|denied|killed|no space|not found|refused|unable|exit", re.IGNORECASE)
SURVIVED: Final = re.compile(
    r"ignor|retry|try(?:ing)? again|computed again|merged again|goes on without|fall(?:ing|s)? back", re.IGNORECASE
)
SYMPTOM: Final = re.compile(
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
_VAGUE: Final = (failure_causes.UNKNOWN, failure_causes.CODE_ERROR)
_OF_CLUSTERS: Final = (failure_causes.CLUSTER_SETTINGS, failure_causes.CAPACITY)
_STEP_CAUSES: Final = tuple(cause for cause in failure_causes.CAUSES if cause not in _OF_CLUSTERS)


@dataclass
class Mention:
    """A line that names an error."""

    line: int
    name: str
    words: str  # the error's own: its line and what of its message follows
    is_python: bool = False
    is_plain: bool = False
    is_raised_from: bool = False
    is_link: bool = False  # a broken connection between Python and Java

    @cached_property
    def cause(self) -> Cause:
        """Its name tells more than its words, which may hold anything: `FileNotFoundError: .../timed out/...`."""
        named = cause_of(self.name, _STEP_CAUSES) if self.name else failure_causes.UNKNOWN
        return cause_of(self.words, _STEP_CAUSES) if named in _VAGUE else named

    @property
    def is_look_up(self) -> bool:
        return _LOOK_UP.search(self.name) is not None

    @property
    def is_symptom(self) -> bool:
        return self.is_link or SYMPTOM.search(self.words) is not None

    @property
    def is_known(self) -> bool:
        return self.cause not in _VAGUE and not self.is_symptom

    @property
    def is_real(self) -> bool:
        return self.is_known or not (self.is_symptom or _WRAPPER.search(self.words))


@dataclass
class Report:
    """What tells of one failure: lines from `start` to `end` (inclusive). `level` is a logger's, empty for what ended the process."""

    start: int
    end: int
    level: str = ""
    is_noise: bool = False
    mentions: list[Mention] = field(default_factory=list)

    def root(self) -> Mention | None:
        """Python's first real error; else the deepest known one of Java's, else the deepest real one."""
        real = [mention for mention in self.mentions if mention.is_real]
        python = [mention for mention in real if mention.is_python]
        if python:
            first = python[0]
            better = (later for later in python[1:] if later.is_known and (later.is_raised_from or first.is_look_up))
            return first if first.is_known else next(better, first)
        known = [mention for mention in real if mention.is_known]
        return next(reversed(known or real or self.mentions), None)


class Reader:
    """Cuts a log into reports, line by line."""

    def __init__(self, lines: list[str]) -> None:
        self.reports: list[Report] = []
        self._lines = lines
        self._report: Report | None = None
        self._in_traceback = False
        self._is_raised_from = False
        self._frames: list[str] = []
        for number, line in enumerate(lines):
            self._read(number, line)

    def _read(self, number: int, line: str) -> None:
        if line == GAP:
            if not self._in_traceback:
                self._report = None
            return
        record = RECORD.match(line) or _PYTHON_RECORD.match(line)
        if record:
            self._read_record(number, line, record)
        elif _TRACEBACK in line:
            self._read_traceback(number, line)
        elif self._in_traceback:
            self._read_frame(number, line)
        elif line.startswith(_UNRAISABLE):
            self._open(number, is_noise=True)
        else:
            self._read_text(number, line)

    def _read_text(self, number: int, line: str) -> None:
        if found := _JAVA.match(line):
            self._read_java(number, line, found["name"])
        elif found := _BARE_ERROR.match(line):
            self._mention(number, found["name"], is_python=True)
        elif PLAIN.match(line) or (_LOUD.search(line) and line[:1].strip() and self._is_plain_and_known(number)):
            self._open(number)
            self._mention(number, "", is_plain=True)
        elif self._report is not None and (
            not line.strip() or line[:1].isspace() or line in {_CHAINED, _RAISED_FROM, "Driver stacktrace:"}
        ):
            self._report.end = number

    def _read_record(self, number: int, line: str, record: re.Match[str]) -> None:
        level, said = record["level"], line[record.end() :]
        is_error = level in ERROR_LEVELS
        self._open(number, level=level, is_noise=bool(_NOISY_LOGGER.match(said)) or not (is_error or SCHEDULER.match(said)))
        self._in_traceback = _TRACEBACK in line
        self._frames = []
        if not self._in_traceback:
            found = _JAVA_WITHIN.search(said)
            self._mention(number, found["name"] if found else "")

    def _read_traceback(self, number: int, line: str) -> None:
        is_chained = self._is_chained(number)
        belongs = self._report is not None and (is_chained or self._expects_traceback(number))
        if found := _JAVA.match(line):
            self._read_java(number, line, found["name"])
        elif not belongs and not line[:1].isspace():
            self._open(number)
        if self._report is None:
            self._open(number)
        self._in_traceback = True
        self._frames = []
        self._is_raised_from = is_chained and self._before(number) == _RAISED_FROM

    def _read_frame(self, number: int, line: str) -> None:
        if not line.strip() or line[:1].isspace():
            if frame := FRAME.match(line):
                self._frames.append(frame["file"])
            self._extend(number)
            return
        self._in_traceback = False
        found = _FINAL_LINE.match(line)
        if found:
            is_link = (
                bool(self._frames) and all(LIBRARY.search(file) for file in self._frames[-3:]) and _LINK.match(found["name"]) is not None
            )
            is_link = is_link and any("py4j" in file or "pyspark" in file for file in self._frames[-3:])
            self._mention(number, found["name"], is_python=True, is_raised_from=self._is_raised_from, is_link=is_link)
        else:
            self._read(number, line)

    def _read_java(self, number: int, line: str, name: str) -> None:
        if line.startswith("Exception in thread"):
            self._open(number)
        self._mention(number, name)

    def _mention(self, number: int, name: str, **kind: bool) -> None:
        report = self._report if self._report is not None and number - self._report.end <= _MESSAGE_LINES else self._open(number)
        report.mentions.append(Mention(number, name, self._words(number), **kind))
        report.end = number

    def _words(self, number: int) -> str:
        lines = [self._lines[number]]
        for line in islice(self._lines, number + 1, number + _MESSAGE_LINES):
            if (
                line == GAP
                or not line.strip()
                or _TRACEBACK in line
                or line.startswith(("\tat ", "Caused by: ", ": "))
                or RECORD.match(line)
            ):
                break
            if _JAVA.match(line) or _BARE_ERROR.match(line) or PLAIN.match(line):
                break
            lines.append(line)
        return "\n".join(lines)[:LONGEST_SCANNED]

    def _is_plain_and_known(self, number: int) -> bool:
        line = self._lines[number][:LONGEST_LINE]
        is_harmless = SURVIVED.search(line) or "warn" in line.lower() or line.startswith(_UNREAD_LOG)
        return not is_harmless and cause_of(line, _STEP_CAUSES) not in (*_VAGUE, failure_causes.CANCELLED)

    def _is_chained(self, number: int) -> bool:
        return self._before(number) in {_CHAINED, _RAISED_FROM}

    def _before(self, number: int) -> str:
        """The last line that is not empty."""
        return next((self._lines[place] for place in range(number - 1, max(-1, number - 4), -1) if self._lines[place].strip()), "").strip()

    def _expects_traceback(self, number: int) -> bool:
        """Whether the report so far ends in words that a traceback follows: a logger's, or those of an error of a worker."""
        report = self._report
        before = self._before(number)
        is_logged = report is not None and report.end == number - 1 and bool(_PYTHON_RECORD.match(before) or before.startswith(_UNRAISABLE))
        return is_logged or before.startswith(_FROM_WORKER)

    def _open(self, number: int, *, level: str = "", is_noise: bool = False) -> Report:
        self._report = Report(number, number, level, is_noise)
        self._in_traceback = False
        self.reports.append(self._report)
        return self._report

    def _extend(self, number: int) -> None:
        if self._report is not None:
            self._report.end = number


def telling_lines(text: str) -> list[str]:
    """The lines without Spark's chatter and without all but the first of Java's frames."""
    telling: list[str] = []
    frames = 0
    for whole in text.splitlines():
        line = whole[:LONGEST_SCANNED].rstrip()
        if line.startswith("\tat "):
            frames += 1
            if frames > _FRAMES_OF_JAVA:
                continue
        else:
            frames = 0
        record = RECORD.match(line) if line[:1].isdigit() else None
        if record and record["level"] in _CHATTER:
            line = GAP
        if line == GAP and telling and telling[-1] == GAP:
            continue
        telling.append(line)
    if len(telling) > 2 * _LINES_SCANNED:
        return [*telling[:_LINES_SCANNED], GAP, *telling[-_LINES_SCANNED:]]
    return telling
