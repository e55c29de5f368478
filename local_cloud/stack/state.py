"""Keeps what is up on this machine in a file, and why it stopped in another.

The supervisor writes the one when every process answers and removes it when it stops. It writes the other when it
stopped without having been told to.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from local_cloud.project import PROJECT
from local_cloud.stack.secrets import write_for_owner
from local_cloud.stack.sweep import STACK_MARK

HOME_VARIABLE: Final = "FRUITS_LOCAL_HOME"
FAILURE_FILE: Final = "stopped_because.txt"
_CLOCK_SLACK_SECONDS: Final = 2.0


class HomeNotOursError(RuntimeError):
    """Raised if the folder of the local cloud belongs to another user. The message says what to do."""


@dataclass(frozen=True)
class StackState:
    """Holds the addresses and credentials of the running local cloud. `airflow_url` is None if only S3 and EMR are up.

    `airflow_password` is that of Airflow's one user. It is None if the cloud was started by a version that had none.
    """

    supervisor_pid: int
    s3_url: str
    emr_url: str
    airflow_url: str | None
    access_key_id: str
    secret_access_key: str
    region: str
    bucket: str
    airflow_password: str | None = None


def local_home() -> Path:
    """Returns the folder where the local cloud keeps everything: $FRUITS_LOCAL_HOME, else `.local/` of the project."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen).resolve() if chosen else PROJECT / ".local"


def make_home(home: Path) -> None:
    """Makes the folder if there is none, and closes it to all other users.

    Raises HomeNotOursError if it belongs to another user.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.stat().st_uid != os.geteuid():
        raise HomeNotOursError(
            f"'{home}' belongs to another user, so it can't be closed to others. Set {HOME_VARIABLE} to a folder of "
            "your own."
        )
    home.chmod(0o700)


def state_path(home: Path) -> Path:
    return home / "stack.json"


def read_state(home: Path) -> StackState | None:
    """Returns the running stack, or None if nothing is up, even if a stack that was killed has left its file."""
    path = state_path(home)
    try:
        written_at = path.stat().st_mtime
        state = StackState(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, TypeError, json.JSONDecodeError):  # another version's file raises one of the last two
        return None
    return state if _is_supervisor(state.supervisor_pid, home, written_at) else None


def _is_supervisor(process_id: int, home: Path, moment: float) -> bool:
    """Says whether the process is alive, older than `moment` and of this home.

    After a restart of the machine, another process may have its id. A folder that was copied while its local cloud was
    up holds the state of that one.
    """
    try:
        process = psutil.Process(process_id)
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and process.create_time() <= moment + _CLOCK_SLACK_SECONDS
            and process.environ().get(STACK_MARK, str(home)) == str(home)
        )
    except psutil.Error:
        return False


def write_state(home: Path, state: StackState) -> None:
    """Replaces the state atomically. Only its owner may read it, because it holds the local credentials."""
    write_for_owner(state_path(home), json.dumps(asdict(state), indent=2))


def remove_state(home: Path) -> None:
    state_path(home).unlink(missing_ok=True)


def failure_path(home: Path) -> Path:
    """Returns the path of the file that says why the last stack stopped by itself, if it did."""
    return home / FAILURE_FILE


def why_it_stopped(home: Path) -> str | None:
    """Returns why the last stack ended by itself, or None if it did not."""
    try:
        return failure_path(home).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
