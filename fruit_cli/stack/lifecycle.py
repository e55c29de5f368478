"""Starts and stops the local cloud and Airflow as one thing that is up or down."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import local_bucket
from fruit_cli.lake.deployed import REGION_VARIABLE, without_deployed
from fruit_cli.stack.airflow_environment import (
    DATABASE_VARIABLE,
    AirflowPlace,
    airflow_environment,
    airflow_processes,
    api_server_environment,
    passwords,
)
from fruit_cli.stack.cloud_processes import emr_process, plain_environment, s3_processes
from fruit_contract.regions import DEFAULT_REGION, require_eu_region
from local_cloud.project import PROJECT
from local_cloud.stack.ports import LOOPBACK, choose_ports
from local_cloud.stack.secrets import LocalSecrets, load_or_draw, write_for_owner
from local_cloud.stack.state import HOME_VARIABLE, StackState, make_home, read_state, remove_state, why_it_stopped
from local_cloud.stack.supervisor import ManagedProcess, Plan, ReadyCheck, log_path, log_tail
from local_cloud.stack.sweep import STACK_MARK, end_marked_processes, is_alive, marked_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

START_TIMEOUT_SECONDS: Final = 180.0
STOP_TIMEOUT_SECONDS: Final = 30.0
LEFTOVER_GRACE_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.2
_LAST_PORT: Final = 65535
# These characters separate paths, are replaced, or begin the options of a database's address.
_NOT_IN_PATHS: Final = frozenset(",:?$")
MIGRATED_NOTE: Final = "migrated-to.txt"
AIRFLOW_COMPONENTS: Final = ("metadatabase", "scheduler", "triggerer", "dag_processor")


@dataclass(frozen=True)
class PreferredPorts:
    """Names the ports to take if they are free. Another free port is taken where one is in use; 0 asks for any free
    one.
    """

    airflow: int = 8080
    s3: int = 9300
    emr: int = 9301

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> PreferredPorts:
        """Returns the ports that FRUITS_LOCAL_UI_PORT, FRUITS_LOCAL_S3_PORT and FRUITS_LOCAL_EMR_PORT say; 8080, 9300
        and 9301 where one is unset. Raises CommandError if one is no port number.
        """
        return cls(
            airflow=_port(environment, "FRUITS_LOCAL_UI_PORT", cls.airflow),
            s3=_port(environment, "FRUITS_LOCAL_S3_PORT", cls.s3),
            emr=_port(environment, "FRUITS_LOCAL_EMR_PORT", cls.emr),
        )


class LocalStack:
    """Starts and stops S3, EMR and, if asked for, Airflow on this machine. Everything is kept in the folder `home`."""

    def __init__(
        self,
        home: Path,
        *,
        ports: PreferredPorts | None = None,
        dags: Path = PROJECT / "dags",
        plugins: Path = PROJECT / "plugins",
        s3_latency_milliseconds: float | None = None,
    ) -> None:
        """Takes where everything lies. With a latency, all reach S3 through a proxy that keeps every request waiting
        that long (0: not at all), and counts them.
        """
        self.home = home.resolve()
        self._ports = ports or PreferredPorts.of(os.environ)
        self._dags = dags
        self._plugins = plugins
        self._s3_latency_milliseconds = s3_latency_milliseconds

    def state(self) -> StackState | None:
        return read_state(self.home)

    def start(self, *, with_airflow: bool = True, say: Callable[[str], None] = print) -> StackState:
        """Starts what is not up yet and returns the state when everything answers. Raises CommandError if something
        doesn't.
        """
        make_home(self.home)
        for folder in (self.home / "s3", self.home / "logs"):
            folder.mkdir(exist_ok=True)
        with self._one_starter():
            state = self.state()
            if state and (state.airflow_url or not with_airflow):
                return state
            if state:
                say("The local cloud is up without Airflow: starting it again with Airflow.")
            self._stop(say=_say_nothing)
            try:
                return self._start(with_airflow=with_airflow, say=say)
            except BaseException:
                self._stop(say=_say_nothing)
                raise

    def stop(self, say: Callable[[str], None] = print) -> None:
        """Stops everything that was started for this home, whether its supervisor is alive or not. It is quick when
        nothing is up.
        """
        if self._stop(say=say):
            say("Everything has stopped.")
        else:
            say("Nothing was up.")

    def _start(self, *, with_airflow: bool, say: Callable[[str], None]) -> StackState:
        _require_a_user()
        _require_plain_paths(self.home)
        secrets = load_or_draw(self.home)
        region = require_eu_region(without_deployed(os.environ).get(REGION_VARIABLE, DEFAULT_REGION))
        bucket = local_bucket(os.environ)
        airflow_port, s3_port, emr_port, near_port = choose_ports(
            [self._ports.airflow, self._ports.s3, self._ports.emr, 0]
        )
        state = StackState(
            supervisor_pid=0,
            s3_url=f"http://{LOOPBACK}:{s3_port}",
            emr_url=f"http://{LOOPBACK}:{emr_port}",
            airflow_url=f"http://{LOOPBACK}:{airflow_port}" if with_airflow else None,
            access_key_id=secrets.access_key_id,
            secret_access_key=secrets.secret_access_key,
            region=region,
            bucket=bucket,
            airflow_password=secrets.airflow_password if with_airflow else None,
        )
        processes = [
            *s3_processes(self.home, state, s3_port, near_port, self._s3_latency_milliseconds),
            emr_process(self.home, state, emr_port),
        ]
        if with_airflow:
            processes += self._airflow(state, airflow_port, secrets, say)
        return self._supervise(Plan(home=str(self.home), state=state, processes=tuple(processes)), say)

    def _airflow(
        self, state: StackState, port: int, secrets: LocalSecrets, say: Callable[[str], None]
    ) -> list[ManagedProcess]:
        place = AirflowPlace(
            project=PROJECT,
            home=self.home / "airflow",
            dags=self._dags,
            plugins=self._plugins,
            port=port,
            s3_url=state.s3_url,
            emr_url=state.emr_url,
            region=state.region,
            bucket=state.bucket,
        )
        environment = airflow_environment(place, secrets, without_deployed(os.environ))
        program = Path(sys.executable).parent / "airflow"
        place.home.mkdir(parents=True, exist_ok=True)
        write_for_owner(place.passwords_file, passwords(secrets))
        self._migrate_database(place, program, environment, say)
        checks = {
            # The API that tasks talk to is built at its first request, which takes seconds, so that request is made
            # here and not by the first task.
            "airflow-scheduler": ReadyCheck(url=f"{place.url}/execution/health", timeout_seconds=START_TIMEOUT_SECONDS),
            "airflow-api-server": ReadyCheck(
                url=f"{place.url}/api/v2/monitor/health",
                healthy=AIRFLOW_COMPONENTS,
                timeout_seconds=START_TIMEOUT_SECONDS,
            ),
        }
        return [
            ManagedProcess(
                name,
                arguments,
                api_server_environment(environment) if name == "airflow-api-server" else environment,
                ready=checks.get(name),
                comes_back=True,  # Airflow is made for that: what a process was at is taken up again
            )
            for name, arguments in airflow_processes(program, port).items()
        ]

    def _migrate_database(
        self, place: AirflowPlace, program: Path, environment: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        """Brings Airflow's database to the installed version. That version is noted beside a file of SQLite, because
        asking Airflow itself costs seconds. Raises CommandError if that fails.
        """
        note = place.home / MIGRATED_NOTE
        wanted = version("apache-airflow")
        is_file = not environment.get(DATABASE_VARIABLE)
        if (
            is_file
            and (place.home / "airflow.db").exists()
            and note.exists()
            and note.read_text(encoding="utf-8") == wanted
        ):
            return
        say("Preparing Airflow's database (once)" if is_file else "Bringing Airflow's database up to date")
        log = log_path(self.home, "airflow-migrate")
        with log.open("wb") as output:
            done = subprocess.run(
                [str(program), "db", "migrate"],
                env={**environment, STACK_MARK: str(self.home)},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise CommandError(
                "Airflow's database could not be prepared. The end of "
                f"{log}:\n{log_tail(self.home, 'airflow-migrate')}\n"
                + (
                    f"If it stays so, remove {place.home} and start again: the lake is not in it."
                    if is_file
                    else f"Check {DATABASE_VARIABLE}, and that its database is up."
                )
            )
        if is_file:
            note.write_text(wanted, encoding="utf-8")

    def _supervise(self, plan: Plan, say: Callable[[str], None]) -> StackState:
        log = log_path(self.home, "supervisor")
        log.unlink(missing_ok=True)
        started = subprocess.run(
            [sys.executable, "-m", "local_cloud.stack.supervisor"],
            input=plan.to_json(),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home,
            env=plain_environment() | {STACK_MARK: str(self.home)},
        )
        if started.returncode:
            raise CommandError(f"The supervisor could not be started:\n{started.stderr.strip()}")
        supervisor = int(started.stdout)
        said = 0
        deadline = time.monotonic() + START_TIMEOUT_SECONDS + STOP_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            said = _forward(log, said, say)
            state = self.state()
            if state:
                return state
            if not is_alive(supervisor):
                raise CommandError(
                    why_it_stopped(self.home) or f"The supervisor ended without a word. Its log is {log}."
                )
            time.sleep(POLL_SECONDS)
        raise CommandError(f"The local cloud did not come up. Its logs are in {log.parent}.")

    def _stop(self, *, say: Callable[[str], None]) -> bool:
        """Stops what is up, and returns whether there was anything to stop."""
        running = marked_processes(STACK_MARK, str(self.home))
        if not running:
            remove_state(self.home)
            return False
        say("Stopping")
        state = self.state()
        supervisor = next((process for process in running if state and process.pid == state.supervisor_pid), None)
        if supervisor:
            with contextlib.suppress(psutil.NoSuchProcess):
                supervisor.terminate()
            with contextlib.suppress(psutil.TimeoutExpired):
                supervisor.wait(STOP_TIMEOUT_SECONDS)
        for name in end_marked_processes(STACK_MARK, str(self.home), grace_seconds=LEFTOVER_GRACE_SECONDS):
            say(f"Killed {name}, which did not end by itself")
        remove_state(self.home)
        return True

    @contextlib.contextmanager
    def _one_starter(self) -> Iterator[None]:
        """Lets one `make up` start at a time. A second one waits for the first and finds everything up."""
        with (self.home / "start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _require_a_user() -> None:
    """Raises CommandError if this user id has no name, because neither Airflow nor Hadoop, on which Spark stands,
    starts without one.
    """
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError as error:
        user, group = os.geteuid(), os.getegid()
        raise CommandError(
            f"The user id {user} has no name on this machine, and Airflow and Spark need one. Give it one, as root: "
            f"`echo 'fruits:x:{user}:{group}::/tmp:/bin/sh' >> /etc/passwd`. In a container: start it as a user that "
            "its image has."
        ) from error


def _require_plain_paths(home: Path) -> None:
    """Raises CommandError if a path holds a character that Spark or Airflow take for more than a part of a name."""
    for path, what in ((PROJECT, "Move this clone"), (home, f"Set {HOME_VARIABLE} to another folder")):
        if found := sorted(_NOT_IN_PATHS.intersection(str(path))):
            raise CommandError(
                f"The path '{path}' holds {' and '.join(found)}, which Spark or Airflow take for more than a part of a "
                f"name. {what}."
            )


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not (text.isascii() and text.isdigit() and int(text) <= _LAST_PORT):
        raise CommandError(f"{name} is '{text}': port numbers are 1 to {_LAST_PORT}, and 0 asks for any free one.")
    return int(text)


def _forward(log: Path, said: int, say: Callable[[str], None]) -> int:
    """Says the lines that are new in the log, and returns how many have been said."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except FileNotFoundError:
        return said
    for line in lines[said:]:
        say(line)
    return len(lines)


def _say_nothing(_: str) -> None: ...
