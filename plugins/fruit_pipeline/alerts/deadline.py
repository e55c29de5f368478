"""Says from when a run's time counts: from the moment it was first queued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.definitions.deadline import BaseDeadlineReference

if TYPE_CHECKING:
    from datetime import datetime


class RunFirstQueued(BaseDeadlineReference):
    """Counts a run's deadline from the moment it was first queued, as DeadlineReference.DAGRUN_QUEUED_AT does.

    With that one, Airflow 3.3 answers every clearing of a task with HTTP 500: it computes the deadline of a cleared run
    anew, from an interval that it does not store as a number. fruits_ui.py registers this class as part of the plugin.
    """

    required_kwargs: ClassVar[set[str]] = {"dag_id", "run_id"}

    def _evaluate_with(self, *, session: Any, dag_id: str, run_id: str) -> datetime | None:
        from airflow.models import DagRun
        from sqlalchemy import select

        queued_at: datetime | None = session.scalar(
            select(DagRun.queued_at).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        )
        return queued_at
