from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fruit_cli.airflow_client.api import TaskState
from fruit_cli.airflow_client.follow import (
    RunFailedError,
    duration,
    follow_run,
    make_ready,
    set_runs_aside,
    task_changes,
)
from fruit_cli.airflow_client.http import AirflowError
from fruit_cli.commands import backfill as backfill_command
from fruit_cli.commands import run as run_command
from fruit_cli.commands.backfill import backfill
from fruit_cli.commands.run import categories_asked_for, dates_asked_for, parse_categories, run_date, run_request
from fruit_cli.errors import CommandError
from fruit_contract.day_boundary import DayBoundary
from fruit_contract.ingest_days import days_between
from fruit_contract.lake import LakeNameError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from fruit_cli.airflow_client.api import AirflowApi
    from tests.fruit_cli.conftest import FakeAirflow

    ApiOf = Callable[..., AirflowApi]

DAG = "/dags/fruit_image_pipeline"
RUNS = f"{DAG}/dagRuns"
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).isoformat()


def run_answer(
    state: str, run_id: str = "manual__1", *, kind: str = "manual", logical_date: str | None = None
) -> dict[str, object]:
    return {
        "dag_run_id": run_id,
        "state": state,
        "run_type": kind,
        "logical_date": logical_date,
        "run_after": "2026-11-22T00:00:00Z",
        "duration": 75.0 if state in {"success", "failed"} else None,
    }


def tasks_answer(**states: str | None) -> dict[str, object]:
    started = "2026-11-22T08:00:00Z"
    return {
        "task_instances": [
            {"task_id": task, "state": state, "try_number": 1, "start_date": started, "duration": 12.3}
            for task, state in states.items()
        ]
    }


def dag_answer(*, paused: bool, next_run_after: str = TOMORROW) -> dict[str, object]:
    return {"is_paused": paused, "is_stale": False, "next_dagrun_run_after": next_run_after}


def log_answer(*lines: str) -> dict[str, object]:
    return {"content": [{"event": line} for line in lines], "continuation_token": None}


def task(
    task_id: str, state: str | None, try_number: int = 1, started: str | None = "2026-11-22T08:00:00Z"
) -> TaskState:
    return TaskState(task_id, state, try_number, started, 12.3)


def test_says_each_change_once() -> None:
    said: set[tuple[str, int, str]] = set()
    assert [change.text for change in task_changes(said, [task("a", None), task("b", "queued")])] == []
    assert [change.text for change in task_changes(said, [task("a", "running")])] == ["started"]
    assert task_changes(said, [task("a", "deferred")]) == []
    assert task_changes(said, [task("a", "running")]) == []
    assert [change.text for change in task_changes(said, [task("a", "success")])] == ["done in 12 s"]
    assert task_changes(said, [task("a", "success")]) == []


def test_says_that_a_task_is_tried_again() -> None:
    said: set[tuple[str, int, str]] = set()
    texts = [
        change.text
        for state, number in [("running", 1), ("up_for_retry", 1), ("running", 2), ("failed", 2)]
        for change in task_changes(said, [task("a", state, number)])
    ]
    assert texts == ["started", "failed, will be tried again", "started, try 2", "failed"]


def test_says_changes_in_the_order_in_which_they_happened() -> None:
    tasks = [
        task("late", "success", started="2026-11-22T09:00:00Z"),
        task("never", "upstream_failed", started=None),
        task("early", "success"),
    ]
    assert [change.task.task_id for change in task_changes(set(), tasks)] == ["early", "late", "never"]


def test_follows_a_run_to_its_good_end(api_of: ApiOf, fake_airflow: FakeAirflow, console: Console) -> None:
    fake_airflow.on("GET", f"{RUNS}/manual__1", run_answer("running"), run_answer("running"), run_answer("success"))
    states = [
        tasks_answer(plan_run="running"),
        tasks_answer(plan_run="success"),
        tasks_answer(plan_run="success", extract_features="success"),
    ]
    fake_airflow.on("GET", f"{RUNS}/manual__1/taskInstances", *states)
    follow_run(api_of(), "manual__1", console, sleep=fake_airflow.sleep)
    text = console.export_text()
    assert re.findall(r"(\w+) +(started|done in 12 s)", text) == [
        ("plan_run", "started"),
        ("plan_run", "done in 12 s"),
        ("extract_features", "done in 12 s"),
    ]


