"""Checks that whatever goes wrong, no cluster is left, no step runs twice, the task's log says why, and the next run
completes the work.

docs/operations.md has the table of what is found here; FRUITS_WRITE_DOCS=1 writes it there.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import ne
from typing import TYPE_CHECKING, Any

import pandas as pd
import psutil
import pytest

from fruit_cli.airflow_client.api import AirflowApi
from fruit_cli.commands.run import run_request, trigger_and_follow
from fruit_cli.demo.fruit.renderer import CATEGORIES, draw_jpeg
from fruit_cli.lake.connection import s3_client
from fruit_cli.lake.delivery import deliver
from fruit_cli.stack.airflow_environment import DATABASE_VARIABLE
from fruit_contract import lake
from fruit_pipeline.claims.claim_book import pca_book
from fruit_pipeline.emr.clusters import steps_of_cluster
from fruit_pipeline.emr.states import ENDED
from fruit_pipeline.lake.store import Lake
from local_cloud.faults import Fault
from local_cloud.page_table import PageTable, is_to_be_written
from local_cloud.project import PROJECT
from local_cloud.stack.state import read_state
from tests.e2e.asked_for import assert_asked_for_what_is_known
from tests.e2e.conftest import Product, copy_embedder, running_product
from tests.e2e.fault_cases import (
    ANOTHER_DAY,
    CASES,
    DAG_ID,
    ELSEWHERE,
    EXTRACT,
    REFRESH,
    WHOLE,
    FaultCase,
    FaultyRun,
    wait_for,
    work_with,
)
from tests.e2e.postgres import running_postgres
from tests.local_cloud.written_faults import write_faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

TABLE = PageTable(
    PROJECT / "docs" / "operations.md",
    "<!-- fault matrix, written by tests/e2e/test_fault_matrix.py -->",
    "<!-- end of the fault matrix -->",
)
IMAGES = 4
AT_ONCE = 4


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
def postgres() -> Iterator[str]:
    """Yields the address of the database of the product here. The other end-to-end tests use SQLite."""
    with running_postgres() as address:
        yield address


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, postgres: str, home_with_embedder: Path) -> Iterator[Product]:
    """Yields a product for these tests alone: its scheduler gets killed, and its runs count as late after seconds."""
    home = tmp_path_factory.mktemp("faulty")
    copy_embedder(home_with_embedder, home)
    settings = {
        DATABASE_VARIABLE: postgres,
        "FRUITS_LOCAL_SPARK_CORES": "1",  # several runs at a time, of few images each
        "FRUITS_SWEEP_GRACE_MINUTES": "0",
        "FRUITS_RETRY_DELAY_SECONDS": "2",
        "FRUITS_LOG_WAIT_MINUTES": "0.2",
        "FRUITS_LATE_AFTER_HOURS": "0.002",
    }
    with running_product(home, **settings) as running:
        assert not (home / "airflow" / "airflow.db").exists()
        try:
            yield running
        finally:
            # Its supervisor was stopped when its scheduler was killed, and a stopped process does not notice that it is
            # asked to end.
            if state := read_state(home):
                psutil.Process(state.supervisor_pid).send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def outcomes(faulty: Product, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Runs every case once, several at a time, and returns their outcomes.

    The case that kills the scheduler, and has its tasks work elsewhere from then on, comes last and alone.
    """
    batch = tmp_path_factory.mktemp("batch")
    for category in CATEGORIES[:2]:
        (batch / category).mkdir()
        for index in range(IMAGES):
            (batch / category / f"{index}.jpg").write_bytes(draw_jpeg(category, index, IMAGES))
    deliver(faulty.connection, batch, ANOTHER_DAY, console=faulty.console)
    for case in CASES:
        deliver(faulty.connection, batch, day_of(case), console=faulty.console)
        if case.batch_comes_late:
            run = FaultyRun(faulty, "", day_of(case))
            run.late_batch().parent.mkdir(exist_ok=True)
            run.raw().rename(run.late_batch())
    faults = [
        Fault(id=f"{day_of(case)}-{number}", cluster=day_of(case), **fault)
        for case in CASES
        for number, fault in enumerate(case.faults)
    ]
    write_faults(faulty.home, faults)
    *together, last = CASES
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(
            zip((case.name for case in together), pool.map(lambda case: run_case(faulty, case), together), strict=True)
        )
    return found | {last.name: run_case(faulty, last)}


