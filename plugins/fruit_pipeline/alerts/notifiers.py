"""Tells people what they should know of: through SNS, to a file, and in any case to the log."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseNotifier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)

# SNS' own limits.
_LONGEST_SUBJECT: Final = 100
_LONGEST_MESSAGE: Final = 200_000

RUN_FAILED: Final = "run_failed"
RUN_LATE: Final = "run_late"
ORPHANS_SWEPT: Final = "orphans_swept"
OVER_BUDGET: Final = "over_budget"
BATCH_MISSING: Final = "batch_missing"


class FruitsNotifier(BaseNotifier):
    """One piece of news to where the settings send it.

    :param event: which kind of news, for those who filter (an attribute of the SNS message, a field of the file's line)
    :param subject: a line; the run's DAG and id are put behind it
    :param message: the whole
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
        """Nothing is templated, and the DAG that a failed run's callback gets could not render anything."""

    def notify(self, context: Context) -> None:
        subject = self._subject(context)
        self._log_it(subject)
        try:
            if self.sns_topic_arn:
                self._sns_hook().publish_to_target(**self._sns_message(subject))
        finally:
            self._write_line(subject)

    async def async_notify(self, context: Context) -> None:
        """For the triggerer, where deadlines are told."""
        subject = self._subject(context)
        self._log_it(subject)
        try:
            if self.sns_topic_arn:
                await self._sns_hook().apublish_to_target(**self._sns_message(subject))
        finally:
            await asyncio.to_thread(self._write_line, subject)

    def _subject(self, context: Context) -> str:
        # Of what Airflow hands over this is all that callbacks, deadlines and tasks have in common.
        run: Any = context.get("dag_run") or {}
        names = (run.get(name) if isinstance(run, dict) else getattr(run, name, None) for name in ("dag_id", "run_id", "dag_run_id"))
        return ": ".join((self.subject, " ".join(dict.fromkeys(str(name) for name in names if name)))).removesuffix(": ")

    def _log_it(self, subject: str) -> None:
        self.log.warning("%s: %s. %s", self.event, subject, self.message)

    def _write_line(self, subject: str) -> None:
        if not self.notification_file:
            return
        line = {"at": datetime.now(UTC).isoformat(), "event": self.event, "subject": subject, "message": self.message}
        path = Path(self.notification_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _sns_message(self, subject: str) -> dict[str, Any]:
        return {
            "target_arn": self.sns_topic_arn,
            # SNS takes ASCII of one line.
            "subject": " ".join(subject.encode("ascii", "replace").decode().split())[:_LONGEST_SUBJECT],
            "message": f"{subject}\n\n{self.message}"[:_LONGEST_MESSAGE],
            "message_attributes": {"event": self.event},
        }

    def _sns_hook(self) -> Any:
        from airflow.providers.amazon.aws.hooks.sns import SnsHook

        return SnsHook(aws_conn_id=self.aws_conn_id, region_name=self.sns_topic_arn.split(":")[3])  # type: ignore[no-untyped-call]


def where_to(settings: Settings) -> dict[str, Any]:
    """The notifier's arguments that the settings give."""
    return {
        "sns_topic_arn": settings.sns_topic_arn,
        "notification_file": settings.notification_file,
        "aws_conn_id": settings.aws_conn_id,
    }


def tell(context: Context | Mapping[str, Any], settings: Settings, event: str, subject: str, message: str) -> None:
    """News from within a task. What can't be delivered is logged: the task has its own work to do."""
    try:
        FruitsNotifier(event=event, subject=subject, message=message, **where_to(settings))(context)
    except Exception:  # a missing connection, a wrong topic, a full disk: none of it is the task's failure
        LOG.exception("'%s' could not be delivered.", subject)