def test_says_once_that_the_dag_is_paused_while_a_run_is_followed(
    api_of: ApiOf, fake_airflow: FakeAirflow, console: Console
) -> None:
    fake_airflow.on("GET", f"{RUNS}/manual__1", *[run_answer("queued")] * 4, run_answer("success"))
    fake_airflow.on("GET", f"{RUNS}/manual__1/taskInstances", tasks_answer(plan_run=None))
    paused, unpaused = dag_answer(paused=True), dag_answer(paused=False)
    fake_airflow.on("GET", DAG, unpaused, paused, paused, unpaused)
    follow_run(api_of(), "manual__1", console, sleep=fake_airflow.sleep)
    text = console.export_text()
    assert text.count("is paused") == 1
    assert "airflow dags unpause fruit_image_pipeline" in text
    assert "http://127.0.0.1:8080/dags/fruit_image_pipeline" in text
    assert text.count("no longer paused") == 1


def test_a_failed_run_names_its_task_shows_its_log_and_fails_the_command(
    api_of: ApiOf, fake_airflow: FakeAirflow, console: Console
) -> None:
    fake_airflow.on("POST", RUNS, run_answer("queued"))
    fake_airflow.on("GET", f"{RUNS}/manual__1", run_answer("failed"))
    fake_airflow.on(
        "GET", f"{RUNS}/manual__1/taskInstances", tasks_answer(extract_features="failed", refresh_pca="upstream_failed")
    )
    lines = [f"line {number}" for number in range(50)] + ["[red]exit code 1[/red]"]
    fake_airflow.on("GET", f"{RUNS}/manual__1/taskInstances/extract_features/logs/1", log_answer(*lines))
    with pytest.raises(
        RunFailedError,
        match=r"failed in extract_features\. Its page: http://127.*/runs/manual__1/tasks/extract_features",
    ):
        run_date(api_of(), "2026-11-22", ["Kiwi"], console)
    text = console.export_text()
    assert "[red]exit code 1[/red]" in text
    assert "line 49" in text
    assert "line 30" not in text
    (sent,) = fake_airflow.bodies("POST", RUNS)
    assert sent["logical_date"] is None
    assert {name: value for name, value in sent["conf"].items() if value} == {
        "ingest_date": "2026-11-22",
        "categories": ["Kiwi"],
    }


def test_a_task_that_stops_the_run_says_why(api_of: ApiOf, fake_airflow: FakeAirflow, console: Console) -> None:
    fake_airflow.on("GET", f"{RUNS}/manual__1", run_answer("success"))
    answer = tasks_answer(plan_run="skipped", create_cluster="skipped")
    answer["task_instances"][1]["try_number"] = 0  # type: ignore[index]
    fake_airflow.on("GET", f"{RUNS}/manual__1/taskInstances", answer)
    for name, try_number, line in [
        ("plan_run", 1, "nothing was delivered: Durian"),
        ("create_cluster", 0, "no logs available"),
    ]:
        fake_airflow.on("GET", f"{RUNS}/manual__1/taskInstances/{name}/logs/{try_number}", log_answer(line))
    follow_run(api_of(), "manual__1", console, sleep=fake_airflow.sleep)
    text = console.export_text()
    assert "nothing was delivered: Durian" in text
    assert "no logs available" not in text


