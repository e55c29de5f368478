from __future__ import annotations

import pwd
import threading
import time
from typing import TYPE_CHECKING

import boto3
import httpx
import psutil
import pytest

from fruit_cli.airflow_client.http import AirflowAddress, AirflowHttp, current_airflow
from fruit_cli.commands.up import summary
from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import LakeConnection, current_connection, s3_client
from fruit_cli.lake.deployed import DEPLOYED_VARIABLES, REGION_VARIABLE, STACK_VARIABLE
from fruit_cli.lake.store import missing_keys
from fruit_cli.stack.lifecycle import LocalStack, PreferredPorts
from local_cloud.stack.latency import request_counts
from local_cloud.stack.state import HOME_VARIABLE, StackState, why_it_stopped
from local_cloud.stack.sweep import STACK_MARK, is_alive, marked_processes
from tests.local_cloud.running_cloud import command_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from local_cloud.stack.supervisor import Plan

ANY_PORTS = PreferredPorts(airflow=0, s3=0, emr=0)
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
A_DAG = """
from airflow.sdk import dag, task

@dag(schedule=None)
def waits():
    @task
    def wait():
        import time
        time.sleep(300)

    wait()

waits()
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    (tmp_path / "dags").mkdir()
    (tmp_path / "plugins").mkdir()
    stack = LocalStack(tmp_path / "home", ports=ANY_PORTS, dags=tmp_path / "dags", plugins=tmp_path / "plugins")
    yield stack
    stack.stop(say=lambda _: None)


def processes_of(stack: LocalStack) -> list[psutil.Process]:
    return marked_processes(STACK_MARK, str(stack.home))


def process_named(stack: LocalStack, words: str) -> psutil.Process:
    return next(process for process in processes_of(stack) if words in command_of(process))


def kill_supervisor(state: StackState) -> None:
    supervisor = psutil.Process(state.supervisor_pid)
    supervisor.kill()
    wait_for(lambda: not is_alive(supervisor.pid))


def run_a_long_step(stack: LocalStack, state: StackState) -> None:
    """Starts a long step and returns when its processes are there, one of which has left its group."""
    keys = {"aws_access_key_id": state.access_key_id, "aws_secret_access_key": state.secret_access_key}
    emr = boto3.client("emr", endpoint_url=state.emr_url, region_name=state.region, **keys)
    arguments = ["bash", "-c", "setsid sleep 300 & sleep 300"]
    step = {
        "Name": "long",
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": arguments},
    }
    instances = {"InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}]}
    emr.run_job_flow(Name="long", Instances=instances, Steps=[step])
    wait_for(lambda: [command_of(process) for process in processes_of(stack)].count("sleep 300") == 2)


@pytest.mark.slow
def test_starts_answers_and_leaves_nothing_behind(stack: LocalStack) -> None:
    said: list[str] = []
    state = stack.start(with_airflow=False, say=said.append)
    assert stack.state() == state
    assert "Everything answers." in said
    connection = LakeConnection(state.bucket, state.region, state.s3_url, state.access_key_id, state.secret_access_key)
    s3_client(connection).put_object(Bucket=state.bucket, Key="raw/x", Body=b"x")
    assert (stack.home / "s3" / state.bucket / "raw" / "x").read_bytes() == b"x"
    run_a_long_step(stack, state)
    stack.stop(say=said.append)
    assert processes_of(stack) == []
    assert stack.state() is None
    assert said[-1] == "Everything has stopped."
    assert why_it_stopped(stack.home) is None


@pytest.mark.slow
def test_s3_can_be_far_away(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path / "home", ports=ANY_PORTS, s3_latency_milliseconds=100)
    try:
        state = stack.start(with_airflow=False, say=lambda _: None)
        connection = LakeConnection(
            state.bucket, state.region, state.s3_url, state.access_key_id, state.secret_access_key
        )
        before = request_counts(state.s3_url)
        begun = time.monotonic()
        s3_client(connection).put_object(Bucket=state.bucket, Key="raw/x", Body=b"x")
        assert time.monotonic() - begun >= 0.1
        assert request_counts(state.s3_url) == before | {"PUT": before.get("PUT", 0) + 1}
        check_addresses_and_commands(stack, state)
    finally:
        stack.stop(say=lambda _: None)


@pytest.mark.slow
def test_a_second_start_finds_it_up(stack: LocalStack) -> None:
    first = stack.start(with_airflow=False, say=lambda _: None)
    assert stack.start(with_airflow=False, say=lambda _: None) == first


@pytest.mark.slow
def test_two_starts_at_once_start_one(stack: LocalStack) -> None:
    states: list[StackState] = []
    threads = [
        threading.Thread(target=lambda: states.append(stack.start(with_airflow=False, say=lambda _: None)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(states) == 2
    assert states[0] == states[1]


@pytest.mark.slow
def test_stop_leaves_nothing_though_the_supervisor_was_killed(stack: LocalStack) -> None:
    state = stack.start(with_airflow=False, say=lambda _: None)
    run_a_long_step(stack, state)
    kill_supervisor(state)
    assert stack.state() is None
    assert processes_of(stack)
    stack.stop(say=lambda _: None)
    assert processes_of(stack) == []


@pytest.mark.slow
def test_starts_again_over_what_a_killed_supervisor_left(stack: LocalStack) -> None:
    first = stack.start(with_airflow=False, say=lambda _: None)
    kill_supervisor(first)
    second = stack.start(with_airflow=False, say=lambda _: None)
    assert second.supervisor_pid != first.supervisor_pid
    assert len([process for process in processes_of(stack) if "local_cloud.s3.server" in process.cmdline()]) == 1


@pytest.mark.slow
def test_when_one_process_dies_all_end_and_it_is_named(stack: LocalStack) -> None:
    state = stack.start(with_airflow=False, say=lambda _: None)
    process_named(stack, "local_cloud.emr.server").kill()
    supervisor = psutil.Process(state.supervisor_pid)
    psutil.wait_procs([supervisor], timeout=30)
    assert processes_of(stack) == []
    assert stack.state() is None
    reason = why_it_stopped(stack.home)
    assert reason is not None
    assert reason.startswith("emr ended by itself with exit code -9")
    assert "EMR listens on" in reason


@pytest.mark.slow
def test_whoever_asks_a_local_cloud_that_stopped_by_itself_is_told_why(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(stack.home))
    state = stack.start(with_airflow=False, say=lambda _: None)
    connection = current_connection()
    process_named(stack, "local_cloud.emr.server").kill()
    psutil.wait_procs([psutil.Process(state.supervisor_pid)], timeout=30)
    airflow = AirflowAddress(state.emr_url, token="t", is_local=True)
    for ask in (
        current_connection,
        current_airflow,
        lambda: missing_keys(connection, ["raw/x"]),
        lambda: AirflowHttp(airflow, sleep=lambda _: None).send("GET", "/dags"),
    ):
        with pytest.raises(
            CommandError, match=r"(?s)make up.*stopped by itself: emr ended by itself with exit code -9"
        ):
            ask()


def test_a_process_that_cannot_start_is_an_error_with_the_end_of_its_log(stack: LocalStack) -> None:
    broken = stack.home / "s3" / "fruits-lake"
    broken.parent.mkdir(parents=True)
    broken.write_text("a file where the bucket should be")
    with pytest.raises(CommandError, match=r"(?s)^s3 ended by itself with exit code 1.*fruits-lake"):
        stack.start(with_airflow=False, say=lambda _: None)
    assert processes_of(stack) == []


@pytest.mark.slow
def test_nothing_listens_beyond_the_loopback_and_no_secret_is_in_a_command(stack: LocalStack) -> None:
    state = stack.start(with_airflow=False, say=lambda _: None)
    check_addresses_and_commands(stack, state)


@pytest.mark.parametrize("loaded", [False, True])
def test_a_deployment_that_is_loaded_has_no_say_in_the_local_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: bool
) -> None:
    settings = {name: "eu-central-1" if name == REGION_VARIABLE else "x-y-z" for name in DEPLOYED_VARIABLES}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    if not loaded:
        monkeypatch.delenv(STACK_VARIABLE)
    monkeypatch.setattr(LocalStack, "_migrate_database", lambda *_: None)
    planned: list[Plan] = []

    def supervise(_: LocalStack, plan: Plan, __: object) -> StackState:
        planned.append(plan)
        return plan.state

    monkeypatch.setattr(LocalStack, "_supervise", supervise)
    state = LocalStack(tmp_path, ports=PreferredPorts(airflow=0, s3=0, emr=0)).start()
    assert (state.bucket, state.region) == (("fruits-lake", "eu-west-1") if loaded else ("x-y-z", "eu-central-1"))
    (scheduler,) = (process for process in planned[0].processes if process.name == "airflow-scheduler")
    assert ("FRUITS_BATCH_QUEUE_URL" in scheduler.environment) is not loaded


def test_a_user_without_a_name_is_told_what_to_do(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(user: int) -> pwd.struct_passwd:
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(CommandError, match=r"has no name on this machine.*/etc/passwd"):
        stack.start(with_airflow=False, say=lambda _: None)


def test_a_path_that_spark_can_not_take_is_refused(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path / "apples, pears", ports=ANY_PORTS)
    with pytest.raises(CommandError, match=r"apples, pears' holds ,.*Set FRUITS_LOCAL_HOME to another folder"):
        stack.start(with_airflow=False, say=lambda _: None)


def test_stopping_what_is_not_up_says_so(stack: LocalStack) -> None:
    said: list[str] = []
    stack.stop(say=said.append)
    assert said == ["Nothing was up."]


def test_the_summary_names_every_address_and_how_to_stop(tmp_path: Path) -> None:
    state = StackState(1, "http://s3", "http://emr", "http://ui", "key", "shh", "eu-west-1", "fruits-lake", "sesame")
    text = summary(state, tmp_path, already_up=True)
    for part in (
        "already up",
        "http://s3",
        "http://emr",
        "http://ui (user admin, password sesame)",
        str(tmp_path / "s3" / "fruits-lake"),
        "make down",
    ):
        assert part in text
    assert "shh" not in text


def test_ports_that_are_no_numbers_are_refused() -> None:
    assert PreferredPorts.of({"FRUITS_LOCAL_UI_PORT": "8081"}) == PreferredPorts(airflow=8081)
    with pytest.raises(CommandError, match="port numbers"):
        PreferredPorts.of({"FRUITS_LOCAL_UI_PORT": "ui"})


@pytest.mark.airflow
def test_airflow_comes_up_runs_a_task_and_leaves_nothing_behind(stack: LocalStack, tmp_path: Path) -> None:
    (tmp_path / "dags" / "waits.py").write_text(A_DAG)
    state = stack.start(say=lambda _: None)
    assert state.airflow_url is not None
    token = token_of(state)
    with httpx.Client(
        base_url=f"{state.airflow_url}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=60
    ) as api:
        wait_for(lambda: api.get("/dags/waits").status_code == 200)
        api.patch("/dags/waits", json={"is_paused": False}).raise_for_status()
        run = api.post("/dags/waits/dagRuns", json={"logical_date": None}).json()["dag_run_id"]
        wait_for(lambda: api.get(f"/dags/waits/dagRuns/{run}/taskInstances/wait").json()["state"] == "running")
    check_addresses_and_commands(stack, state)
    stack.stop(say=lambda _: None)
    assert processes_of(stack) == []


def token_of(state: StackState) -> str:
    """Returns the token that the API gives to whoever knows the password, after checking that nobody else gets one: no
    other user of this machine, and no web page.
    """
    ask, log_in = f"{state.airflow_url}/auth/token", {"username": "admin", "password": state.airflow_password}
    assert httpx.get(ask, timeout=60).status_code == 403
    assert httpx.get(f"{ask}/login", timeout=60).status_code == 403
    assert httpx.post(ask, json=log_in | {"password": "guessed"}, timeout=60).status_code == 401
    assert httpx.get(f"{state.airflow_url}/api/v2/dags", timeout=60).status_code == 401
    return str(httpx.post(ask, json=log_in, timeout=60).json()["access_token"])


def wait_for(is_it: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_it():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def check_addresses_and_commands(stack: LocalStack, state: StackState) -> None:
    processes = processes_of(stack)
    assert len(processes) >= 3
    listening = {address for process in processes for address in listening_addresses(process)}
    assert listening
    assert listening <= LOOPBACK
    words = " ".join(command_of(process) for process in processes)
    assert state.secret_access_key not in words
    assert (state.airflow_password or "none") not in words


def listening_addresses(process: psutil.Process) -> set[str]:
    """Returns the addresses on which a process listens; none if it has ended since it was listed. Airflow has many that
    live for a second.
    """
    try:
        connections = process.net_connections(kind="inet")
    except psutil.NoSuchProcess:
        return set()
    return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}
