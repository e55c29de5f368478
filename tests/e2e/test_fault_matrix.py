"""Whatever goes wrong: no cluster is left, no step runs twice, the task's log says why, and the next run completes the work.

docs/operations.md has the table of what is found here; FRUITS_WRITE_DOCS=1 writes it there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pandas as pd
import psutil
import pytest
from rich.console import Console

from fruit_cli.airflow_client.api import AirflowApi
from fruit_cli.airflow_client.follow import make_ready
from fruit_cli.airflow_client.http import AirflowHttp, local_airflow
from fruit_cli.commands.run import run_request, trigger_and_follow
from fruit_cli.demo.fruit.renderer import CATEGORIES, draw_jpeg
from fruit_cli.lake.connection import current_connection, local_emr_client
from fruit_cli.lake.delivery import deliver
from fruit_cli.stack.lifecycle import LocalStack, PreferredPorts
from fruit_contract import lake
from fruit_pipeline.emr.states import ENDED
from local_cloud.faults import Fault, write_faults
from local_cloud.project import PROJECT
from local_cloud.stack.state import HOME_VARIABLE
from tests.e2e.conftest import Product, copy_database
from tests.e2e.fault_cases import CASES, DAG_ID, FaultCase, FaultyRun, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

OPERATIONS = PROJECT / "docs" / "operations.md"
BEGIN, END = "<!-- fault matrix, written by tests/e2e/test_fault_matrix.py -->", "<!-- end of the fault matrix -->"
IMAGES = 4
AT_ONCE = 4

# Airflow's SQLite takes one writer at a time.
ONE_AFTER_ANOTHER = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    run: FaultyRun
    state: str
    clusters: list[str]
    steps: dict[str, list[str]]
    log: str


def day_of(case: FaultCase) -> str:
    return f"2026-03-{CASES.index(case) + 1:02}"


@pytest.fixture(scope="module")
def faulty(product: Product, tmp_path_factory: pytest.TempPathFactory, airflow_database: Path) -> Iterator[Product]:
    """A product of its own, with the same release: its scheduler gets killed, and its runs count as late after seconds."""
    home = tmp_path_factory.mktemp("faulty")
    copy_database(airflow_database, home)
    shutil.copytree(product.lake / lake.CODE, home / "s3" / product.connection.bucket / lake.CODE)
    stack = LocalStack(home, ports=PreferredPorts(airflow=0, s3=0, emr=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        patch.setenv("FRUITS_LOCAL_SPARK_CORES", "1")  # several runs at a time, of few images each
        patch.setenv("FRUITS_SWEEP_GRACE_MINUTES", "0")
        patch.setenv("FRUITS_RETRY_DELAY_SECONDS", "2")
        patch.setenv("FRUITS_LOG_WAIT_MINUTES", "0.2")
        patch.setenv("FRUITS_LATE_AFTER_HOURS", "0.002")
        state = stack.start()
        try:
            console = Console(highlight=False, width=160)
            with AirflowHttp(local_airflow(state)) as http:
                api = AirflowApi(http)
                make_ready(api, console)
                yield Product(home, home / "s3" / state.bucket, current_connection(), api, local_emr_client(state), console)
        finally:
            # It looks away since its scheduler was killed; stopped processes do not hear that they are to end.
            psutil.Process(state.supervisor_pid).send_signal(signal.SIGCONT)
            stack.stop()


@pytest.fixture(scope="module")
def outcomes(faulty: Product, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Every case once, several at a time; what kills the scheduler comes last and alone."""
    batch = tmp_path_factory.mktemp("batch")
    for category in CATEGORIES[:2]:
        (batch / category).mkdir()
        for index in range(IMAGES):
            (batch / category / f"{index}.jpg").write_bytes(draw_jpeg(category, index, IMAGES))
    for case in CASES:
        deliver(faulty.connection, batch, day_of(case), console=faulty.console)
        if case.batch_comes_late:
            run = FaultyRun(faulty, "", day_of(case))
            run.late_batch().parent.mkdir(exist_ok=True)
            run.raw().rename(run.late_batch())
    faults = [
        Fault(id=f"{day_of(case)}-{number}", cluster=day_of(case), **fault) for case in CASES for number, fault in enumerate(case.faults)
    ]
    write_faults(faulty.home, faults)
    *together, last = CASES
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip((case.name for case in together), pool.map(lambda case: run_case(faulty, case), together), strict=True))
    return found | {last.name: run_case(faulty, last)}


def run_case(faulty: Product, case: FaultCase) -> Outcome:
    with ONE_AFTER_ANOTHER:
        run = FaultyRun(faulty, faulty.api.trigger(run_request([day_of(case)])), day_of(case))
        time.sleep(3)
    case.act(run)
    ended = run.finish()
    # A run that was marked by hand is over before its teardown is.
    clusters = wait_for(run.clusters, lambda there: all(entry["Status"]["State"] in ENDED for entry in there), "its clusters to end")
    steps = defaultdict(list)
    for step in run.steps():
        steps[step["Name"]].append(step["Status"]["State"])
    return Outcome(run, ended.state, [cluster["Status"]["State"] for cluster in clusters], dict(steps), run.log(case.where))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_leaves_no_cluster_no_second_step_and_its_reason(outcomes: dict[str, Outcome], case: FaultCase) -> None:
    outcome = outcomes[case.name]
    for words in case.says:
        assert words in outcome.log, outcome.log[-6000:]
    assert outcome.state == case.ends
    assert len(outcome.clusters) == case.clusters
    assert set(outcome.clusters) <= set(ENDED)
    assert outcome.steps == case.steps
    assert not overlapping(outcome.run.steps())