def test_unpauses_the_local_dag_and_sets_the_run_aside_that_this_starts(
    api_of: ApiOf, fake_airflow: FakeAirflow, console: Console
) -> None:
    due, settled = dag_answer(paused=False, next_run_after=YESTERDAY), dag_answer(paused=False)
    fake_airflow.on("GET", DAG, dag_answer(paused=True, next_run_after=YESTERDAY), due, settled)
    fake_airflow.on("PATCH", DAG, dag_answer(paused=False))
    waiting = run_answer("running", "scheduled__1", kind="scheduled")
    done = run_answer("success", "scheduled__1", kind="scheduled")
    pages = [{"dag_runs": runs, "total_entries": len(runs)} for runs in ([], [waiting], [done])]
    fake_airflow.on("GET", RUNS, *pages)
    fake_airflow.on("PATCH", f"{RUNS}/scheduled__1", done)
    make_ready(api_of(), console, sleep=fake_airflow.sleep)
    assert fake_airflow.bodies("PATCH", DAG) == [{"is_paused": False}]
    (aside,) = fake_airflow.bodies("PATCH", f"{RUNS}/scheduled__1")
    assert aside["state"] == "success"
    assert "Set aside" in str(aside["note"])


def test_leaves_a_dag_alone_that_is_not_paused(api_of: ApiOf, fake_airflow: FakeAirflow, console: Console) -> None:
    fake_airflow.on("GET", DAG, dag_answer(paused=False, next_run_after=YESTERDAY))
    make_ready(api_of(), console, sleep=fake_airflow.sleep)
    assert {request.method for request in fake_airflow.requests} == {"GET"}


def test_does_not_unpause_an_airflow_elsewhere(api_of: ApiOf, fake_airflow: FakeAirflow, console: Console) -> None:
    fake_airflow.on("GET", DAG, dag_answer(paused=True))
    how = (
        r"paused on https://airflow\.example.* page, https://airflow\.example/dags/fruit_image_pipeline.*`airflow "
        r"dags unpause fruit"
    )
    with pytest.raises(AirflowError, match=how):
        make_ready(api_of("token", "https://airflow.example"), console, sleep=fake_airflow.sleep)
    assert {request.method for request in fake_airflow.requests} == {"GET"}


def test_waits_for_a_dag_that_is_still_being_read(api_of: ApiOf, fake_airflow: FakeAirflow, console: Console) -> None:
    stale = {"is_paused": False, "is_stale": True, "next_dagrun_run_after": None}
    fake_airflow.on("GET", DAG, stale, stale, dag_answer(paused=False))
    make_ready(api_of(), console, sleep=fake_airflow.sleep)
    assert fake_airflow.slept == 2


def test_says_why_a_dag_can_not_be_read(api_of: ApiOf, fake_airflow: FakeAirflow, console: Console) -> None:
    error = {"filename": "fruit_image_pipeline.py", "stack_trace": "Traceback\nSettingsError: FRUITS_ENGINE is 'x'\n"}
    fake_airflow.on("GET", "/importErrors", {"import_errors": [error]})
    with pytest.raises(AirflowError, match=r"fruit_image_pipeline\.py: SettingsError: FRUITS_ENGINE is 'x'"):
        make_ready(api_of(), console, sleep=fake_airflow.sleep)


def test_ends_what_an_earlier_demo_left_under_way(api_of: ApiOf, fake_airflow: FakeAirflow) -> None:
    fake_airflow.on("GET", DAG, dag_answer(paused=False))
    left, done = run_answer("running", "manual__0"), run_answer("success", "manual__00")
    fake_airflow.on(
        "GET", RUNS, {"dag_runs": [left, done], "total_entries": 2}, {"dag_runs": [done], "total_entries": 1}
    )
    fake_airflow.on("PATCH", f"{RUNS}/manual__0", left)
    set_runs_aside(api_of(), {}, sleep=fake_airflow.sleep)
    assert [body["state"] for body in fake_airflow.bodies("PATCH", f"{RUNS}/manual__0")] == ["failed"]


def test_gives_the_schedule_a_limited_time_to_settle(api_of: ApiOf, fake_airflow: FakeAirflow) -> None:
    fake_airflow.on("GET", DAG, dag_answer(paused=False, next_run_after=YESTERDAY))
    fake_airflow.on("GET", RUNS, {"dag_runs": [], "total_entries": 0})
    set_runs_aside(api_of(), {}, sleep=fake_airflow.sleep)
    assert fake_airflow.slept == 60


