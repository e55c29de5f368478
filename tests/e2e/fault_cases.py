"""Lists what can go wrong with a run's cluster, how it is made to happen here, and what must become of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from fruit_cli.commands.run import run_request
from fruit_cli.stack.airflow_environment import SCHEDULER_MODULE
from fruit_contract.lake import raw_prefix
from fruit_pipeline.emr.clusters import clusters_of_run, steps_of_cluster
from local_cloud.faults import FaultKind, faults_from_json, faults_path
from local_cloud.stack.state import read_state
from local_cloud.stack.supervisor import PROCESS_MARK
from local_cloud.stack.sweep import STACK_MARK, marked_processes
from tests.local_cloud.running_cloud import command_of
from tests.local_cloud.written_faults import write_faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fruit_cli.airflow_client.api import DagRun, TaskState
    from tests.e2e.conftest import Product

DAG_ID = "fruit_image_pipeline"
WITHIN_SECONDS = 600  # much more than it takes, for this machine has other tests to run
WAIT, PLAN, CREATE, EXTRACT, REFRESH = "wait_for_batch", "plan_run", "create_cluster", "extract_features", "refresh_pca"
# A date of no case's own.
ANOTHER_DAY = "2026-04-01"
# Settings of another place.
ELSEWHERE = {"FRUITS_LAKE_BUCKET": "another-lake", "FRUITS_AWS_REGION": "eu-central-1"}
ONE_LIST_OF_FAULTS = threading.Lock()


@dataclass
class FaultyRun:
    """Describes a run of one ingest date, with methods to act on it."""

    product: Product
    run_id: str
    day: str

    @classmethod
    def begin(cls, product: Product, day: str) -> FaultyRun:
        return cls(product, product.api.trigger(run_request([day])), day)

    def raw(self) -> Path:
        return self.product.lake / raw_prefix(self.day)

    def late_batch(self) -> Path:
        """Returns the folder where a late batch is until it may come."""
        return self.product.home / "late" / self.day

    def let_go(self, kind: FaultKind) -> None:
        """Ends this run's faults of the kind, however long they would have lasted (see local_cloud.faults)."""
        with ONE_LIST_OF_FAULTS:
            faults = faults_from_json(faults_path(self.product.home).read_text(encoding="utf-8"))
            write_faults(
                self.product.home, [fault for fault in faults if (fault.cluster, fault.kind) != (self.day, kind)]
            )

    def clusters(self) -> list[dict[str, Any]]:
        bucket = self.product.connection.bucket
        return clusters_of_run(self.product.emr, bucket, DAG_ID, self.run_id, airflow_id=None, states=())

    def steps(self) -> list[dict[str, Any]]:
        """Returns the steps of all its clusters, oldest first."""
        found = [step for cluster in self.clusters() for step in steps_of_cluster(self.product.emr, cluster["Id"])]
        return sorted(found, key=lambda step: step["Status"]["Timeline"]["CreationDateTime"])

    def task(self, task_id: str) -> TaskState:
        return next(task for task in self.product.api.tasks(self.run_id) if task.task_id == task_id)

    def log(self, task_id: str) -> str:
        """Returns the log of all tries of a task."""
        lines = []
        for number in range(1, self.task(task_id).try_number + 1):
            lines += self.product.api.log_lines(self.run_id, task_id, number)
        return "\n".join(lines)

    def finish(self) -> DagRun:
        return wait_for(
            lambda: self.product.api.dag_run(self.run_id), lambda run: run.is_finished, f"{self.run_id} to end"
        )

    def wait_for_step(self, state: str = "RUNNING", name: str = EXTRACT) -> None:
        """Waits for a step to be in the state, and for its task's trigger to look after it."""
        wait_for(
            lambda: [step for step in self.steps() if step["Name"] == name and step["Status"]["State"] == state],
            bool,
            f"{name} to be {state}",
        )
        wait_for(lambda: self.log(name), lambda text: " starting" in text, f"the trigger of {name}")

    def mark_task(self, task_id: str, state: str) -> None:
        path = f"{self.product.api._task_path(self.run_id, task_id)}"
        self.product.api._http.send("PATCH", path, json={"new_state": state})

    def mark_run(self, state: str) -> None:
        self.product.api.set_run_state(self.run_id, state, "by hand")

    def clear(self, task_id: str, *, with_downstream: bool = True, only_failed: bool = False) -> None:
        request = {
            "dry_run": False,
            "task_ids": [task_id],
            "dag_run_id": self.run_id,
            "include_downstream": with_downstream,
        }
        request |= {"only_failed": only_failed, "reset_dag_runs": True}
        self.product.api._http.send("POST", f"/dags/{DAG_ID}/clearTaskInstances", json=request)

    def kill_worker_of(self, task_id: str) -> None:
        """Kills a task's worker as a lost machine would: by a signal that no process can handle."""
        wait_for(lambda: self.task(task_id).state, lambda state: state == "running", f"{task_id} to run")
        instance = self.product.api._http.send("GET", self.product.api._task_path(self.run_id, task_id))["id"]
        marked = marked_processes(STACK_MARK, str(self.product.home))
        (worker,) = (process for process in marked if f"LocalExecutor: {instance}" in command_of(process))
        for process in [worker, *worker.children(recursive=True)]:
            process.kill()

    def wait_until_deferred(self, task_id: str) -> None:
        """Waits until the task waits in the triggerer. There it has a log and an end, unlike a task that is merely
        scheduled.
        """
        wait_for(
            lambda: self.task(task_id).state,
            lambda state: state == "deferred",
            f"{task_id} of {self.run_id} to be deferred",
        )


