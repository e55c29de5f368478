"""Describes steps as moto's serialiser needs them, and reads requests into the local cloud's own types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moto.emr.exceptions import ValidationException
from moto.emr.utils import random_step_id

from local_cloud.cluster.driver import utc_now
from local_cloud.cluster.life import ActionOnFailure, StepLife
from local_cloud.cluster.node import BootstrapAction, StepCommand

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass
class LocalStep:
    """Describes one step, with the attributes that moto's serialiser looks for."""

    life: StepLife
    command: StepCommand
    properties: Mapping[str, str] = field(default_factory=dict)
    main_class: str | None = None

    @property
    def id(self) -> str:
        return self.life.id

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def state(self) -> str:
        return self.life.state

    @property
    def creation_date_time(self) -> datetime:
        return self.life.created_at

    @property
    def action_on_failure(self) -> str:
        return self.life.action_on_failure

    @property
    def config(self) -> dict[str, Any]:
        return {
            "Jar": self.command.jar,
            "Args": list(self.command.arguments),
            "Properties": dict(self.properties),
            "MainClass": self.main_class,
        }

    @property
    def status(self) -> dict[str, Any]:
        failure = self.life.failure
        status: dict[str, Any] = {
            "State": str(self.life.state),
            "StateChangeReason": {"Message": self.life.message},
            "Timeline": timeline(
                self.life.created_at, StartDateTime=self.life.started_at, EndDateTime=self.life.ended_at
            ),
        }
        if failure:
            status["FailureDetails"] = {
                "Reason": failure.reason,
                "Message": failure.message,
                "LogFile": failure.log_file,
            }
        return status


def local_step(step: Mapping[str, Any]) -> LocalStep:
    """Returns a new step for a StepConfig as moto parses it. Its keys can be read in AWS' spelling, too."""
    jar_step = step["HadoopJarStep"]
    step_id = random_step_id()
    return LocalStep(
        life=StepLife(
            id=step_id,
            created_at=utc_now(),
            action_on_failure=_action_on_failure(step.get("ActionOnFailure") or ActionOnFailure.TERMINATE_CLUSTER),
        ),
        command=StepCommand(
            id=step_id, name=step["Name"], jar=jar_step["Jar"], arguments=list(jar_step.get("Args") or [])
        ),
        properties={pair["Key"]: pair["Value"] for pair in jar_step.get("Properties") or []},
        main_class=jar_step.get("MainClass"),
    )


def bootstrap_action(action: Mapping[str, Any]) -> BootstrapAction:
    script = action["ScriptBootstrapAction"]
    return BootstrapAction(script=script["Path"], arguments=list(script.get("Args") or []))


def plain(parsed: Any) -> Any:
    """Returns what moto parsed as plain dictionaries with AWS's own key names."""
    if hasattr(parsed, "original_dict"):
        return {name: plain(value) for name, value in parsed.original_dict().items()}
    if isinstance(parsed, list):
        return [plain(item) for item in parsed]
    return parsed


def timeline(created_at: datetime, **times: datetime | None) -> dict[str, datetime]:
    return {"CreationDateTime": created_at, **{name: time for name, time in times.items() if time}}


def _action_on_failure(text: str) -> ActionOnFailure:
    if text not in set(ActionOnFailure):
        raise ValidationException(f"ActionOnFailure must be one of {', '.join(ActionOnFailure)}, not '{text}'.")
    return ActionOnFailure(text)
