"""Measures the most memory that a process and what it has started have had, as the kernel counts it (Linux only)."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

JAVA: Final = "Java"
WORKER: Final = "Python workers"
OWN: Final = "driver's Python"

_LOOK_SECONDS: Final = 1.0


def peak_megabytes(process_id: int) -> float:
    """Returns the largest resident memory that a living process has had. Raises OSError if there is no such process."""
    status = Path(f"/proc/{process_id}/status").read_text(encoding="ascii", errors="replace")
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0) / 1024


def kind_of(process: psutil.Process) -> str:
    """Returns the kind of a process: Java, one of Spark's Python workers, or a way's own Python. Raises psutil.Error if
    the process has ended.
    """
    if "java" in process.name():
        return JAVA
    return WORKER if "pyspark.daemon" in process.cmdline() else OWN


class MemoryWatch:
    """Looks at a process and all its children every second while its context is open. `peaks` holds the peak of the
    largest process of each kind, in MB.
    """

    def __init__(self, process_id: int) -> None:
        self._process = psutil.Process(process_id)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self.peaks: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._is_over.wait(_LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        with contextlib.suppress(psutil.Error):
            for member in [self._process, *self._process.children(recursive=True)]:
                # A process that has just ended was looked at before.
                with contextlib.suppress(psutil.Error, OSError):
                    kind = kind_of(member)
                    self.peaks[kind] = max(self.peaks.get(kind, 0.0), peak_megabytes(member.pid))
