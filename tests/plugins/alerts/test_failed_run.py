"""Checks what a failed task leaves, and what is made of it when its run has ended."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from fruit_pipeline.errors import OverBudgetError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

RUN = SimpleNamespace(dag_id="fruit_image_pipeline", run_id="manual__1")


@dataclass
class LastFailed:
    """Plays the task that Airflow hands over at the end of a run. What is left among the XComs appears with the n-th
    look.
    """

    states: Mapping[str, str | None] | None
    left: dict[str, Any] = field(default_factory=dict)
    task_id: str = "terminate_cluster"
    try_number: int = 1
    comes_with_look: int = 1
    looks: int = 0

    def get_task_states(self, *, run_ids: list[str], **_: str) -> dict[str, Any]:
        if self.states is None:
            raise RuntimeError("the database is away")
        return {run_ids[0]: self.states}

    def xcom_push(self, *, value: Any, **_: str) -> None:
        self.left[self.task_id] = json.loads(json.dumps(value))

    def xcom_pull(self, *, task_ids: str, **_: object) -> Any:
        self.looks += 1
        if self.looks < self.comes_with_look:
            return None
        found = self.left.get(task_ids)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fruit_pipeline.alerts.failed_run._BETWEEN_LOOKS_SECONDS", 0.0)


def left_by(task_id: str, text: str, try_number: int = 1, at: str = "2026-11-26T10:00:00") -> dict[str, Any]:
    from fruit_pipeline.alerts.news import TaskFailure

    return asdict(TaskFailure(task_id, try_number, "run_failed", "", text, at))


def line_of(tmp_path: Path, task_instance: LastFailed | None, **context: Any) -> dict[str, Any]:
    from fruit_pipeline.alerts.failed_run import FailedRunNotifier

    file = tmp_path / "notifications.jsonl"
    given: Any = (
        {"dag_run": RUN, "ti": task_instance}
        if task_instance
        else {"dag": SimpleNamespace(dag_id=RUN.dag_id), "run_id": RUN.run_id}
    )
    FailedRunNotifier(notification_file=str(file))(given | {"reason": "task_failure"} | context)
    (line,) = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return dict(line)


def test_every_failed_task_is_told_with_what_it_left(tmp_path: Path) -> None:
    left = {
        "extract_features": left_by("extract_features", "it broke"),
        "terminate_cluster": left_by("terminate_cluster", "it lives", at="3"),
    }
    states = {
        "extract_features": "failed",
        "refresh_pca": "upstream_failed",
        "terminate_cluster": "failed",
        "write_receipt": "success",
    }
    line = line_of(tmp_path, LastFailed(states, left))
    assert (
        line["subject"] == "Fruits! run failed in extract_features, terminate_cluster: fruit_image_pipeline manual__1"
    )
    assert "extract_features failed, in its try 1.\nit broke" in line["message"]
    assert "terminate_cluster failed, in its try 1.\nit lives" in line["message"]
    assert "Run: fruit_image_pipeline manual__1" in line["message"]
    assert "Task: " not in line["message"]


def test_what_a_task_leaves_a_moment_after_it_failed_is_waited_for(tmp_path: Path) -> None:
    last = LastFailed(
        {"publish_report": "failed"}, {"publish_report": left_by("publish_report", "no plots")}, "publish_report"
    )
    last.comes_with_look = 3
    assert "no plots" in line_of(tmp_path, last)["message"]


@pytest.mark.parametrize(
    "left", [{}, {"plan_run": RuntimeError("no answer")}, {"plan_run": {"text": "half"}}, {"plan_run": "what?"}]
)
def test_a_reason_that_can_not_be_read_does_not_hold_the_message_up(tmp_path: Path, left: dict[str, Any]) -> None:
    line = line_of(tmp_path, LastFailed({"plan_run": "failed"}, left, "plan_run"))
    assert line["subject"] == "Fruits! run failed in plan_run: fruit_image_pipeline manual__1"
    assert "plan_run failed, and left no word why" in line["message"]


def test_a_task_that_was_cleared_right_after_the_run_had_ended_is_told_all_the_same(tmp_path: Path) -> None:
    last = LastFailed({"plan_run": "scheduled"}, {"plan_run": left_by("plan_run", "it broke")}, "plan_run")
    assert "plan_run failed, in its try 1.\nit broke" in line_of(tmp_path, last)["message"]


def test_a_task_that_could_not_run_is_not_taken_for_one_that_failed(tmp_path: Path) -> None:
    last = LastFailed({"plan_run": "success", "refresh_pca": None}, {}, "refresh_pca")
    assert "No task failed this time." in line_of(tmp_path, last, reason="all_tasks_deadlocked")["message"]


def test_without_the_states_the_task_that_airflow_names_is_told(tmp_path: Path) -> None:
    line = line_of(tmp_path, LastFailed(None, {"plan_run": left_by("plan_run", "it broke")}, "plan_run"))
    assert "plan_run failed, in its try 1.\nit broke" in line["message"]


def test_the_reason_of_a_try_before_is_not_taken_for_the_last_ones(tmp_path: Path) -> None:
    last = LastFailed(
        {"plan_run": "failed"},
        {"plan_run": left_by("plan_run", "an old story", try_number=1)},
        "plan_run",
        try_number=2,
    )
    assert "an old story" not in line_of(tmp_path, last)["message"]


def test_a_run_that_ends_badly_without_a_task_that_failed_is_told(tmp_path: Path) -> None:
    line = line_of(tmp_path, None)
    assert line["subject"] == "Fruits! run failed: fruit_image_pipeline manual__1"
    assert "No task failed this time." in line["message"]


def test_a_task_leaves_its_error_without_secrets() -> None:
    from fruit_pipeline.alerts.failed_run import keep_failure

    task = LastFailed({}, task_id="create_cluster", try_number=3)
    keep_failure({"ti": task, "exception": ValueError("no such password=hunter2")})  # type: ignore[typeddict-item]
    (kept,) = task.left.values()
    assert (kept["task_id"], kept["try_number"], kept["event"], kept["cause"]) == (
        "create_cluster",
        3,
        "run_failed",
        "",
    )
    assert kept["text"].startswith("ValueError: no such password=")
    assert "hunter2" not in kept["text"]


def test_a_try_that_died_leaves_nothing() -> None:
    from fruit_pipeline.alerts.failed_run import keep_failure

    task = LastFailed({})
    keep_failure({"ti": task})  # type: ignore[typeddict-item]
    assert task.left == {}


def test_a_steps_cause_and_a_budget_are_known_by_the_error() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from fruit_pipeline.alerts.failed_run import failure_of
    from fruit_pipeline.operators.refusal import refused_for_good
    from fruit_pipeline.operators.run_step import FailedForGoodError

    step = failure_of(FailedForGoodError("The step ended.", "out_of_memory"), "extract_features", 1)
    assert (step.cause, step.text) == ("out_of_memory", "The step ended.")
    with pytest.raises(AirflowFailException) as refused, refused_for_good():
        raise OverBudgetError("99 EUR")
    budget = failure_of(refused.value, "plan_run", 1)
    assert (budget.event, budget.text) == ("over_budget", "99 EUR")


def test_a_long_error_is_cut() -> None:
    from fruit_pipeline.alerts.failed_run import failure_of

    text = failure_of("x" * 100_000, "plan_run", 1).text
    assert len(text) < 9_000
    assert text.endswith("the rest is in its log")


def line_of_success(tmp_path: Path, states: Mapping[str, str | None] | None) -> list[dict[str, Any]]:
    from fruit_pipeline.alerts.failed_run import FailedTaskNotifier

    file = tmp_path / "notifications.jsonl"
    last = LastFailed(
        states, {"check_output": left_by("check_output", "1 problem in the tables")}, task_id="publish_report"
    )
    given: Any = {"dag_run": RUN, "ti": last, "reason": "success"}
    FailedTaskNotifier(notification_file=str(file))(given)
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def test_a_run_that_succeeded_is_no_news(tmp_path: Path) -> None:
    assert (
        line_of_success(tmp_path, {"check_output": "success", "publish_report": "success", "plan_run": "skipped"}) == []
    )


def test_a_task_that_failed_in_a_run_that_counts_as_successful_is_told(tmp_path: Path) -> None:
    (line,) = line_of_success(tmp_path, {"check_output": "failed", "publish_report": "success"})
    assert line["event"] == "run_failed"
    assert (
        line["subject"]
        == "Fruits! run counts as successful, yet it failed in check_output: fruit_image_pipeline manual__1"
    )
    assert "somebody cleared another one alone" in line["message"]
    assert "check_output failed, in its try 1.\n1 problem in the tables" in line["message"]
