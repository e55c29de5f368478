"""Which of a log's many errors is the one that made a step fail, and what usually causes it. Pure.

A failure is told many times over: by the worker, by the task, by the stage, by the driver, and by whoever was waiting for it. A log is cut
into reports (a traceback with those it is chained to, a Java stack trace, a logger's line, a plain `error: ...`). Of each report the root
is taken, and of all of them the one that weighs most: what ended the process before what a logger said in passing, a known cause before
an unknown one, a real error before one that only hands another on (a wrapper) or follows from it (a symptom).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Final

from fruit_pipeline import failure_causes
from fruit_pipeline.failure_causes import Cause, cause_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EMR: Final = "EMR"  # in place of a log's name, where EMR's own words tell the cause

CONTEXT_LINES: Final = 40
LONGEST_LINE: Final = 400
_LONGEST_SCANNED: Final = 4000
_LINES_SCANNED: Final = 20_000  # from either end of what is left of a log without Spark's chatter
_REPORTS_KEPT: Final = 300  # from either end
_FRAMES_OF_JAVA: Final = 2
_MESSAGE_LINES: Final = 8
_LINES_BEFORE: Final = 12
_LINES_AFTER: Final = 6
_LAST_LINES: Final = 25

_GAP: Final = "\0"  # where chatter was left out
_LOGS_IN_ORDER: Final = ("stdout", "stderr", "controller")

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

_TRACEBACK: Final = "Traceback (most recent call last):"
_CHAINED: Final = "During handling of the above exception, another exception occurred:"
_RAISED_FROM: Final = "The above exception was the direct cause of the following exception:"
_FROM_WORKER: Final = "An exception was thrown from the Python worker"
_UNRAISABLE: Final = ("Exception ignored in", "Error in atexit._run_exitfuncs", "Exception ignored on")
_FRAME: Final = re.compile(r'\s+File "(?P<file>[^"]*)", line \d+')
_LIBRARY: Final = re.compile(r"site-packages|dist-packages|/lib(?:64)?/python3|pyspark\.zip|py4j|<frozen |<string>")
_POINTER: Final = re.compile(r"\s+[~^ ]+$")
_FINAL_LINE: Final = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?::\s|:?$)")
_BARE_ERROR: Final = re.compile(r"(?P<name>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit))(?::\s|$)")
_JAVA: Final = re.compile(
    r'(?:Exception in thread "[^"]{0,200}" |Caused by: |Suppressed: |: |# )?'
    r"(?P<name>(?:[a-z_][\w$]*\.)+[A-Z][\w$]*(?:Exception|Error|Failure|Fault|Throwable|Interrupt)[\w$]*)(?::\s|$)"
)
_JAVA_WITHIN: Final = re.compile(r"(?<![\w.$])(?P<name>(?:[a-z_][\w$]*\.){1,20}[A-Z][\w$]*(?:Exception|Error))(?=:\s|$)")
_LOST_TASK: Final = re.compile(r"Lost task (?P<task>\d+)\.\d+ in stage (?P<stage>[\d.]+)")
_ABORTING: Final = re.compile(r"Task (?P<task>\d+) in stage (?P<stage>[\d.]+) failed \d+ times?; aborting job")
_HANDED_ON: Final = re.compile(r".*Lost task [^:]{0,200}: ")

_PLAIN: Final = re.compile(
    r"\S{0,200}: error: |(?i:fatal error|error|exception): |\S{0,200}: (?:command not found|Permission denied|No such file or directory)$"
    r"|WARNING: Retrying \(|bootstrap failed: |(?:download|upload|copy) failed: |python\S{0,40}: can't open file|Killed$"
    r"|\S{0,200}: line \d+: +\d+ (?:Killed|Segmentation fault|Aborted)|Fatal Python error: |Segmentation fault|terminate called after"
    r"|OpenJDK 64-Bit Server VM warning: .*failed; error=|# There is insufficient memory|Unable to locate credentials"
    r"|No space left on device"
    r"|[\w.-]{1,80}: \S{1,80} installed, \S{1,80} pinned$"
)
_NO_INDEX_WORDS: Final = ("WARNING: Retrying", "ERROR: Could not find a version", "ERROR: No matching distribution")
_UNREAD_LOG: Final = "(this log can't be "  # see step_logs: why Airflow can't read it is no failure of the step
_LOUD: Final = re.compile(r"error|fail|fatal|denied|killed|no space|not found|refused|unable|exit", re.IGNORECASE)
_SURVIVED: Final = re.compile(
    r"ignor|retry|try(?:ing)? again|computed again|merged again|goes on without|fall(?:ing|s)? back", re.IGNORECASE
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
_VAGUE: Final = (failure_causes.UNKNOWN, failure_causes.CODE_ERROR)
_OF_CLUSTERS: Final = (failure_causes.CLUSTER_SETTINGS, failure_causes.CAPACITY)
_STEP_CAUSES: Final = tuple(cause for cause in failure_causes.CAUSES if cause not in _OF_CLUSTERS)

_HIDDEN: Final = "[removed]"
_SECRETS: Final = (
    (re.compile(r"\b(A3T[A-Z0-9]|AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA|ABIA|ACCA)[A-Z0-9]{12,124}\b"), rf"\1{_HIDDEN}"),
    (re.compile(r"(X-Amz-(?:Signature|Security-Token|Credential)(?:=|%3D|[\"']?: *[\"']?))[^&\s\"'<>,]+", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (
        re.compile(
            r"((?:secret[_-]?access[_-]?key|secret[._-]?key|session[._-]?token|security[_-]?token|secretaccesskey|sessiontoken|password|passwd"
            r"|fernet_?key|"
            r"auth_?token|api_?key)[\"']?\s{0,3}[=:>]\s{0,3}[\"']?)[^\s\"'&,;<>]{4,}",
            re.IGNORECASE,
        ),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"(--[a-z-]{0,40}(?:secret|token|password)[a-z-]{0,40}\s{1,3})[^\s-]\S*", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (re.compile(r"([?&](?:token|access_token|sig|signature)=)[^&\s\"'<>]+", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (re.compile(r"\b(?:IQoJb3|FwoGZX|FQoGZX)[A-Za-z0-9/+=%]{20,}"), _HIDDEN),  # how temporary credentials begin
    (re.compile(r"\b(Signature=|Bearer |Basic )[A-Za-z0-9+/=._~-]{8,}"), rf"\1{_HIDDEN}"),
    (re.compile(r"(://[^/\s:@]{0,200}:)[^/\s@]{1,200}@"), rf"\1{_HIDDEN}@"),
)
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
    parsed = [_Log(name, _telling_lines(logs[name])) for name in names]
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


def redact(text: str) -> str:
    """`text` without what looks like a key, token, signature or password."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


