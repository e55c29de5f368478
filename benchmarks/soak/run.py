"""Runs a whole local stack with several runs of small dates at once, again and again until the time is over."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

import psutil
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.soak.result import Books, RunFound, SoakResult, TaskTrouble
from fruit_cli.airflow_client.api import AirflowApi
from fruit_cli.airflow_client.follow import make_ready
from fruit_cli.airflow_client.http import AirflowHttp, local_airflow
from fruit_cli.commands.publish import publish
from fruit_cli.commands.run import run_request
from fruit_cli.demo.fruit.renderer import CATEGORIES, draw_jpeg
from fruit_cli.lake.connection import LakeConnection, local_emr_client
from fruit_cli.lake.delivery import deliver
from fruit_cli.stack.airflow_environment import SCHEDULER_MODULE
from fruit_cli.stack.lifecycle import LocalStack, PreferredPorts
from fruit_contract import lake, tables
from fruit_pipeline.emr.states import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fruit_cli.airflow_client.api import TaskState
    from local_cloud.stack.state import StackState

AT_ONCE: Final = 4
_FIRST_DAY: Final = date(2026, 1, 1)
_DRAWN: Final = CATEGORIES[:2]
_IMAGES_PER_CATEGORY: Final = 3
# A full turn of the fruit has so many steps, so that every picture is another one.
_A_TURN: Final = 100_000
_POLL_SECONDS: Final = 2.0
# The name of each of Airflow's processes, and the word in its command by which it is found.
_PROCESSES: Final = {
    "scheduler": SCHEDULER_MODULE,
    "triggerer": "triggerer",
    "API server": "api-server",
    "DAG processor": "dag-processor",
}


@dataclass(frozen=True)
class SoakStack:
    """Describes a stack that is up, with a release in its lake. `say` tells how far the soak is."""

    home: Path
    state: StackState
    connection: LakeConnection
    say: Callable[[str], None]

    @property
    def lake(self) -> Path:
        return self.home / "s3" / self.state.bucket


class Lane:
    """Runs one date after another, each twice: the second time with images that were delivered later."""

    def __init__(self, number: int, stack: SoakStack, http: AirflowHttp, is_over: threading.Event) -> None:
        self._number = number
        self._stack = stack
        self._http = http
        self._api = AirflowApi(http)
        self._is_over = is_over
        self._rounds = 0
        self.found: list[RunFound] = []

    def run_one(self) -> None:
        """Delivers a small batch, runs its date and notes what became of the run."""
        day = (_FIRST_DAY + timedelta(days=self._rounds // 2 * AT_ONCE + self._number)).isoformat()
        self._deliver(day)
        run_id = self._api.trigger(run_request([day]))
        while not (run := self._api.dag_run(run_id)).is_finished:
            if self._is_over.wait(_POLL_SECONDS):
                return
        self.found.append(RunFound(run_id, run.state, run.seconds or 0.0, tuple(self._troubles(run_id))))
        self._stack.say(f"{day}: {run.state} in {run.seconds or 0:.0f} s")
        self._rounds += 1

    def run_until(self, deadline: float) -> None:
        """Goes on until the deadline, or until this lane or another one fails."""
        try:
            while time.monotonic() < deadline and not self._is_over.is_set():
                self.run_one()
        except BaseException:
            self._is_over.set()
            raise

    def _deliver(self, day: str) -> None:
        folder = self._stack.home / "batches" / f"{day}-{self._rounds}"
        for category in _DRAWN:
            (folder / category).mkdir(parents=True)
            for number in range(_IMAGES_PER_CATEGORY):
                turn = (self._rounds * AT_ONCE + self._number) * _IMAGES_PER_CATEGORY + number
                (folder / category / f"{turn}.jpg").write_bytes(draw_jpeg(category, turn, _A_TURN))
        deliver(self._stack.connection, folder, day, console=Console(quiet=True))

    def _troubles(self, run_id: str) -> Iterator[TaskTrouble]:
        stale = self._tries_taken_for_lost(run_id)
        for task in self._api.tasks(run_id):
            if task.state == "failed" or task.try_number > 1:
                has_failed = task.state == "failed"
                reason = self._last_words(run_id, task, task.try_number if has_failed else task.try_number - 1)
                yield TaskTrouble(run_id, task.task_id, has_failed, reason, task.task_id in stale)

    def _tries_taken_for_lost(self, run_id: str) -> set[str]:
        """Returns the tasks with a stale event: Airflow says that a process ended in another state than the database
        has.
        """
        query = {"dag_id": self._api.dag_id, "run_id": run_id, "event": "state mismatch", "limit": "100"}
        return {str(entry["task_id"]) for entry in self._http.send("GET", "/eventLogs", params=query)["event_logs"]}

    def _last_words(self, run_id: str, task: TaskState, try_number: int) -> str:
        lines = [line for line in self._api.log_lines(run_id, task.task_id, try_number) if line.strip()]
        errors = [line for line in lines if "Error" in line.partition(":")[0] or "Exception" in line.partition(":")[0]]
        return (errors or lines or [""])[-1].strip()


def soak(home: Path, minutes: float, console: Console, say: Callable[[str], None]) -> SoakResult:
    """Runs dates for that many minutes, in a stack of its own in `home`, and returns what it found. Nothing is left
    running.

    The exported embedder is kept where `make demo` keeps it, not in `home`, because exporting it takes half a minute.
    """
    with _stack(home, console, say) as stack, ExitStack() as open_clients:
        is_over = threading.Event()
        clients = [open_clients.enter_context(AirflowHttp(local_airflow(stack.state))) for _ in range(AT_ONCE)]
        lanes = [Lane(number, stack, http, is_over) for number, http in enumerate(clients)]
        started = time.monotonic()
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                try:
                    list(pool.map(Lane.run_one, lanes))
                    before = memory_of_airflow(stack.state)
                    list(pool.map(lambda lane: lane.run_until(started + 60 * minutes), lanes))
                except BaseException:
                    is_over.set()  # without this, the pool would wait for the others
                    raise
            seconds = time.monotonic() - started
            after = memory_of_airflow(stack.state)
        finally:
            is_over.set()
        clusters = _clusters(local_emr_client(stack.state))
        return SoakResult(
            seconds=seconds,
            at_once=AT_ONCE,
            runs=[run for lane in lanes for run in lane.found],
            clusters=len(clusters),
            clusters_left=[cluster_id for cluster_id, state in clusters.items() if state not in ENDED],
            books=read_books(stack.lake),
            memory={name: (before[name], after[name]) for name in before},
        )


@contextmanager
def _stack(home: Path, console: Console, say: Callable[[str], None]) -> Iterator[SoakStack]:
    stack = LocalStack(home, ports=PreferredPorts(airflow=0, s3=0, emr=0))
    try:
        state = stack.start(say=say)
        connection = LakeConnection(
            state.bucket, state.region, state.s3_url, state.access_key_id, state.secret_access_key
        )
        publish(connection, say=say)
        with AirflowHttp(local_airflow(state)) as http:
            make_ready(AirflowApi(http), console)
        yield SoakStack(home, state, connection, say)
    finally:
        stack.stop(say=say)


def memory_of_airflow(state: StackState) -> dict[str, float]:
    """Returns what each of Airflow's processes holds together with its children, in MB. Memory that several share is
    counted once.
    """
    found: dict[str, float] = {}
    for process in psutil.Process(state.supervisor_pid).children():
        command = " ".join(process.cmdline()).replace("_", "-")
        name = next((name for name, word in _PROCESSES.items() if word.replace("_", "-") in command), None)
        if name:
            family = [process, *process.children(recursive=True)]
            found[name] = sum(_megabytes(member) for member in family)
    return found


def _megabytes(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / 1e6
    except psutil.Error:  # it has ended
        return 0.0


def read_books(folder: Path) -> Books:
    """Returns what lies below raw/ of a lake's folder, and what its ledgers say."""
    delivered = (str(path.relative_to(folder)) for path in (folder / lake.RAW).rglob("*.jpg"))
    lines: Counter[str] = Counter()
    for ledger in (folder / lake.LEDGER).rglob("*.parquet"):
        lines.update(pq.read_table(ledger, columns=[tables.IMAGE_KEY], partitioning=None)[tables.IMAGE_KEY].to_pylist())
    return Books(frozenset(delivered), lines)


def _clusters(emr: Any) -> dict[str, str]:
    pages = emr.get_paginator("list_clusters").paginate()
    return {cluster["Id"]: cluster["Status"]["State"] for page in pages for cluster in page["Clusters"]}
