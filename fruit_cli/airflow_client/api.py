"""Calls Airflow's REST API (v2), as much of it as triggering and following runs of the DAG needs."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from fruit_contract.runs import RunState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fruit_cli.airflow_client.http import AirflowHttp

DAG_ID: Final = "fruit_image_pipeline"
PLAN_TASK: Final = "plan_run"
_PAGE: Final = 100


@dataclass(frozen=True)
class DagState:
    """Says whether the DAG is paused, and in `next_run_after` when its next scheduled run is due (ISO 8601; None if
    there is none).
    """

    is_paused: bool
    next_run_after: str | None


@dataclass(frozen=True)
class DagRun:
    """Describes a run of the DAG. `logical_date` is None for most manual runs."""

    run_id: str
    state: str
    run_type: str
    logical_date: str | None
    run_after: str
    seconds: float | None

    @property
    def is_finished(self) -> bool:
        return self.state in {RunState.SUCCESS, RunState.FAILED}


@dataclass(frozen=True)
class TaskState:
    """Describes a task of a run at one moment. `state` is None before the scheduler has looked at it."""

    task_id: str
    state: str | None
    try_number: int
    started: str | None
    seconds: float | None


class AirflowApi:
    """Sends the commands' requests to Airflow. Each method raises AirflowError if Airflow refuses or doesn't answer."""

    def __init__(self, http: AirflowHttp, dag_id: str = DAG_ID) -> None:
        self._http = http
        self.dag_id = dag_id
        self._dag_path = f"/dags/{dag_id}"

    @property
    def url(self) -> str:
        return self._http.address.url

    @property
    def is_local(self) -> bool:
        return self._http.address.is_local

    @property
    def dag_link(self) -> str:
        """Returns the address of the DAG's page in Airflow's UI."""
        return f"{self._http.address.ui_url or self.url}{self._dag_path}"

    def run_link(self, run_id: str, task_id: str | None = None) -> str:
        """Returns the address of the run's (or the task's) page in Airflow's UI."""
        task = f"/tasks/{_quoted(task_id)}" if task_id else ""
        return f"{self.dag_link}/runs/{_quoted(run_id)}{task}"

    def dag(self) -> DagState | None:
        """Returns the DAG's state, or None if Airflow doesn't know it (yet)."""
        found = self._http.find("GET", self._dag_path)
        if found is None or found.get("is_stale"):
            return None
        return DagState(is_paused=found["is_paused"], next_run_after=found.get("next_dagrun_run_after"))

    def import_errors(self) -> list[str]:
        """Returns why DAG files can't be read, each as file name and last line of the traceback."""
        errors = self._http.send("GET", "/importErrors")["import_errors"]
        return [f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}" for error in errors]

    def unpause(self) -> None:
        self._http.send("PATCH", self._dag_path, params={"update_mask": "is_paused"}, json={"is_paused": False})

    def trigger(self, conf: Mapping[str, object]) -> str:
        """Queues one manual run with these params and returns its run id. It is one run even if the request is sent
        again.
        """
        run_id = f"manual__{datetime.now(UTC).isoformat()}_{secrets.token_hex(4)}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
        made = self._http.send("POST", f"{self._dag_path}/dagRuns", json=body, names_what_it_makes=True)
        return str(made.get("dag_run_id", run_id))

    def dag_run(self, run_id: str) -> DagRun:
        return _dag_run(self._http.send("GET", self._run_path(run_id)))

    def dag_runs(self, filters: Mapping[str, str]) -> list[DagRun]:
        """Returns every run that passes the API's filters (`run_type`, `logical_date_gte`, ...), the oldest logical
        date first.
        """
        found: list[DagRun] = []
        while True:
            page = self._http.send(
                "GET",
                f"{self._dag_path}/dagRuns",
                params={**filters, "order_by": "logical_date", "limit": str(_PAGE), "offset": str(len(found))},
            )
            found += [_dag_run(run) for run in page["dag_runs"]]
            if not page["dag_runs"] or len(found) >= page["total_entries"]:
                return found

    def set_run_state(self, run_id: str, state: str, note: str) -> None:
        self._http.send("PATCH", self._run_path(run_id), json={"state": state, "note": note})

    def tasks(self, run_id: str) -> list[TaskState]:
        instances = self._http.send("GET", f"{self._run_path(run_id)}/taskInstances", params={"limit": str(_PAGE)})[
            "task_instances"
        ]
        return [
            TaskState(task["task_id"], task["state"], task["try_number"], task["start_date"], task["duration"])
            for task in instances
        ]

    def log_lines(self, run_id: str, task_id: str, try_number: int) -> list[str]:
        """Returns the lines of the log of one try of a task; an empty list if there is no log."""
        path = f"{self._task_path(run_id, task_id)}/logs/{try_number}"
        found = self._http.find("GET", path, params={"full_content": "true"}) or {}
        return [line for message in found.get("content", []) for line in _log_text(message)]

    def xcom(self, run_id: str, task_id: str, key: str = "return_value") -> object | None:
        """Returns what a task returned, or told under another key; None if it did not."""
        found = self._http.find("GET", f"{self._task_path(run_id, task_id)}/xcomEntries/{_quoted(key)}")
        if found is None:
            return None
        value: object = found["value"]
        if isinstance(value, str) and value.startswith(('"', "{")):
            # Airflow returns the text that lies in its database, which is JSON.
            value = json.loads(value)
        return value

    def plans(self, run_ids: Iterable[str]) -> list[dict[str, Any]]:
        """Returns the plan that `plan_run` made of each run. Runs without a plan are left out."""
        found = (self.xcom(run_id, PLAN_TASK, "plan") for run_id in run_ids)
        return [plan for plan in found if isinstance(plan, dict)]

    def asset_events(self, asset_name: str) -> list[dict[str, Any]]:
        """Returns the latest events of an asset, oldest first. `extra` of an event holds what the task that made it
        told.
        """
        assets = self._http.send("GET", "/assets", params={"name_pattern": asset_name})["assets"]
        ids = [str(asset["id"]) for asset in assets if asset["name"] == asset_name]
        if not ids:
            return []
        found = self._http.send(
            "GET", "/assets/events", params={"asset_id": ids[0], "order_by": "-timestamp", "limit": str(_PAGE)}
        )
        return list(reversed(found["asset_events"]))

    def backfill_dates(self, request: Mapping[str, object]) -> list[str]:
        """Returns the logical dates that `create_backfill` would run for the same request."""
        planned = self._http.send("POST", "/backfills/dry_run", json={"dag_id": self.dag_id, **request})["backfills"]
        return [entry["logical_date"] for entry in planned]

    def create_backfill(self, request: Mapping[str, object]) -> int:
        """Creates a backfill and returns its id."""
        return int(self._http.send("POST", "/backfills", json={"dag_id": self.dag_id, **request})["id"])

    def _run_path(self, run_id: str) -> str:
        return f"{self._dag_path}/dagRuns/{_quoted(run_id)}"

    def _task_path(self, run_id: str, task_id: str) -> str:
        return f"{self._run_path(run_id)}/taskInstances/{_quoted(task_id)}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _dag_run(found: Mapping[str, Any]) -> DagRun:
    return DagRun(
        run_id=found["dag_run_id"],
        state=found["state"],
        run_type=found["run_type"],
        logical_date=found["logical_date"],
        run_after=found["run_after"],
        seconds=found["duration"],
    )


def _log_text(message: object) -> Iterator[str]:
    """Yields the lines of one log message: its text, then the errors that it carries, the outermost last."""
    if not isinstance(message, dict):
        yield from str(message).splitlines()
        return
    event = str(message.get("event", ""))
    if not event.startswith("::"):  # markers that fold the log in the UI
        yield from event.splitlines()
    for error in reversed(message.get("error_detail") or []):
        frames = error.get("frames") or []
        where = f" ({frames[-1]['filename']}:{frames[-1]['lineno']}, in {frames[-1]['name']})" if frames else ""
        yield f"{error.get('exc_type', 'error')}: {error.get('exc_value', '')}{where}"