@dataclass(frozen=True)
class _Candidate:
    weight: int
    cause: Cause
    log: str
    error: str
    context: tuple[str, ...]


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
    def cause(self) -> Cause:
        """Its name tells more than its words, which may hold anything: `FileNotFoundError: .../timed out/...`."""
        named = cause_of(self.name, _STEP_CAUSES) if self.name else failure_causes.UNKNOWN
        return cause_of(self.words, _STEP_CAUSES) if named in _VAGUE else named

    @property
    def is_look_up(self) -> bool:
        return _LOOK_UP.search(self.name) is not None

    @property
    def is_symptom(self) -> bool:
        return self.is_link or _SYMPTOM.search(self.words) is not None

    @property
    def is_known(self) -> bool:
        return self.cause not in _VAGUE and not self.is_symptom

    @property
    def is_real(self) -> bool:
        return self.is_known or not (self.is_symptom or _WRAPPER.search(self.words))


@dataclass
class _Report:
    """What tells of one failure: lines from `start` to `end` (inclusive). `level` is a logger's, empty for what ended the process."""

    start: int
    end: int
    level: str = ""
    is_noise: bool = False
    mentions: list[_Mention] = field(default_factory=list)

    def root(self) -> _Mention | None:
        """Python's first real error; else the deepest known one of Java's, else the deepest real one."""
        real = [mention for mention in self.mentions if mention.is_real]
        python = [mention for mention in real if mention.is_python]
        if python:
            first = python[0]
            better = (later for later in python[1:] if later.is_known and (later.is_raised_from or first.is_look_up))
            return first if first.is_known else next(better, first)
        known = [mention for mention in real if mention.is_known]
        return next(reversed(known or real or self.mentions), None)


