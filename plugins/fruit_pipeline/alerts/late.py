"""Says when a run is late, and has people told so."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert

from fruit_pipeline.alerts.deadline import RunFirstQueued
from fruit_pipeline.alerts.news import RUN_LATE
from fruit_pipeline.alerts.notifiers import FruitsNotifier, where_to

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings


def late_alert(settings: Settings) -> DeadlineAlert:
    """Returns the alert for a run that has not ended some hours after it was queued."""
    news = {
        "event": RUN_LATE,
        "subject": "Fruits! run is late",
        "message": f"It has not ended {settings.late_after_hours:g} hours after it was queued.\nWhat to do: see on its "
        "page which task it is at, and that task's log and link *Progress*. To give up a step, clear or mark its task: "
        "the step is cancelled and the cluster ended.",
        **where_to(settings),
    }
    interval = timedelta(hours=settings.late_after_hours)
    return DeadlineAlert(reference=RunFirstQueued(), interval=interval, callback=AsyncCallback(FruitsNotifier, news))
