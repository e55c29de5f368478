from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from fruit_pipeline.emr.airflow_id import AIRFLOW_VARIABLE, airflow_id, airflow_id_of_run, drawn_airflow_id
from tests.plugins.memory_emr import AIRFLOW_ID, request_of
from tests.plugins.memory_variables import MemoryVariables, OlderVariables


def task_instance(request: Any = None, version: str = AIRFLOW_ID) -> Any:
    return SimpleNamespace(
        dag_version_id=UUID(version),
        xcom_pull=lambda task_ids, key: {("plan_run", "cluster_request"): request}[task_ids, key],
    )


@pytest.mark.parametrize("variables", [MemoryVariables(), OlderVariables()])
def test_an_id_is_drawn_once_and_kept(monkeypatch: pytest.MonkeyPatch, variables: OlderVariables) -> None:
    monkeypatch.setattr("fruit_pipeline.places.variables", lambda: variables)
    assert airflow_id() == ""
    assert drawn_airflow_id(task_instance()) == airflow_id() == AIRFLOW_ID
    assert drawn_airflow_id(task_instance(version="0190a2c4-0000-7000-8000-000000000002")) == AIRFLOW_ID
    assert variables.values == {AIRFLOW_VARIABLE: AIRFLOW_ID}


def test_two_first_runs_that_draw_at_the_same_moment_draw_one_id(
    variables: MemoryVariables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second draws, from begin to end, after the first has seen that there is none and before it sets its own."""
    store, drawn = variables.set, []

    def set_later(*args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(variables, "set", store)
        drawn.append(drawn_airflow_id(task_instance()))
        store(*args, **kwargs)

    monkeypatch.setattr(variables, "set", set_later)
    drawn.append(drawn_airflow_id(task_instance()))
    assert drawn == [AIRFLOW_ID, AIRFLOW_ID]
    assert airflow_id() == AIRFLOW_ID


def test_an_id_that_can_not_be_kept_is_not_used(variables: MemoryVariables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow 3.2 only logs that a Variable could not be set."""
    monkeypatch.setattr(variables, "set", lambda *_, **__: None)
    with pytest.raises(KeyError):
        drawn_airflow_id(task_instance())


def test_a_run_keeps_the_id_that_it_was_planned_with(variables: MemoryVariables) -> None:
    variables.values[AIRFLOW_VARIABLE] = "changed by hand"
    assert airflow_id_of_run(task_instance(request_of(AIRFLOW_ID))) == AIRFLOW_ID
    assert airflow_id_of_run(task_instance(request_of(""))) == "changed by hand"
    assert airflow_id_of_run(task_instance(None)) == "changed by hand"
