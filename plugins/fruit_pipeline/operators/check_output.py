"""Fails a run whose tables do not agree with each other."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from fruit_pipeline.lake_reader import lake_of
from fruit_pipeline.output_check import check_date

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from fruit_pipeline.settings import Settings

_PROBLEMS_IN_MESSAGE: Final = 20


class CheckOutputOperator(BaseOperator):
    """Checks one ingest date's ledger, features, rejects, moments and projections; repairs nothing.

    Problems fail the task at once: trying again would find them again. What S3 refuses is retried.

    :param settings: bucket, region and connection
    :param ingest_date: the date to check (templated)
    :param categories: limits the check to these, empty for all (templated)
    :param listed_before: ISO time of the run's listing; what arrived later need not be in the ledger (templated)
    """

    template_fields: Sequence[str] = ("ingest_date", "categories", "listed_before")
    ui_color = "#d5f5e3"

    def __init__(self, *, settings: Settings, ingest_date: Any, categories: Any, listed_before: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ingest_date = ingest_date
        self.categories = categories
        self.listed_before = listed_before
        self._settings = settings

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002  # Airflow's signature
        result = check_date(lake_of(self._settings), self.ingest_date, self.categories, datetime.fromisoformat(self.listed_before))
        for problem in result.problems:
            self.log.error("%s", problem)
        if result.problems:
            shown = "\n".join(f"- {problem}" for problem in result.problems[:_PROBLEMS_IN_MESSAGE])
            rest = "" if len(result.problems) <= _PROBLEMS_IN_MESSAGE else "\n- ... and more, in the log above."
            raise AirflowFailException(f"{len(result.problems):,} problems in the tables of {self.ingest_date}:\n{shown}{rest}")
        self.log.info("%s ledger lines and %s partitions of %s are sound.", result.images_in_ledger, result.partitions, self.ingest_date)
        return result.as_dict()