def overlapping(steps: list[dict[str, Any]]) -> list[str]:
    """The names of steps that were added while an earlier one of the same name had not ended."""
    found = []
    for earlier, later in pairwise(steps):
        begin, end = later["Status"]["Timeline"]["CreationDateTime"], earlier["Status"]["Timeline"]["EndDateTime"]
        if earlier["Name"] == later["Name"] and begin < end:
            found.append(later["Name"])
    return found


def test_the_next_run_completes_what_the_faults_left(faulty: Product, outcomes: dict[str, Outcome]) -> None:
    days = [day_of(case) for case in CASES]
    finished = trigger_and_follow(faulty.api, run_request(days), faulty.console)
    ledger = pd.read_parquet(faulty.lake / lake.LEDGER)
    assert ledger.groupby("ingest_date", observed=True).size().to_dict() == dict.fromkeys(days, 2 * IMAGES)
    assert set(ledger["status"]) == {"featurised"}
    assert ledger["image_key"].is_unique
    record = json.loads((faulty.lake / lake.run_key(finished.run_id)).read_text())
    receipt = record["receipt"]
    assert receipt["still_running"] == []
    assert receipt["euros"] > 0
    assert not [entry for entry in faulty.emr.list_clusters()["Clusters"] if entry["Status"]["State"] not in ENDED]


def test_a_run_that_failed_has_its_receipt(faulty: Product, outcomes: dict[str, Outcome]) -> None:
    failed = next(outcomes[case.name].run.run_id for case in CASES if case.ends == "failed")
    record = json.loads((faulty.lake / lake.run_key(failed)).read_text())
    assert record["state"] == "unfinished"
    assert record["receipt"]["cluster_minutes"] > 0


def test_an_orphan_is_swept_and_nothing_else_is(faulty: Product, outcomes: dict[str, Outcome]) -> None:
    tags = {"product": "fruits", "lake": faulty.connection.bucket, "dag_id": DAG_ID}
    ended = outcomes[CASES[0].name].run.run_id
    ours = start_cluster(faulty, "fruits 2026-03-01 orphan", tags | {"airflow_run_id": ended})
    deleted = start_cluster(faulty, "fruits 2026-03-01 deleted", tags | {"airflow_run_id": "manual__never-was"})
    theirs = start_cluster(faulty, "fruits 2026-03-01 theirs", tags | {"lake": "their-lake", "airflow_run_id": ended})
    by_hand = start_cluster(faulty, "somebody's", {"product": "fruits"})
    sweeper = AirflowApi(faulty.api._http, "sweep_orphan_clusters")
    run_id = sweeper.trigger({})
    wait_for(lambda: sweeper.dag_run(run_id), lambda run: run.is_finished, "the sweep")

    def state(cluster_id: str) -> str:
        return str(faulty.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]["State"])

    for orphan in (ours, deleted):
        wait_for(partial(state, orphan), lambda seen: seen in ENDED, "the orphan to end")
    assert state(theirs) == state(by_hand) == "WAITING"
    assert "its run is over (or deleted)" in "\n".join(sweeper.log_lines(run_id, "sweep", 1))
    faulty.emr.terminate_job_flows(JobFlowIds=[theirs, by_hand])


def start_cluster(faulty: Product, name: str, tags: dict[str, str]) -> str:
    answer = faulty.emr.run_job_flow(
        Name=name,
        Instances={"InstanceCount": 1, "MasterInstanceType": "m5.xlarge", "KeepJobFlowAliveWhenNoSteps": True},
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )
    wait_for(
        lambda: faulty.emr.describe_cluster(ClusterId=answer["JobFlowId"])["Cluster"]["Status"]["State"],
        lambda state: state == "WAITING",
        name,
    )
    return str(answer["JobFlowId"])


def test_people_are_told_of_failed_and_late_runs_and_of_orphans(faulty: Product, outcomes: dict[str, Outcome]) -> None:
    file = faulty.home / "airflow" / "notifications.jsonl"

    def told() -> dict[str, list[str]]:
        found = defaultdict(list)
        for line in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
            found[line["event"]].append(line["subject"])
        return found

    failed = [outcomes[case.name].run.run_id for case in CASES if case.ends == "failed"]
    wait_for(told, lambda news: all(any(run_id in text for text in news["run_failed"]) for run_id in failed), "news of every failed run")
    assert any(failed[0] in text for text in told()["run_late"])
    assert any("orphan" in text for text in told()["orphans_swept"])


def test_the_operations_manual_has_this_matrix(outcomes: dict[str, Outcome]) -> None:
    table = matrix(outcomes)
    page = OPERATIONS.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}\n{table}\n{END}{after}"
    if os.environ.get("FRUITS_WRITE_DOCS"):
        OPERATIONS.write_text(wanted, encoding="utf-8")
    assert page == wanted or os.environ.get("FRUITS_WRITE_DOCS"), "FRUITS_WRITE_DOCS=1 writes the table anew"


def matrix(outcomes: dict[str, Outcome]) -> str:
    head = ["what goes wrong", "how it is made to", "the run", "clusters left", "steps", "the log of"]
    rows = []
    for case in CASES:
        outcome = outcomes[case.name]
        steps = "; ".join(f"{name}: {', '.join(states).lower()}" for name, states in outcome.steps.items())
        left = sum(state not in ENDED for state in outcome.clusters)
        said = ", ".join(f"“{words}”" for words in case.says if words in outcome.log)
        rows.append([case.name, case.made_by, outcome.state, f"{left} of {len(outcome.clusters)}", steps, f"`{case.where}` says {said}"])
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
