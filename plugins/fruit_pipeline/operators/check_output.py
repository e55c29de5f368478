"""Fails a run whose tables do not agree with each other, and tells other DAGs of those that do."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from fruit_pipeline.checks.output import check_run
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.operators.refusal import refused_for_good
from fruit_pipeline.places import settings_of_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from fruit_pipeline.settings import Settings

_PROBLEMS_IN_MESSAGE: Final = 20


class CheckOutputOperator(BaseOperator):
    """Checks the ledgers, features, rejects, moments and projections of a run's ingest dates. It repairs nothing.

    The events of its outlets (assets) get what was found sound as their extra.

    Problems fail the task at once, because another try would find them again. What S3 refuses is retried.

    :param settings: everything but bucket, region and connection
    :param place: those, as the plan says (templated)
    :param ingest_dates: the dates to check (templated)
    :param categories: limits the check to these, empty for all (templated)
    :param listed_before: ISO time of the run's listing; what arrived later need not be in the ledger (templated)
    """

    template_fields: Sequence[str] = ("ingest_dates", "categories", "listed_before", "place")
    ui_color = "#d5f5e3"

    def __init__(
        self, *, settings: Settings, place: Any, ingest_dates: Any, categories: Any, listed_before: Any, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.ingest_dates = ingest_dates
        self.categories = categories
        self.listed_before = listed_before
        self.place = place
        self._settings = settings

    def execute(self, context: Context) -> dict[str, Any]:
        run_id = context["dag_run"].run_id
        listed_before = datetime.fromisoformat(self.listed_before)
        lake = lake_of(settings_of_run(self._settings, self.place))
        with refused_for_good():
            result = check_run(lake, run_id, self.ingest_dates, self.categories, listed_before)
        for note in result.notes:
            self.log.warning("%s", note)
        for problem in result.problems:
            self.log.error("%s", problem)
        if result.problems:
            shown = "\n".join(f"- {problem}" for problem in result.problems[:_PROBLEMS_IN_MESSAGE])
            rest = "" if len(result.problems) <= _PROBLEMS_IN_MESSAGE else "\n- ... and more, in the log above."
            raise AirflowFailException(
                f"{len(result.problems):,} problems in the tables of {_dates(self.ingest_dates)}:\n{shown}{rest}"
            )
        dates = _dates(self.ingest_dates)
        self.log.info(
            "%s ledger lines and %s partitions of %s are sound.", result.images_in_ledger, result.partitions, dates
        )
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {
                "run_id": run_id,
                # The asset's address is that of the lake that is set now.
                "lake_bucket": lake.bucket,
                "ingest_dates": [*result.ingest_dates],
                "categories": [*self.categories],
                "images": result.images_in_ledger,
                "featurised": result.featurised,
                "rejected": result.rejected,
                "pca_version": result.pca_version,
            }
        return result.as_dict()


def _dates(ingest_dates: Sequence[str]) -> str:
    return (
        ingest_dates[0]
        if len(ingest_dates) == 1
        else f"{len(ingest_dates)} dates from {ingest_dates[0]} to {ingest_dates[-1]}"
    )