BACKFILL_RUNS = [
    run_answer("queued", f"backfill__{day}", kind="backfill", logical_date=f"2026-11-{day}T00:00:00Z")
    for day in (20, 22)
]


def backfill_airflow(fake_airflow: FakeAirflow, last_state: str) -> None:
    fake_airflow.on("GET", DAG, dag_answer(paused=False))
    planned = [{"logical_date": run["logical_date"]} for run in BACKFILL_RUNS]
    fake_airflow.on("POST", "/backfills/dry_run", {"backfills": planned, "total_entries": 2})
    fake_airflow.on("POST", "/backfills", {"id": 7})
    first, second = BACKFILL_RUNS
    pages = [
        [first, second],
        [{**first, "state": "running"}, second],
        [{**first, "state": "success", "duration": 75.0}, {**second, "state": "running"}],
        [{**first, "state": "success", "duration": 75.0}, {**second, "state": last_state, "duration": 80.0}],
    ]
    fake_airflow.on("GET", RUNS, *({"dag_runs": page, "total_entries": 2} for page in pages))


def test_a_backfill_runs_the_range_again_one_date_after_another(
    api_of: ApiOf, fake_airflow: FakeAirflow, console: Console
) -> None:
    backfill_airflow(fake_airflow, "success")
    backfill(api_of(), ["2026-11-20", "2026-11-21", "2026-11-22"], ["Kiwi"], console, sleep=fake_airflow.sleep)
    assert fake_airflow.bodies("POST", "/backfills") == [
        {
            "dag_id": "fruit_image_pipeline",
            "from_date": "2026-11-20T00:00:00Z",
            "to_date": "2026-11-22T23:59:59Z",
            "dag_run_conf": {"categories": ["Kiwi"]},
            "reprocess_behavior": "completed",
            "max_active_runs": 1,
        }
    ]
    text = console.export_text()
    assert "Not run: 2026-11-21" in text
    assert re.findall(r"(2026-11-\d\d)  (\w+)", text) == [
        ("2026-11-20", "running"),
        ("2026-11-22", "queued"),
        ("2026-11-20", "success"),
        ("2026-11-22", "running"),
        ("2026-11-22", "success"),
    ]


def test_a_backfill_of_a_farm_elsewhere_has_every_day_of_its_own(
    api_of: ApiOf, fake_airflow: FakeAirflow, console: Console
) -> None:
    fake_airflow.on("GET", DAG, dag_answer(paused=False))
    nights = ["2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"]  # clocks are put forward between them
    fake_airflow.on(
        "POST", "/backfills/dry_run", {"backfills": [{"logical_date": night} for night in nights], "total_entries": 2}
    )
    fake_airflow.on("POST", "/backfills", {"id": 7})
    runs = [run_answer("success", f"backfill__{night}", kind="backfill", logical_date=night) for night in nights]
    fake_airflow.on("GET", RUNS, {"dag_runs": runs, "total_entries": 2})
    berlin = DayBoundary("Europe/Berlin")
    backfill(api_of(), ["2026-03-29", "2026-03-30"], [], console, boundary=berlin, sleep=fake_airflow.sleep)
    (asked,) = fake_airflow.bodies("POST", "/backfills")
    assert (asked["from_date"], asked["to_date"]) == ("2026-03-28T23:00:00Z", "2026-03-30T21:59:59Z")
    text = console.export_text()
    assert "Not run" not in text
    assert re.findall(r"(2026-03-\d\d)  (\w+)", text) == [("2026-03-29", "success"), ("2026-03-30", "success")]