def run_case(faulty: Product, case: FaultCase) -> Outcome:
    run = FaultyRun.begin(faulty, day_of(case))
    case.act(run)
    ended = run.finish()
    # A run that was marked by hand is over before its teardown is.
    clusters = wait_for(
        run.clusters, lambda there: all(entry["Status"]["State"] in ENDED for entry in there), "its clusters to end"
    )
    steps = defaultdict(list)
    for step in run.steps():
        steps[step["Name"]].append(step["Status"]["State"])
    return Outcome(
        run, ended.state, [cluster["Status"]["State"] for cluster in clusters], dict(steps), log_of(run, case)
    )


def log_of(run: FaultyRun, case: FaultCase) -> str:
    """Returns the log as soon as it says what it should, or as it is after a minute. A trigger's words come a moment
    after it has acted.
    """
    deadline = time.monotonic() + 60
    while not all(words in (log := run.log(case.where)) for words in case.says) and time.monotonic() < deadline:
        time.sleep(1)
    return log


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
    """Returns the names of steps that were added while an earlier one of the same name had not ended."""
    found = []
    for earlier, later in pairwise(steps):
        begin, end = later["Status"]["Timeline"]["CreationDateTime"], earlier["Status"]["Timeline"]["EndDateTime"]
        if earlier["Name"] == later["Name"] and begin < end:
            found.append(later["Name"])
    return found


def test_never_are_two_runs_at_the_pca_at_once(faulty: Product, outcomes: dict[str, Outcome]) -> None:
    pages = faulty.emr.get_paginator("list_clusters").paginate()
    steps = [
        step for page in pages for cluster in page["Clusters"] for step in steps_of_cluster(faulty.emr, cluster["Id"])
    ]
    times = [step["Status"]["Timeline"] for step in steps if step["Name"] == REFRESH]
    worked = sorted((time["StartDateTime"], time["EndDateTime"]) for time in times if "StartDateTime" in time)
    assert len(worked) >= sum(REFRESH in case.steps for case in CASES)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(worked))
    assert pca_book(Lake(s3_client(faulty.connection), faulty.connection.bucket)).read() == ()


def test_an_orphan_is_swept_in_the_lake_that_was_set_before_and_nothing_else_is(
    faulty: Product, outcomes: dict[str, Outcome]
) -> None:
    work_with(faulty, ELSEWHERE)
    tags = {"product": "fruits", "lake": faulty.connection.bucket, "dag_id": DAG_ID}
    ended = outcomes[CASES[0].name].run.run_id
    ours = start_cluster(faulty, "fruits 2026-03-01 orphan", tags | {"airflow_run_id": ended})
    deleted = start_cluster(faulty, "fruits 2026-03-01 deleted", tags | {"airflow_run_id": "manual__never-was"})
    theirs = start_cluster(faulty, "fruits 2026-03-01 theirs", tags | {"lake": "their-lake", "airflow_run_id": ended})
    anothers = start_cluster(
        faulty, "fruits 2026-03-01 another's", tags | {"airflow_run_id": ended, "airflow": "another"}
    )
    by_hand = start_cluster(faulty, "somebody's", {"product": "fruits"})
    sweeper = AirflowApi(faulty.api._http, "sweep_orphan_clusters")
    run_id = sweeper.trigger({})
    wait_for(lambda: sweeper.dag_run(run_id), lambda run: run.is_finished, "the sweep")

    def state(cluster_id: str) -> str:
        return str(faulty.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]["State"])

    for orphan in (ours, deleted):
        wait_for(partial(state, orphan), lambda seen: seen in ENDED, "the orphan to end")
    assert state(theirs) == state(anothers) == state(by_hand) == "WAITING"
    log = "\n".join(sweeper.log_lines(run_id, "sweep", 1))
    assert "its run is over (or deleted)" in log
    assert f"--cluster-ids {anothers}" in log
    faulty.emr.terminate_job_flows(JobFlowIds=[theirs, anothers, by_hand])


