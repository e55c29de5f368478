from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

TOPIC = "arn:aws:sns:eu-west-1:123456789012:fruits-alerts"
CONTEXT: Any = {"dag_run": SimpleNamespace(dag_id="fruit_image_pipeline", run_id="manual__1")}


def notifier(**where: Any) -> Any:
    from fruit_pipeline.alerts.news import RUN_FAILED
    from fruit_pipeline.alerts.notifiers import FruitsNotifier

    return FruitsNotifier(event=RUN_FAILED, subject="Äpfel\nfailed", message="See its log.", **where)


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_file_gets_a_line_of_json_for_each_piece_of_news(tmp_path: Path) -> None:
    file = tmp_path / "new" / "notifications.jsonl"
    notifier(notification_file=str(file))(CONTEXT)
    notifier(notification_file=str(file))(CONTEXT)
    first, second = lines_of(file)
    assert first["event"] == "run_failed"
    assert first["subject"] == second["subject"] == "Äpfel\nfailed: fruit_image_pipeline manual__1"
    assert first["message"] == "See its log.\n\nRun: fruit_image_pipeline manual__1"


def test_sns_gets_a_subject_it_takes_and_the_kind_of_news_as_an_attribute() -> None:
    with mock.patch("airflow.providers.amazon.aws.hooks.sns.SnsHook.publish_to_target") as publish:
        notifier(sns_topic_arn=TOPIC)(CONTEXT)
    sent = publish.call_args.kwargs
    assert sent["target_arn"] == TOPIC
    assert sent["subject"] == "?pfel failed: fruit_image_pipeline manual__1"
    assert sent["message_attributes"] == {"event": "run_failed"}


def test_sns_takes_what_is_published() -> None:
    import boto3
    from moto import mock_aws

    with mock_aws():
        sns = boto3.client("sns", "eu-west-1")
        topic = sns.create_topic(Name="fruits-alerts")["TopicArn"]
        with mock.patch("airflow.providers.amazon.aws.hooks.sns.SnsHook.get_conn", return_value=sns):
            notifier(sns_topic_arn=topic).notify(CONTEXT)
        from moto.sns.models import sns_backends

        (message,) = sns_backends["123456789012"]["eu-west-1"].topics[topic].sent_notifications
    assert "failed" in message[1]


def test_a_deadline_tells_from_the_triggerer(tmp_path: Path) -> None:
    file = tmp_path / "notifications.jsonl"

    async def tell() -> None:
        with mock.patch(
            "airflow.providers.amazon.aws.hooks.sns.SnsHook.apublish_to_target", new=mock.AsyncMock()
        ) as publish:
            await notifier(notification_file=str(file), sns_topic_arn=TOPIC).async_notify(CONTEXT)
        assert publish.await_count == 1

    asyncio.run(tell())
    assert len(lines_of(file)) == 1


def missed_deadline(state: str) -> dict[str, Any]:
    """Returns what Airflow hands over, as `Deadline.handle_miss` makes it."""
    from airflow.api_fastapi.core_api.datamodels.dag_run import DAGRunResponse

    unset = dict.fromkeys(DAGRunResponse.model_fields)
    told = {
        "dag_id": "d",
        "run_id": "r",
        "state": state,
        "run_type": "manual",
        "run_after": datetime(2026, 11, 22, tzinfo=UTC),
    }
    model = {"dag_versions": [], "dag_model": SimpleNamespace(dag_display_name="d")}
    run = DAGRunResponse.model_validate(SimpleNamespace(**unset | told | model))
    return {"dag_run": run.model_dump(mode="json"), "deadline": {"id": "1"}}


@pytest.mark.parametrize(("state", "times"), [("running", 1), ("failed", 0), ("success", 0), ("queued", 0)])
def test_a_run_is_told_as_late_only_while_it_runs(tmp_path: Path, state: str, times: int) -> None:
    from airflow.triggers.callback import CallbackTrigger

    from fruit_pipeline.alerts.late import late_alert
    from fruit_pipeline.settings import Settings

    file = tmp_path / "notifications.jsonl"
    callback = late_alert(Settings(notification_file=str(file))).callback
    trigger = CallbackTrigger(callback.path, {**callback.kwargs, "context": missed_deadline(state)})

    async def run() -> list[Any]:
        return [event.payload["state"] async for event in trigger.run()]

    assert asyncio.run(run()) == ["running", "success"]
    assert [line["event"] for line in lines_of(file)] == ["run_late"] * times if file.exists() else not times


def test_a_deadline_that_does_not_say_how_its_run_is_doing_is_told() -> None:
    from fruit_pipeline.alerts.news import RUN_FAILED, RUN_LATE, is_worth_telling

    assert is_worth_telling(RUN_LATE, None)
    assert is_worth_telling(RUN_FAILED, "failed")


@pytest.mark.parametrize("run", [{"dag_id": "d", "dag_run_id": "r"}, SimpleNamespace(dag_id="d", run_id="r")])
def test_the_run_is_named_whichever_way_airflow_hands_it_over(tmp_path: Path, run: Any) -> None:
    file = tmp_path / "notifications.jsonl"
    notifier(notification_file=str(file))({"dag_run": run})
    notifier(notification_file=str(file))({})
    assert [line["subject"] for line in lines_of(file)] == ["Äpfel\nfailed: d r", "Äpfel\nfailed"]


@pytest.mark.parametrize("where", [{"notification_file": "/proc/no/such/file"}, {"sns_topic_arn": TOPIC}])
def test_news_that_can_not_be_delivered_does_not_fail_the_task_that_tells_it(where: dict[str, Any]) -> None:
    from fruit_pipeline.alerts.news import OVER_BUDGET
    from fruit_pipeline.alerts.notifiers import tell
    from fruit_pipeline.settings import Settings

    with mock.patch(
        "airflow.providers.amazon.aws.hooks.sns.SnsHook.publish_to_target", side_effect=RuntimeError("no network")
    ):
        tell(CONTEXT, Settings(**where), OVER_BUDGET, "too much", "99 EUR")


def test_a_task_tells_where_the_settings_say(tmp_path: Path) -> None:
    from fruit_pipeline.alerts.news import OVER_BUDGET
    from fruit_pipeline.alerts.notifiers import tell
    from fruit_pipeline.settings import Settings

    file = tmp_path / "notifications.jsonl"
    tell(CONTEXT, Settings(notification_file=str(file)), OVER_BUDGET, "too much", "99 EUR")
    assert [(line["event"], line["subject"]) for line in lines_of(file)] == [
        ("over_budget", "too much: fruit_image_pipeline manual__1")
    ]