class _Log:
    def __init__(self, name: str, lines: list[str]) -> None:
        self.name = name
        self.lines = lines
        self._reports = _Reader(lines).reports

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

    def _weight(self, report: _Report, root: _Mention, aborted: set[tuple[str, str]]) -> int:
        if root.is_symptom:
            return _FOLLOWS
        if not root.is_real or root.cause in (failure_causes.CANCELLED, failure_causes.BOOTSTRAP_FAILED):
            return _WRAPPED
        lost = _LOST_TASK.search(self.lines[report.start])
        ended_it = not report.level or (lost is not None and (lost["task"], lost["stage"]) in aborted)
        if ended_it and not self._was_survived(report):
            return self._weight_of_root(root)
        if report.level in _ERROR_LEVELS:
            return _LOGGED_KNOWN if root.is_known else _LOGGED_REAL
        return _PASSING_KNOWN if root.is_known else _PASSING

    def _weight_of_root(self, root: _Mention) -> int:
        if root.is_plain:
            if not _PLAIN.match(self.lines[root.line]):
                return _SAID_KNOWN
            # Without an index no package has a version: what comes before says why.
            if root.words.startswith(_NO_INDEX_WORDS):
                return _NO_INDEX if root.words.startswith(_NO_INDEX_WORDS[0]) else _NO_VERSION
        if root.is_known:
            return _ROOT_KNOWN
        return _ROOT_REAL if root.is_python or root.cause is failure_causes.CODE_ERROR else _ROOT_UNKNOWN

    def _was_survived(self, report: _Report) -> bool:
        """Whether the line before a traceback says that the step went on."""
        before = self.lines[report.start - 1] if report.start else ""
        return not report.level and before[:1].strip() != "" and not _PLAIN.match(before) and _SURVIVED.search(before) is not None

    def _error(self, root: _Mention) -> str:
        line = self.lines[root.line]
        record = _RECORD.match(line)
        line = line[record.end() :] if record else line
        handed_on = _HANDED_ON.match(line)
        line = line[handed_on.end() :] if handed_on else line
        return _shown(line.removeprefix("Caused by: ").removeprefix(": ").strip())

    def _context(self, report: _Report, root: _Mention) -> tuple[str, ...]:
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


