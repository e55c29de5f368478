"""From when a run's time counts: the moment it was first queued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.definitions.deadline import BaseDeadlineReference

if TYPE_CHECKING:
    from datetime import datetime


class RunFirstQueued(BaseDeadlineReference):
    """As DeadlineReference.DAGRUN_QUEUED_AT; but with that one, Airflow 3.3 answers every clearing of a task with HTTP
    500.

    (It computes the deadline of a cleared run anew, from an interval that it no longer stores as a number.) Registered
    as part of the plugin in fruits_ui.py.
    """

    required_kwargs: ClassVar[set[str]] = {"dag_id", "run_id"}

    def _evaluate_with(self, *, session: Any, dag_id: str, run_id: str) -> datetime | None:
        from airflow.models import DagRun
        from sqlalchemy import select

        queued_at: datetime | None = session.scalar(
            select(DagRun.queued_at).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        )
        return queued_at
