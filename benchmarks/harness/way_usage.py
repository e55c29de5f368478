"""Measures what a way's processes use while it runs: their CPU, also of those that end meanwhile, and the most memory
that they hold together.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Final, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

    Snapshot = Mapping[int, "ProcessUsage"]

_SECONDS_BETWEEN_LOOKS: Final = 0.5


@dataclass(frozen=True)
class ProcessUsage:
    """Holds what one process has used at one moment. `reaped_seconds` is the CPU of its children that have ended and
    that it has waited for.

    Memory is in kilobytes: `private` is the process's own (heap, stacks), `shared` is what it sees of memory that
    processes share on purpose. Neither counts programs and libraries, which the kernel maps once for all.
    """

    parent: int
    own_seconds: float
    reaped_seconds: float
    private: int = 0
    shared: int = 0

    @property
    def cpu_seconds(self) -> float:
        return self.own_seconds + self.reaped_seconds


@dataclass(frozen=True)
class Usage:
    """Holds what a way has used; `peak_megabytes` is None where the kernel does not tell (elsewhere than on Linux)."""

    cpu_seconds: float
    peak_megabytes: float | None


def held_kilobytes(snapshot: Snapshot) -> int:
    """Returns the memory that all processes hold together: the sum of what is private, and the shared memory once."""
    return sum(process.private for process in snapshot.values()) + max(
        (process.shared for process in snapshot.values()), default=0
    )


def lost_cpu_seconds(before: Snapshot, after: Snapshot) -> float:
    """Returns the CPU of processes that ended between the two looks and that no other process took over.

    The kernel hands a process's CPU to the parent that waits for it. The parent of Ray's workers does not wait for
    them, so theirs would be lost.
    """
    ended = before.keys() - after.keys()
    by_heir: dict[int, float] = {}
    for pid in ended:
        heir = before[pid].parent
        while heir in ended:
            heir = before[heir].parent
        by_heir[heir] = by_heir.get(heir, 0.0) + before[pid].cpu_seconds
    lost = 0.0
    for heir, seconds in by_heir.items():
        taken = after[heir].reaped_seconds - before[heir].reaped_seconds if heir in before and heir in after else 0.0
        lost += max(0.0, seconds - taken)
    return lost


class UsageMeter:
    """Looks at a process and all it has started, twice a second, in a thread of its own, from `__enter__` to
    `__exit__`.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._snapshot: Snapshot = {}
        self._lost_seconds = 0.0
        self._counted_seconds = 0.0
        self._peak_kilobytes = 0
        self._lock = Lock()
        self._ended = Event()
        self._thread = Thread(target=self._look_on, name="usage-meter", daemon=True)

    def take(self) -> Usage:
        """Returns the usage since the last call, or since the process started."""
        self._look()
        with self._lock:
            used = sum(process.cpu_seconds for process in self._snapshot.values()) + self._lost_seconds
            usage = Usage(used - self._counted_seconds, self._peak_kilobytes / 1024 or None)
            self._counted_seconds, self._peak_kilobytes = used, held_kilobytes(self._snapshot)
        return usage

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            self._look()

    def _look(self) -> None:
        with self._lock:
            snapshot = _snapshot(self._root)
            self._lost_seconds += lost_cpu_seconds(self._snapshot, snapshot)
            self._snapshot = snapshot
            self._peak_kilobytes = max(self._peak_kilobytes, held_kilobytes(snapshot))


def _snapshot(root: psutil.Process) -> Snapshot:
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                found[process.pid] = _usage_of(process)
    return found


def _usage_of(process: psutil.Process) -> ProcessUsage:
    times = process.cpu_times()
    private, shared = _memory_kilobytes(process.pid)
    return ProcessUsage(
        process.ppid(), times.user + times.system, times.children_user + times.children_system, private, shared
    )


def _memory_kilobytes(pid: int) -> tuple[int, int]:
    status = Path(f"/proc/{pid}/status")
    return parse_memory(status.read_text(encoding="ascii", errors="replace")) if status.parent.exists() else (0, 0)


def parse_memory(status: str) -> tuple[int, int]:
    """Returns the private and the shared kilobytes in the text of `/proc/<pid>/status`. They are 0 if the process has
    ended and is a zombie.
    """
    figures = {name: rest for name, _, rest in (line.partition(":") for line in status.splitlines())}
    private, shared = (int(figures[name].split()[0]) if name in figures else 0 for name in ("RssAnon", "RssShmem"))
    return private, shared