def kill_triggerer(product: Product) -> None:
    """Kills the triggerer, which the supervisor then starts again."""
    marked = marked_processes(PROCESS_MARK, f"{product.home}/airflow-triggerer")
    min(marked, key=lambda process: process.create_time()).kill()


def scheduler_of(product: Product) -> psutil.Process:
    marked = marked_processes(STACK_MARK, str(product.home))
    return min(
        (process for process in marked if SCHEDULER_MODULE in command_of(process)),
        key=lambda process: process.create_time(),
    )


def restart_scheduler(product: Product, settings: dict[str, str]) -> None:
    """Kills the whole scheduler and starts it anew with these settings, which tasks that start afterwards find.

    Its supervisor is stopped for good, because it would start one with the former settings.
    """
    first = scheduler_of(product)
    state = read_state(product.home)
    assert state is not None
    psutil.Process(state.supervisor_pid).send_signal(signal.SIGSTOP)
    environment, command = first.environ() | settings, first.cmdline()
    everything = [first, *first.children(recursive=True)]
    for process in everything:
        process.kill()
    psutil.wait_procs(everything, 10)
    log = str(product.home / "logs" / "airflow-scheduler-again.log")
    to_log = [(os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
    os.posix_spawn(command[0], command, environment, file_actions=to_log, setsid=True)


def work_with(product: Product, settings: dict[str, str]) -> None:
    """Has tasks that start from now on find these settings, if they do not find them already."""
    if not settings.items() <= scheduler_of(product).environ().items():
        restart_scheduler(product, settings)


def wait_for(
    look: Callable[[], Any], is_it: Callable[[Any], object], what: str, seconds: float = WITHIN_SECONDS
) -> Any:
    deadline = time.monotonic() + seconds
    while not is_it(seen := look()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}, there is {seen}"
        time.sleep(1)
    return seen


@dataclass(frozen=True)
class FaultCase:
    """Describes a fault and what must become of it.

    `faults` are fields of local_cloud.faults.Fault; `act` is what a person or the machine does meanwhile. `steps` are
    the states that the steps of each name must have had, and `says` must stand in the log of `where`.
    """

    name: str
    made_by: str
    ends: str
    steps: dict[str, list[str]]
    where: str
    says: tuple[str, ...]
    faults: tuple[dict[str, Any], ...] = ()
    act: Callable[[FaultyRun], None] = field(default=lambda _: None)
    clusters: int = 1
    fails: int = 1  # how often, if it `ends` so; each time is told
    batch_comes_late: bool = False  # `act` brings it


# It runs, and does nothing until it is let go or cancelled.
HELD = {"kind": FaultKind.SLOW_STEP, "step": EXTRACT, "seconds": WITHIN_SECONDS}
WHOLE = {EXTRACT: ["COMPLETED"], REFRESH: ["COMPLETED"]}


def lose_worker(run: FaultyRun) -> None:
    wait_for(run.clusters, bool, "the cluster")
    run.kill_worker_of(CREATE)
    run.let_go(FaultKind.SLOW)


def lose_worker_of_step(run: FaultyRun) -> None:
    wait_for(run.steps, bool, "the step")
    run.kill_worker_of(EXTRACT)
    run.let_go(FaultKind.SLOW)


def fail_bootstrap(run: FaultyRun) -> None:
    run.wait_for_step("PENDING")
    run.let_go(FaultKind.BOOTSTRAP_FAILURE)


def let_logs_come(run: FaultyRun) -> None:
    wait_for(lambda: run.log(EXTRACT), lambda text: "Waiting for its logs" in text, "the logs to be waited for")
    run.let_go(FaultKind.LATE_LOGS)


def fail_s3(run: FaultyRun) -> None:
    wait_for(lambda: run.log(WAIT), lambda text: " starting" in text, f"the trigger of {WAIT}")
    folder = run.raw()
    folder.symlink_to(folder)  # nothing can list it
    wait_for(lambda: run.log(WAIT), lambda text: "could not be asked for the marker" in text, "S3 to be missed")
    folder.unlink()
    run.late_batch().rename(folder)


def lose_triggerer_then_change_place(run: FaultyRun) -> None:
    run.wait_for_step()
    first_log = run.log(EXTRACT)
    kill_triggerer(run.product)
    # The next one takes up what the first one was at when that has been silent for half a minute.
    wait_for(
        lambda: run.log(EXTRACT),
        lambda text: text.count(" starting") > first_log.count(" starting"),
        "the trigger again",
    )
    restart_scheduler(run.product, ELSEWHERE)
    run.let_go(FaultKind.SLOW_STEP)


def run_three_at_once(run: FaultyRun) -> None:
    """Starts two more runs while this run's PCA step is at work: one wants its date, the other its turn at the PCA. The
    latter takes this run's place in what is checked afterwards.
    """
    run.wait_for_step(name=REFRESH)
    of_the_same_date, of_another_date = FaultyRun.begin(run.product, run.day), FaultyRun.begin(run.product, ANOTHER_DAY)
    of_the_same_date.wait_until_deferred(PLAN)
    assert f"{run.day} ({run.run_id}, since " in of_the_same_date.log(PLAN)
    wait_for(
        lambda: of_another_date.log(REFRESH),
        lambda text: "Another run's turn at the PCA is not over" in text,
        "a turn to be waited for",
    )
    of_another_date.wait_until_deferred(REFRESH)
    run.let_go(FaultKind.SLOW_STEP)
    assert [run.finish().state, of_the_same_date.finish().state] == ["success", "success"]
    # What it wanted was done by then.
    assert (of_the_same_date.task(PLAN).state, of_the_same_date.clusters()) == ("skipped", [])
    run.run_id, run.day = of_another_date.run_id, of_another_date.day


def fail_task(run: FaultyRun) -> None:
    run.wait_for_step()
    run.mark_task(EXTRACT, "failed")


def fail_run(run: FaultyRun) -> None:
    run.wait_for_step()
    run.mark_run("failed")


def succeed_run(run: FaultyRun) -> None:
    run.wait_for_step()
    run.mark_run("success")


def clear_step(run: FaultyRun) -> None:
    run.wait_for_step()
    run.clear(EXTRACT)
    wait_for(lambda: run.task(EXTRACT).state, lambda state: state != "deferred", "the task to be cleared")


def clear_only_what_failed(run: FaultyRun) -> None:
    """Has the task that creates the cluster fail while the cluster exists, and clears it alone once the teardown has
    ended the cluster. Nothing is then left to end another cluster.
    """
    wait_for(run.clusters, bool, "the cluster")
    run.mark_task(CREATE, "failed")
    run.let_go(FaultKind.SLOW)
    assert run.finish().state == "failed"
    assert run.task("terminate_cluster").state == "success"
    run.clear(CREATE, only_failed=True)


CASES = (
    FaultCase(
        name="a person clears the task while its step runs",
        made_by="the API, as the UI does",
        faults=(HELD,),
        act=clear_step,
        ends="success",
        steps={EXTRACT: ["CANCELLED", "COMPLETED"], REFRESH: ["COMPLETED"]},
        where="plan_run",
        says=("a cluster from before it was planned anew",),
        clusters=2,
    ),
    FaultCase(
        name="the worker is lost while it asks for the cluster",
        made_by="RunJobFlow is carried out, its answer held back; the task's process is killed",
        faults=({"kind": FaultKind.SLOW, "action": "RunJobFlow", "seconds": WITHIN_SECONDS},),
        act=lose_worker,
        ends="success",
        steps=WHOLE,
        where=CREATE,
        says=("There is a cluster j-",),
    ),
    FaultCase(
        name="the worker is lost while it asks for the step, which is killed",
        made_by="AddJobFlowSteps is carried out, its answer held back; the task's process is killed, and so is the "
        "step's",
        faults=(
            {"kind": FaultKind.SLOW, "action": "AddJobFlowSteps", "seconds": WITHIN_SECONDS},
            {"kind": FaultKind.KILL_STEP, "step": EXTRACT, "seconds": 3},
        ),
        act=lose_worker_of_step,
        ends="failed",
        steps={EXTRACT: ["FAILED"]},
        where=EXTRACT,
        says=("ended as FAILED", "was ended by signal 9", "What to do:"),
    ),
    FaultCase(
        name="RunJobFlow is throttled, then its answer is lost, as is AddJobFlowSteps'; DescribeStep fails for a while",
        made_by="ThrottlingException; a connection that is dropped; InternalServerException",
        faults=(
            {"kind": FaultKind.THROTTLE, "action": "RunJobFlow", "times": 2},
            {"kind": FaultKind.ACCEPT_THEN_DROP, "action": "RunJobFlow"},
            {"kind": FaultKind.ACCEPT_THEN_ERROR, "action": "AddJobFlowSteps"},
            {"kind": FaultKind.REFUSE, "action": "DescribeStep", "times": 3},
            {"kind": FaultKind.THROTTLE, "action": "DescribeStep", "times": 2},
        ),
        ends="success",
        steps=WHOLE,
        where=CREATE,
        says=("Whether it was carried out is looked up before it is sent again", "There is a cluster j-"),
    ),
    FaultCase(
        name="a bootstrap action fails",
        made_by="after a while it prints an error and ends with 1",
        faults=({"kind": FaultKind.BOOTSTRAP_FAILURE, "seconds": WITHIN_SECONDS},),
        act=fail_bootstrap,
        ends="failed",
        steps={EXTRACT: ["CANCELLED"]},
        where=EXTRACT,
        says=("bootstrap action 1 returned a non-zero return code", "No matching distribution found", "What to do:"),
    ),
    FaultCase(
        name="a step is killed, and its logs come late",
        made_by="SIGKILL to the step's process; logs arrive when the task waits for them",
        faults=(
            {"kind": FaultKind.KILL_STEP, "step": EXTRACT, "seconds": 3},
            {"kind": FaultKind.LATE_LOGS, "step": EXTRACT, "seconds": WITHIN_SECONDS},
        ),
        act=let_logs_come,
        ends="failed",
        steps={EXTRACT: ["FAILED"]},
        where=EXTRACT,
        says=("ended as FAILED", "was ended by signal 9", "Waiting for its logs", "What to do:", "logs/j-"),
    ),
    FaultCase(
        name="a step is killed, and its logs never come",
        made_by="SIGKILL to the step's process; no logs",
        faults=({"kind": FaultKind.KILL_STEP, "step": REFRESH}, {"kind": FaultKind.NO_LOGS, "step": REFRESH}),
        ends="failed",
        steps={EXTRACT: ["COMPLETED"], REFRESH: ["FAILED"]},
        where=REFRESH,
        says=("was ended by signal 9", "What to do:"),
    ),
    FaultCase(
        name="the cluster loses its nodes (spot)",
        made_by="instances are taken away while the step runs",
        faults=({"kind": FaultKind.SPOT_LOSS, "step": EXTRACT, "seconds": 3},),
        ends="failed",
        steps={EXTRACT: ["FAILED"]},
        where=EXTRACT,
        says=("All slaves in the job flow were terminated", "Its cluster is gone"),
    ),
    FaultCase(
        name="a person marks the task as failed while its step runs",
        made_by="the API, as the UI does",
        faults=(HELD,),
        act=fail_task,
        ends="failed",
        steps={EXTRACT: ["CANCELLED"]},
        where=EXTRACT,
        says=("ended by hand: step s-",),
    ),
    FaultCase(
        name="a person marks the run as failed while its step runs",
        made_by="the API, as the UI does",
        faults=(HELD,),
        act=fail_run,
        ends="failed",
        steps={EXTRACT: ["CANCELLED"]},
        where=EXTRACT,
        says=("ended by hand: step s-",),
    ),
    FaultCase(
        name="a person marks the run as successful while its step runs",
        made_by="the API, as the UI does",
        faults=(HELD,),
        act=succeed_run,
        ends="success",
        steps={EXTRACT: ["CANCELLED"]},
        where=EXTRACT,
        says=("ended by hand: step s-",),
    ),
    FaultCase(
        name="create_cluster failed, and a person clears *only failed* tasks, of which the teardown is none",
        made_by="RunJobFlow's answer is held back; the API marks the task as failed; when the run has failed, the API "
        "clears",
        faults=({"kind": FaultKind.SLOW, "action": "RunJobFlow", "seconds": WITHIN_SECONDS},),
        act=clear_only_what_failed,
        ends="failed",
        steps={},
        where=CREATE,
        says=("No cluster is asked for", "clear plan_run with *downstream*, without *only failed*"),
        fails=2,
    ),
    FaultCase(
        name="S3 fails while a run waits for its batch",
        made_by="listings of the date answer InternalError (500); when the task has said so, the batch comes",
        act=fail_s3,
        batch_comes_late=True,
        ends="success",
        steps=WHOLE,
        where=WAIT,
        says=("S3 could not be asked for the marker",),
    ),
    FaultCase(
        name="three runs at once: two of one date, and the third one comes to the PCA while the first is at it",
        made_by="the first run's PCA step takes its time until the other two wait, without a worker slot",
        faults=(HELD | {"step": REFRESH},),
        act=run_three_at_once,
        ends="success",
        steps=WHOLE,
        where=REFRESH,
        says=("Another run's turn at the PCA is not over: pca (", "This one waits for its own"),
    ),
    FaultCase(
        name="the triggerer dies while a step runs; then the scheduler is restarted, and by then the lake's bucket and "
        "region are set otherwise",
        made_by="SIGKILL to the triggerer, which comes back; SIGKILL to the scheduler and its workers, and a new one "
        "is started with another `FRUITS_LAKE_BUCKET` and `FRUITS_AWS_REGION`",
        faults=(HELD,),
        act=lose_triggerer_then_change_place,
        ends="success",
        steps=WHOLE,
        where=EXTRACT,
        says=("images",),
    ),
)