def test_a_backfill_fails_when_one_of_its_runs_does(api_of: ApiOf, fake_airflow: FakeAirflow, console: Console) -> None:
    backfill_airflow(fake_airflow, "failed")
    fake_airflow.on("GET", f"{RUNS}/backfill__22/taskInstances", tasks_answer(plan_run="failed"))
    fake_airflow.on("GET", f"{RUNS}/backfill__22/taskInstances/plan_run/logs/1", log_answer("no release"))
    with pytest.raises(RunFailedError, match=r"1 of 2 runs failed\.\nThe run backfill__22 failed in plan_run"):
        backfill(api_of(), ["2026-11-20", "2026-11-21", "2026-11-22"], [], console, sleep=fake_airflow.sleep)
    assert "no release" in console.export_text()


def test_a_backfill_of_days_to_come_is_refused(api_of: ApiOf, fake_airflow: FakeAirflow, console: Console) -> None:
    fake_airflow.on("GET", DAG, dag_answer(paused=False))
    fake_airflow.on("POST", "/backfills/dry_run", {"backfills": [], "total_entries": 0})
    with pytest.raises(CommandError, match="they lie ahead, or their runs are under way"):
        backfill(api_of(), ["2036-11-20"], [], console, sleep=fake_airflow.sleep)
    assert fake_airflow.bodies("POST", "/backfills") == []


def test_lists_the_dates_of_a_range() -> None:
    assert days_between("2026-11-29", "2026-12-02") == ["2026-11-29", "2026-11-30", "2026-12-01", "2026-12-02"]
    assert days_between("2026-11-29", "2026-11-29") == ["2026-11-29"]


def test_a_run_is_for_a_date_or_for_a_range() -> None:
    assert dates_asked_for("2026-11-22", "", "") == ["2026-11-22"]
    assert dates_asked_for("", "2026-11-21", "2026-11-22") == ["2026-11-21", "2026-11-22"]
    for given in [
        ("", "", ""),
        ("2026-11-22", "2026-11-21", "2026-11-22"),
        ("", "2026-11-21", ""),
        ("", "", "2026-11-22"),
    ]:
        with pytest.raises(CommandError, match="Give an ingest date"):
            dates_asked_for(*given)


def test_a_range_goes_to_the_dag_by_its_ends() -> None:
    request = run_request(
        ["2026-11-20", "2026-11-21", "2026-11-22"],
        ["Kiwi"],
        pca_policy="always",
        retry_rejected=True,
        accept_rejects=True,
    )
    assert request == {
        "ingest_date": "2026-11-20",
        "last_ingest_date": "2026-11-22",
        "categories": ["Kiwi"],
        "pca_policy": "always",
        "retry_rejected": True,
        "accept_rejects": True,
        "switch_embedder": False,
        "over_budget": False,
    }
    assert run_request(["2026-11-22"])["last_ingest_date"] is None
    assert run_request(["2026-11-22"], switch_embedder=True)["switch_embedder"] is True


def test_refuses_a_range_that_is_upside_down() -> None:
    with pytest.raises(LakeNameError, match="upside down"):
        days_between("2026-11-30", "2026-11-29")


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("", []),
        ("Kiwi", ["Kiwi"]),
        (" Apple Red 1 , Äpfel 50%,", ["Apple Red 1", "Äpfel 50%"]),
        ("a,b,a", ["a", "b"]),
        (' ["Apple, red", " Kiwi ", "Kiwi", "Kiwi"]', ["Apple, red", " Kiwi ", "Kiwi"]),
    ],
)
def test_reads_categories(text: str, categories: list[str]) -> None:
    assert parse_categories(text) == categories


@pytest.mark.parametrize(
    ("given", "categories"),
    [
        ([], []),
        ([""], []),
        (["a,b"], ["a", "b"]),
        (["Apple, red", " Kiwi "], ["Apple, red", " Kiwi "]),
        (["", "a", "a", "[x]"], ["a", "[x]"]),
        (['["Apple, red"]'], ["Apple, red"]),
    ],
)
def test_one_list_or_several_names_can_be_asked_for(given: list[str], categories: list[str]) -> None:
    assert categories_asked_for(given) == categories


