"""Says which faults the local cloud commits on purpose, so that its users can be tested against them.

They are read from `<home>/faults.json`, a list of objects; without the file there are none:

    [{"id": "lost answer", "kind": "accept_then_drop", "cluster": "2026-11-22", "action": "RunJobFlow", "times": 1}]

A fault that lasts ends when its seconds are over or when it is taken out of the list, whichever is first. A fault that
comes late comes at that moment. So whoever needs a step that is surely running gives it a fault of many seconds, does
what is to be done meanwhile, and takes the fault out.

This module reads the file and the clock and says which fault strikes. Others then commit it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

LOOK_AGAIN_SECONDS: Final = 0.05

logger = logging.getLogger(__name__)


class FaultKind(StrEnum):
    THROTTLE = "throttle"
    REFUSE = "refuse"
    ACCEPT_THEN_ERROR = "accept_then_error"
    ACCEPT_THEN_DROP = "accept_then_drop"
    SLOW = "slow"
    SLOW_START = "slow_start"
    BOOTSTRAP_FAILURE = "bootstrap_failure"
    LATE_LOGS = "late_logs"
    NO_LOGS = "no_logs"
    KILL_STEP = "kill_step"
    SPOT_LOSS = "spot_loss"
    SLOW_STEP = "slow_step"


API_KINDS: Final = frozenset(
    {FaultKind.THROTTLE, FaultKind.REFUSE, FaultKind.ACCEPT_THEN_ERROR, FaultKind.ACCEPT_THEN_DROP, FaultKind.SLOW}
)
START_KINDS: Final = frozenset({FaultKind.SLOW_START})
BOOTSTRAP_KINDS: Final = frozenset({FaultKind.BOOTSTRAP_FAILURE})
LOG_KINDS: Final = frozenset({FaultKind.LATE_LOGS, FaultKind.NO_LOGS})
STEP_KINDS: Final = frozenset({FaultKind.KILL_STEP, FaultKind.SPOT_LOSS, FaultKind.SLOW_STEP})


@dataclass(frozen=True)
class Fault:
    """Says what happens, to what, and how often. An empty `cluster`, `action` or `step` stands for any.

    `cluster` is a part of the cluster's name. `action` counts for API_KINDS only, and `step` (a whole name) for
    LOG_KINDS and STEP_KINDS only. A fault of a bootstrap action's logs leaves `step` empty. `seconds` says how long the
    fault lasts, or how late it comes.
    """

    id: str
    kind: FaultKind
    cluster: str = ""
    action: str = ""
    step: str = ""
    times: int = 1
    seconds: float = 0.0

    def is_about(self, clusters: Collection[str], *, action: str, step: str) -> bool:
        return (
            (not self.cluster or any(self.cluster in cluster for cluster in clusters))
            and (self.kind not in API_KINDS or self.action in {"", action})
            and (self.kind not in LOG_KINDS | STEP_KINDS or self.step in {"", step})
        )


class FaultBook:
    """Keeps the faults of one home and counts how often each has struck. It may be used from many threads.

    Strikes are counted by id for as long as the book lives. To make a fault strike anew, give it a new id.
    """

    def __init__(self, home: Path) -> None:
        self._path = faults_path(home)
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._faults: Sequence[Fault] = ()
        self._strikes: Counter[str] = Counter()

    def has_any(self) -> bool:
        """Says whether there are faults at all, including those that have struck for the last time."""
        with self._lock:
            return bool(self._current())

    def strike(
        self, kinds: Collection[FaultKind], clusters: Collection[str], *, action: str = "", step: str = ""
    ) -> Fault | None:
        """Returns the first fault of these kinds that applies here and has a strike left, and counts the strike."""
        with self._lock:
            for fault in self._current():
                if (
                    fault.kind in kinds
                    and self._strikes[fault.id] < fault.times
                    and fault.is_about(clusters, action=action, step=step)
                ):
                    self._strikes[fault.id] += 1
                    logger.warning(
                        "fault '%s' (%s) strikes for the %d. time of %d: %s",
                        fault.id,
                        fault.kind,
                        self._strikes[fault.id],
                        fault.times,
                        ", ".join(filter(None, (*clusters, action, step))),
                    )
                    return fault
        return None

    def lists(self, fault: Fault) -> bool:
        """Says whether the fault is still in the list."""
        with self._lock:
            return any(listed.id == fault.id for listed in self._current())

    def outlast(self, fault: Fault, given_up: threading.Event | None = None) -> None:
        """Returns when the fault's seconds are over, when it is taken out of the list, or when `given_up` is set."""
        given_up = given_up or threading.Event()
        deadline = time.monotonic() + fault.seconds
        while (
            (left := deadline - time.monotonic()) > 0
            and self.lists(fault)
            and not given_up.wait(min(left, LOOK_AGAIN_SECONDS))
        ):
            pass

    def of_cluster(self, name: str) -> ClusterFaults:
        return ClusterFaults(self, name)

    def _current(self) -> Sequence[Fault]:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._seen:
                self._seen, self._faults = seen, ()
                self._faults = faults_from_json(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._seen, self._faults = None, ()
        except (OSError, ValueError) as error:
            # This is logged once for each version of the file, because a waiting DAG asks every few seconds.
            logger.error("%s is no list of faults, so there are none: %s", self._path, error)  # noqa: TRY400  # its cause is in the file
        return self._faults


@dataclass(frozen=True)
class ClusterFaults:
    """Gives the faults of a book that concern one cluster. Each fault that a method returns counts as a strike."""

    book: FaultBook
    cluster: str

    def of_start(self) -> Fault | None:
        return self.book.strike(START_KINDS, [self.cluster])

    def of_bootstrap(self) -> Fault | None:
        return self.book.strike(BOOTSTRAP_KINDS, [self.cluster])

    def of_logs(self, step: str = "") -> Fault | None:
        """Returns the fault of some logs. `step` names the step that wrote them; a bootstrap action has none."""
        return self.book.strike(LOG_KINDS, [self.cluster], step=step)

    def of_step(self, step: str) -> Fault | None:
        return self.book.strike(STEP_KINDS, [self.cluster], step=step)

    def outlast(self, fault: Fault, given_up: threading.Event | None = None) -> None:
        self.book.outlast(fault, given_up)

    def after(self, fault: Fault, call: Callable[..., None], *arguments: Any) -> None:
        """Calls `call` when the fault is over, in a thread that nobody waits for."""

        def wait_and_call() -> None:
            self.outlast(fault)
            call(*arguments)

        threading.Thread(target=wait_and_call, name=fault.id, daemon=True).start()


def faults_path(home: Path) -> Path:
    return home / "faults.json"


def faults_from_json(text: str) -> list[Fault]:
    """Reads a list of faults. Raises ValueError, which says what is wrong with it."""
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError("a list of faults is expected")  # noqa: TRY004  # a wrong file is one kind of error to its reader
    faults = [_fault(entry) for entry in entries]
    repeated = [fault_id for fault_id, count in Counter(fault.id for fault in faults).items() if count > 1]
    if repeated:
        raise ValueError(f"strikes are counted by id, and these are not alone: {', '.join(repeated)}")
    return faults


def _fault(entry: Any) -> Fault:
    if not isinstance(entry, dict) or not {"id", "kind"} <= entry.keys():
        raise ValueError(f"a fault needs an id and a kind: {entry}")
    unknown = entry.keys() - {field.name for field in fields(Fault)}
    if unknown:
        raise ValueError(f"a fault has no {', '.join(sorted(unknown))}: {entry}")
    _check_types(entry)
    return Fault(**entry | {"kind": FaultKind(entry["kind"])})


def _check_types(entry: Mapping[str, Any]) -> None:
    for name, value in entry.items():
        if name == "times":
            fits = type(value) is int and value > 0
        elif name == "seconds":
            fits = type(value) in {int, float} and value >= 0
        else:
            fits = isinstance(value, str)
        if not fits:
            raise ValueError(f"{name} can't be {value!r}: {entry}")