def news_of(faulty: Product, kind: str, about: str) -> list[dict[str, str]]:
    """Returns what people were told of a kind with `about` in its subject, oldest first."""
    lines = (faulty.home / "airflow" / "notifications.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == kind and about in line["subject"]]


def has_at_least(number: int, news: list[dict[str, str]]) -> bool:
    return len(news) >= number


def test_people_are_told_of_each_failed_run_once_which_task_why_and_what_to_do(
    faulty: Product, outcomes: dict[str, Outcome]
) -> None:
    for case in CASES:
        run_id = outcomes[case.name].run.run_id
        if case.ends != "failed":
            assert news_of(faulty, "run_failed", run_id) == []
            continue
        told = wait_for(
            partial(news_of, faulty, "run_failed", run_id), partial(has_at_least, case.fails), f"news of {run_id}"
        )
        assert len(told) == case.fails
        news = told[-1]
        assert case.where in news["subject"]
        assert "What to do: " in news["message"]
        assert news["message"].endswith(f"Its page: {faulty.api.run_link(run_id)}")
        if "What to do:" in case.says:
            assert f"{case.where} failed, in its try " in news["message"]
            assert "\nCause: " in news["message"]


def test_tasks_of_a_failed_run_that_are_cleared_one_by_one_make_it_succeed(
    faulty: Product, outcomes: dict[str, Outcome]
) -> None:
    run = next(outcomes[case.name].run for case in CASES if case.ends == "failed" and case.where == REFRESH)
    work_with(faulty, here(faulty))
    clusters = len(run.clusters())
    # Runs that came later have projected its date, too.
    for folder in (faulty.lake / lake.PROJECTIONS).glob(f"*/ingest_date={run.day}"):
        shutil.rmtree(folder)
    for task_id in (REFRESH, "check_output", "publish_report"):
        old_news = news_of(faulty, "run_failed", run.run_id)
        run.clear(task_id, with_downstream=False)
        ended = run.finish()
        assert run.task(task_id).state == "success"
        assert ended.state == ("success" if task_id == "publish_report" else "failed")
        if ended.state == "failed":
            news = wait_for(partial(news_of, faulty, "run_failed", run.run_id), partial(ne, old_news), "the news")
            assert "clear those as well (with *downstream*, without *only failed*)" in news[-1]["message"]
    assert len(run.clusters()) == clusters + 1
    assert [step["Name"] for step in run.steps()] == [EXTRACT, REFRESH, REFRESH]


def test_the_next_run_completes_what_the_faults_left(faulty: Product, outcomes: dict[str, Outcome]) -> None:
    work_with(faulty, here(faulty))
    days = [*(day_of(case) for case in CASES), ANOTHER_DAY]
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


def here(faulty: Product) -> dict[str, str]:
    return {"FRUITS_LAKE_BUCKET": faulty.connection.bucket, "FRUITS_AWS_REGION": faulty.emr.meta.region_name}


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


def test_people_are_told_of_late_runs_and_of_orphans(faulty: Product, outcomes: dict[str, Outcome]) -> None:
    failed = next(outcomes[case.name].run.run_id for case in CASES if case.ends == "failed")
    (late,) = news_of(faulty, "run_late", failed)
    assert late["message"].endswith(f"Its page: {faulty.api.run_link(failed)}")
    (orphans,) = news_of(faulty, "orphans_swept", "orphan")
    assert "/dags/sweep_orphan_clusters/runs/" in orphans["message"]


def test_a_task_of_a_successful_run_that_is_cleared_alone_leaves_it_as_it_was(
    faulty: Product, outcomes: dict[str, Outcome]
) -> None:
    run = next(outcomes[case.name].run for case in CASES if case.ends == "success" and case.steps == WHOLE)
    before, clusters = ledger_of(faulty, run.day), run.clusters()
    for task_id in ("check_output", "publish_report", REFRESH, EXTRACT):
        run.clear(task_id, with_downstream=False)
        assert run.finish().state == "success"
    assert run.task("plan_run").state == run.task(EXTRACT).state == "skipped"  # it found nothing to do
    assert run.clusters() == clusters
    assert ledger_of(faulty, run.day).equals(before)


def test_a_task_of_a_failed_run_that_is_cleared_alone_is_not_enough_and_people_are_told_so(
    faulty: Product, outcomes: dict[str, Outcome]
) -> None:
    """The run that completed what the faults left has been before: so this one has nothing to do, and asks for no
    cluster.
    """
    run = next(outcomes[case.name].run for case in CASES if case.ends == "failed")
    told, clusters = news_of(faulty, "run_failed", run.run_id), run.clusters()
    run.clear(EXTRACT, with_downstream=False)
    assert run.finish().state == "failed"
    assert run.task("publish_report").state == "upstream_failed"
    assert run.clusters() == clusters
    news = wait_for(
        partial(news_of, faulty, "run_failed", run.run_id), lambda lines: len(lines) > len(told), "the second news"
    )
    assert len(news) == len(told) + 1
    assert "No task failed this time." in news[-1]["message"]
    assert "clear those as well (with *downstream*, without *only failed*)" in news[-1]["message"]


def test_a_check_that_is_cleared_alone_and_fails_is_told_although_the_run_counts_as_successful(
    faulty: Product, outcomes: dict[str, Outcome]
) -> None:
    run = next(outcomes[case.name].run for case in CASES if case.ends == "success" and case.clusters == 2)
    features = next((faulty.lake / lake.date_prefix(lake.FEATURES, run.day)).rglob("*.parquet"))
    aside = features.rename(faulty.home / "aside.parquet")
    run.clear("check_output", with_downstream=False)
    assert run.finish().state == "success"
    assert run.task("check_output").state == "failed"
    (news,) = wait_for(partial(news_of, faulty, "run_failed", run.run_id), bool, "the news")
    assert "counts as successful, yet it failed in check_output" in news["subject"]
    assert features.name in news["message"]
    aside.rename(features)
    run.clear("check_output", with_downstream=False)
    assert run.finish().state == "success"
    assert run.task("check_output").state == "success"


def ledger_of(faulty: Product, day: str) -> pd.DataFrame:
    return pd.read_parquet(faulty.lake / lake.date_prefix(lake.LEDGER, day))


def test_runs_that_meet_faults_ask_for_nothing_that_their_roles_are_not_known_to_need(
    faulty: Product, outcomes: dict[str, Outcome]
) -> None:
    assert_asked_for_what_is_known(faulty)


def test_the_operations_manual_has_this_matrix(outcomes: dict[str, Outcome]) -> None:
    table = matrix(outcomes)
    if is_to_be_written():
        TABLE.write(table)
    assert TABLE.read() == table, "FRUITS_WRITE_DOCS=1 writes the table anew"


def matrix(outcomes: dict[str, Outcome]) -> str:
    head = ["what goes wrong", "how it is made to", "the run", "clusters left", "steps", "the log of"]
    rows = []
    for case in CASES:
        outcome = outcomes[case.name]
        steps = "; ".join(f"{name}: {', '.join(states).lower()}" for name, states in outcome.steps.items())
        left = sum(state not in ENDED for state in outcome.clusters)
        said = ", ".join(f"“{words}”" for words in case.says if words in outcome.log)
        rows.append(
            [
                case.name,
                case.made_by,
                outcome.state,
                f"{left} of {len(outcome.clusters)}",
                steps,
                f"`{case.where}` says {said}",
            ]
        )
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    return "".join(f"{line}\n" for line in [*lines, *("| " + " | ".join(row) + " |" for row in rows)])