class _Reader:
    """Cuts a log into reports, line by line."""

    def __init__(self, lines: list[str]) -> None:
        self.reports: list[_Report] = []
        self._lines = lines
        self._report: _Report | None = None
        self._in_traceback = False
        self._is_raised_from = False
        self._frames: list[str] = []
        for number, line in enumerate(lines):
            self._read(number, line)

    def _read(self, number: int, line: str) -> None:
        if line == _GAP:
            if not self._in_traceback:
                self._report = None
            return
        record = _RECORD.match(line) or _PYTHON_RECORD.match(line)
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
        elif _PLAIN.match(line) or (_LOUD.search(line) and line[:1].strip() and self._is_plain_and_known(number)):
            self._open(number)
            self._mention(number, "", is_plain=True)
        elif self._report is not None and (
            not line.strip() or line[:1].isspace() or line in {_CHAINED, _RAISED_FROM, "Driver stacktrace:"}
        ):
            self._report.end = number

    def _read_record(self, number: int, line: str, record: re.Match[str]) -> None:
        level, said = record["level"], line[record.end() :]
        is_error = level in _ERROR_LEVELS
        self._open(number, level=level, is_noise=bool(_NOISY_LOGGER.match(said)) or not (is_error or _SCHEDULER.match(said)))
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
            if frame := _FRAME.match(line):
                self._frames.append(frame["file"])
            self._extend(number)
            return
        self._in_traceback = False
        found = _FINAL_LINE.match(line)
        if found:
            is_link = (
                bool(self._frames) and all(_LIBRARY.search(file) for file in self._frames[-3:]) and _LINK.match(found["name"]) is not None
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
        report.mentions.append(_Mention(number, name, self._words(number), **kind))
        report.end = number

    def _words(self, number: int) -> str:
        lines = [self._lines[number]]
        for line in islice(self._lines, number + 1, number + _MESSAGE_LINES):
            if (
                line == _GAP
                or not line.strip()
                or _TRACEBACK in line
                or line.startswith(("\tat ", "Caused by: ", ": "))
                or _RECORD.match(line)
            ):
                break
            if _JAVA.match(line) or _BARE_ERROR.match(line) or _PLAIN.match(line):
                break
            lines.append(line)
        return "\n".join(lines)[:_LONGEST_SCANNED]

    def _is_plain_and_known(self, number: int) -> bool:
        line = self._lines[number][:LONGEST_LINE]
        is_harmless = _SURVIVED.search(line) or "warn" in line.lower() or line.startswith(_UNREAD_LOG)
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

    def _open(self, number: int, *, level: str = "", is_noise: bool = False) -> _Report:
        self._report = _Report(number, number, level, is_noise)
        self._in_traceback = False
        self.reports.append(self._report)
        return self._report

    def _extend(self, number: int) -> None:
        if self._report is not None:
            self._report.end = number


def _telling_lines(text: str) -> list[str]:
    """The lines without Spark's chatter and without all but the first of Java's frames."""
    telling: list[str] = []
    frames = 0
    for whole in text.splitlines():
        line = whole[:_LONGEST_SCANNED].rstrip()
        if line.startswith("\tat "):
            frames += 1
            if frames > _FRAMES_OF_JAVA:
                continue
        else:
            frames = 0
        record = _RECORD.match(line) if line[:1].isdigit() else None
        if record and record["level"] in _CHATTER:
            line = _GAP
        if line == _GAP and telling and telling[-1] == _GAP:
            continue
        telling.append(line)
    if len(telling) > 2 * _LINES_SCANNED:
        return [*telling[:_LINES_SCANNED], _GAP, *telling[-_LINES_SCANNED:]]
    return telling


def _is_chatter(line: str) -> bool:
    """A gap, or a warning of anything but the schedulers of tasks and nodes."""
    record = _RECORD.match(line)
    return line == _GAP or (record is not None and record["level"] in _WARNINGS and not _SCHEDULER.match(line, record.end()))


def _condensed(lines: Sequence[str], start: int, end: int) -> Iterator[int]:
    """The numbers of the lines worth showing: of Python's frames those of our own code, or the last if there is none."""
    frames: list[tuple[bool, list[int]]] = []
    for number in range(start, end + 1):
        line = lines[number]
        frame = _FRAME.match(line)
        if frame:
            frames.append((_LIBRARY.search(frame["file"]) is None, [number]))
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
        words for words in emr_words if words.strip() and not _SYMPTOM.search(words) and not (best and best.error and best.error in words)
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
    clean = redact(_UNPRINTABLE.sub("", line[:_LONGEST_SCANNED])).rstrip()
    return clean if len(clean) <= LONGEST_LINE else f"{clean[: LONGEST_LINE // 2]} [...] {clean[-LONGEST_LINE // 2 + 7 :]}"
