"""Checks that a new version finds what Airflow's database keeps of a run that is under way, as docs/installing.md
promises.

Never change what is recorded here within 0.1: if a name goes, the tasks that wait are stranded. Add new names below.
(`Waiting` is stored by its fields alone, so it may move.)
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import fruit_pipeline.triggers
from fruit_pipeline.planning.planner import PlannedXComs
from fruit_pipeline.triggers.wait import Waiting, WaitTrigger

# By its path, what each thing is made from again.
STORED = {
    "fruit_pipeline.alerts.deadline.RunFirstQueued": (),
    "fruit_pipeline.alerts.notifiers.FruitsNotifier": (
        *("event", "subject", "message", "sns_topic_arn", "notification_file", "aws_conn_id"),
    ),
    "fruit_pipeline.triggers.batch_marker.BatchMarkerTrigger": ("waiting", "key"),
    "fruit_pipeline.triggers.claims_free.ClaimsFreeTrigger": ("waiting", "key", "run_id", "names", "look_again_at"),
    "fruit_pipeline.triggers.clusters_end.ClustersEndTrigger": ("waiting", "cluster_ids"),
    "fruit_pipeline.triggers.wait.Waiting": ("region", "aws_conn_id", "lake_bucket", "poll_seconds", "until"),
    "fruit_pipeline.triggers.step_end.StepEndTrigger": (
        "waiting",
        "cluster_id",
        "step_id",
        "step_name",
        "run_id",
        "log_wait_minutes",
    ),
}
# By the operator, the methods that a task goes on with.
RESUMED = {
    "fruit_pipeline.operators.plan_run.PlanRunOperator": ("execute",),
    "fruit_pipeline.operators.run_step.RunStepOperator": ("execute", "execute_complete"),
    "fruit_pipeline.operators.terminate_cluster.TerminateClusterOperator": ("execute_complete",),
    "fruit_pipeline.operators.wait_for_batch.WaitForBatchSensor": ("execute_complete",),
}
PLANNED = {
    "categories",
    "cluster_request",
    "extract_features_steps",
    "ingest_dates",
    "listed_at",
    "plan",
    "refresh_pca_steps",
    "release",
}


@pytest.mark.parametrize("path", STORED)
def test_what_was_stored_can_be_made_again(path: str) -> None:
    parameters = inspect.signature(pkgutil.resolve_name(path)).parameters
    assert set(STORED[path]) <= set(parameters)
    added = [name for name in parameters if name not in STORED[path]]
    assert [name for name in added if needed(parameters[name])] == []


def needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_KEYWORD,
        parameter.VAR_POSITIONAL,
    )


@pytest.mark.parametrize("path", RESUMED)
def test_a_task_that_waited_goes_on_where_it_left_off(path: str) -> None:
    operator = pkgutil.resolve_name(path)
    assert [method for method in RESUMED[path] if not callable(getattr(operator, method, None))] == []


def test_every_trigger_is_recorded() -> None:
    for module in pkgutil.iter_modules(fruit_pipeline.triggers.__path__, f"{fruit_pipeline.triggers.__name__}."):
        importlib.import_module(module.name)
    assert {f"{trigger.__module__}.{trigger.__qualname__}" for trigger in kinds_of(WaitTrigger)} <= set(STORED)
    assert f"{Waiting.__module__}.{Waiting.__qualname__}" in STORED


def kinds_of(kind: type[Any]) -> list[type[Any]]:
    below = [further for kind_below in kind.__subclasses__() for further in kinds_of(kind_below)]
    return below if inspect.isabstract(kind) or below else [kind]


def test_what_a_plan_has_told_is_still_told() -> None:
    assert set(PlannedXComs.__annotations__) >= PLANNED
