"""Tells people what they should know of: through SNS, to a file, and in any case to the log."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseNotifier

from fruit_contract.newer_python import UTC
from fruit_pipeline.alerts.news import News, NewsPlace, is_worth_telling, sns_message, sns_subject, with_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)

# Airflow ends the process of a DAG's callback after 50 seconds ([dag_processor] dag_file_processor_timeout). A request
# to SNS that fails must have failed by then.
_SNS_CONFIG: Final = {
    "connect_timeout": 5,
    "read_timeout": 10,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}


class FruitsNotifier(BaseNotifier):
    """Sends one piece of news to where the settings say: to SNS, to a file, and always to the log.

    :param event: which kind of news, for those who filter (an attribute of the SNS message, a field of the file's line)
    :param subject: a line; the run's DAG and id are put behind it
    :param message: the whole; the run, its task and a link to their page are put below it
    :param sns_topic_arn: where to publish, or empty
    :param notification_file: a file that gets a line of JSON, or empty
    :param aws_conn_id: Airflow's connection for SNS
    """

    def __init__(
        self,
        *,
        event: str,
        subject: str,
        message: str,
        sns_topic_arn: str = "",
        notification_file: str = "",
        aws_conn_id: str = "aws_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event = event
        self.subject = subject
        self.message = message
        self.sns_topic_arn = sns_topic_arn
        self.notification_file = notification_file
        self.aws_conn_id = aws_conn_id

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Does nothing: nothing is templated, and the DAG that the callback of a failed run gets could not render
        anything.
        """

    def notify(self, context: Context) -> None:
        news = self._placed_news(context)
        try:
            self._write_line(news)
        finally:
            if self.sns_topic_arn:
                self._sns_hook().publish_to_target(**self._sns_message(news))

    async def async_notify(self, context: Context) -> None:
        """Sends the news from the triggerer, which watches deadlines, if it still is news by then."""
        state = state_of_run(context)
        if not is_worth_telling(self.event, state):
            self.log.info("%s is %s: nobody is told of '%s'.", place_of(context).name, state, self.event)
            return
        news = self._placed_news(context)
        try:
            await asyncio.to_thread(self._write_line, news)
        finally:
            if self.sns_topic_arn:
                await self._sns_hook().apublish_to_target(**self._sns_message(news))

    def news(self, context: Context) -> News:  # noqa: ARG002  # for those who have to look first
        """Returns what to tell, without its place."""
        return News(self.event, self.subject, self.message)

    def _placed_news(self, context: Context) -> News:
        from airflow.configuration import conf

        news = with_place(self.news(context), place_of(context), conf.get("api", "base_url", fallback="") or "")
        self.log.warning("%s: %s. %s", news.event, news.subject, news.message)
        return news

    def _write_line(self, news: News) -> None:
        if not self.notification_file:
            return
        line = {
            "at": datetime.now(UTC).isoformat(),
            "event": news.event,
            "subject": news.subject,
            "message": news.message,
        }
        path = Path(self.notification_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _sns_message(self, news: News) -> dict[str, Any]:
        return {
            "target_arn": self.sns_topic_arn,
            "subject": sns_subject(news.subject),
            "message": sns_message(news),
            "message_attributes": {"event": news.event},
        }

    def _sns_hook(self) -> Any:
        from airflow.providers.amazon.aws.hooks.sns import SnsHook

        region = self.sns_topic_arn.split(":")[3]
        return SnsHook(aws_conn_id=self.aws_conn_id, region_name=region, config=_SNS_CONFIG)  # type: ignore[no-untyped-call]


def place_of(context: Context | Mapping[str, Any]) -> NewsPlace:
    """Returns which run the news is about, and the task if it is the task that tells it.

    A task's context has a DAG run, a deadline's a dictionary of one. What is called at a run's end gets the DAG and the
    run's id, but not always a DAG run.
    """
    run: Any = context.get("dag_run") or {}
    names: dict[str, Any] = (
        run if isinstance(run, dict) else {name: getattr(run, name, None) for name in ("dag_id", "run_id")}
    )
    dag_id = names.get("dag_id") or getattr(context.get("dag"), "dag_id", "")
    run_id = names.get("run_id") or names.get("dag_run_id") or context.get("run_id")
    is_end_of_run = "reason" in context
    task_id = "" if is_end_of_run else getattr(context.get("ti"), "task_id", "")
    return NewsPlace(str(dag_id or ""), str(run_id or ""), str(task_id or ""))


def state_of_run(context: Context | Mapping[str, Any]) -> str | None:
    """Returns the state that a run was in when it missed its deadline; None where Airflow does not say."""
    run: Any = context.get("dag_run")
    return run.get("state") if isinstance(run, dict) else None


def where_to(settings: Settings) -> dict[str, Any]:
    """Returns the notifier's arguments that the settings give."""
    return {
        "sns_topic_arn": settings.sns_topic_arn,
        "notification_file": settings.notification_file,
        "aws_conn_id": settings.aws_conn_id,
    }


def tell(context: Context | Mapping[str, Any], settings: Settings, event: str, subject: str, message: str) -> bool:
    """Tells news from within a task, and returns whether that succeeded. What can't be delivered is logged, and the
    task goes on with its own work.
    """
    try:
        FruitsNotifier(event=event, subject=subject, message=message, **where_to(settings))(context)
    except Exception:  # a missing connection, a wrong topic, a full disk: none of it is the task's failure
        LOG.exception("'%s' could not be delivered.", subject)
        return False
    return True