@pytest.mark.parametrize("flag", ["--categories", "--category"])
def test_the_flag_can_be_repeated(flag: str) -> None:
    for command in (run_command, backfill_command):
        days = ["--from-date", "2026-11-22", "--to-date", "2026-11-22"]
        asked = command.command.make_context("fruit_cli", [*days, flag, "Apple, red", f"{flag}=-x"])
        assert asked.params["categories"] == ("Apple, red", "-x")
        assert command.command.make_context("fruit_cli", days).params["categories"] == ()


@pytest.mark.parametrize("text", [" , ", "[]", '[""]'])
def test_refuses_a_list_of_no_categories(text: str) -> None:
    with pytest.raises(CommandError, match="names no category"):
        parse_categories(text)


@pytest.mark.parametrize("text", ["[Kiwi]", "['Kiwi']", "[1]", '["Kiwi"', "[[]]"])
def test_says_how_a_json_list_is_written(text: str) -> None:
    with pytest.raises(CommandError, match=r"begins like a JSON list, and is none of names: write it as"):
        parse_categories(text)


XCOM = "taskInstances/plan_run/xcomEntries/plan"


def plan_answer(missing: list[str], similar: dict[str, list[str]] | None = None) -> dict[str, object]:
    """Returns the plan as Airflow's API hands it out: the text that lies in its database."""
    return {"value": json.dumps({"missing_categories": missing, "similar_categories": similar or {}})}


@pytest.mark.parametrize("state", ["success", "skipped"])
def test_warns_on_the_screen_of_categories_that_are_nowhere(
    api_of: ApiOf, fake_airflow: FakeAirflow, console: Console, state: str
) -> None:
    fake_airflow.on("POST", RUNS, run_answer("queued"))
    fake_airflow.on("GET", f"{RUNS}/manual__1", run_answer("success"))
    fake_airflow.on("GET", f"{RUNS}/manual__1/taskInstances", tasks_answer(plan_run=state))
    fake_airflow.on("GET", f"{RUNS}/manual__1/taskInstances/plan_run/logs/1", log_answer("nothing"))
    fake_airflow.on("GET", f"{RUNS}/manual__1/{XCOM}", plan_answer(["kiwi", "[b]Fig"], {"kiwi": ["Kiwi", " Kiwi"]}))
    run_date(api_of(), "2026-11-22", ["kiwi", "[b]Fig"], console)
    text = console.export_text()
    warning = (
        "Nowhere in what was delivered: 'kiwi', '[b]Fig'. Much like 'kiwi': 'Kiwi', ' Kiwi'. Names are exact, to the "
        "letter and the space."
    )
    assert text.count(warning) == 1


def test_says_nothing_where_all_categories_are_there(
    api_of: ApiOf, fake_airflow: FakeAirflow, console: Console
) -> None:
    fake_airflow.on("POST", RUNS, run_answer("queued"))
    fake_airflow.on("GET", f"{RUNS}/manual__1", run_answer("success"))
    fake_airflow.on("GET", f"{RUNS}/manual__1/taskInstances", tasks_answer(plan_run="success"))
    fake_airflow.on("GET", f"{RUNS}/manual__1/{XCOM}", plan_answer([]))
    run_date(api_of(), "2026-11-22", ["Kiwi"], console)
    assert "Nowhere" not in console.export_text()


def test_a_backfill_warns_of_categories_that_none_of_its_dates_has(
    api_of: ApiOf, fake_airflow: FakeAirflow, console: Console
) -> None:
    backfill_airflow(fake_airflow, "success")
    for day, missing in [(20, ["Fig", "Durian"]), (22, ["Durian"])]:
        fake_airflow.on("GET", f"{RUNS}/backfill__{day}/{XCOM}", plan_answer(missing))
    backfill(api_of(), ["2026-11-20", "2026-11-22"], ["Fig", "Durian", "Kiwi"], console, sleep=fake_airflow.sleep)
    assert "Nowhere in what was delivered: 'Durian'. Names are exact" in console.export_text()


def test_refuses_what_can_not_be_a_category() -> None:
    with pytest.raises(LakeNameError, match="_hidden"):
        parse_categories("Kiwi,_hidden")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3725, "62 min 05 s")]
)
def test_writes_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
