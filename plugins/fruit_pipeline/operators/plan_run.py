"""Plans a run, and waits without a worker slot while other runs hold its dates."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, TaskDeferralTimeout

from fruit_contract.newer_python import UTC
from fruit_pipeline.claims.claim_book import DatesBook, pca_book
from fruit_pipeline.claims.patience import CLUSTER_END, patience_for_dates
from fruit_pipeline.emr.airflow_id import drawn_airflow_id
from fruit_pipeline.emr.client import emr_client
from fruit_pipeline.emr.cluster_request import missing_safeguards
from fruit_pipeline.emr.security import require_readable
from fruit_pipeline.errors import DateIsBusyError
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.operators.refusal import refused_for_good
from fruit_pipeline.operators.turns import until_free
from fruit_pipeline.places import Place, remember, settings_in
from fruit_pipeline.planning.earlier_clusters import end_clusters_from_before, give_back_elsewhere
from fruit_pipeline.planning.planner import plan_run
from fruit_pipeline.planning.run_plan import summary_lines
from fruit_pipeline.report.record import record_of_nothing, write_record
from fruit_pipeline.request.context import is_active_run, request_of_run
from fruit_pipeline.triggers.clusters_end import ClustersEndTrigger
from fruit_pipeline.triggers.wait import GRACE, Waiting

if TYPE_CHECKING:
    from airflow.sdk import Context

    from fruit_pipeline.planning.planner import PlannedRun, PlannedXComs
    from fruit_pipeline.settings import Settings


class PlanRunOperator(BaseOperator):
    """Settles dates, categories and release, claims the dates, looks at the batches and prepares the requests. The log
    shows the plan.

    It skips itself, and so the run, if there is nothing to do.

    While another run holds a date that was asked for, it waits in the triggerer: until all are free, and for as long as
    a run may hold them (`patience_for_dates`). Then it fails and names the runs. While it waits, it checks now and then
    whether they still live.

    :param settings: bucket, region, connection, and all that a plan depends on
    """

    ui_color = "#d6eaf8"

    def __init__(self, *, settings: Settings, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)
        self._settings = settings

    def execute(self, context: Context, event: dict[str, Any] | None = None, until: str = "") -> PlannedXComs:
        """Plans the run and returns the plan. After a wait, Airflow calls this again with the `event`; the wait is over
        by `until` (ISO time).
        """
        self._end_clusters_from_before(context, event)
        try:
            with refused_for_good():
                planned = self._plan(context)
        except DateIsBusyError as busy:
            self._wait(context, busy, until)
        for line in summary_lines(planned.plan):
            self.log.info("%s", line)
        for line in missing_safeguards(self._settings):
            self.log.warning("%s", line)
        if not planned.plan.has_work:
            context["ti"].xcom_push(key="plan", value=planned.plan.as_dict())
            write_record(lake_of(self._settings), record_of_nothing(context["dag_run"].run_id, planned.as_xcoms()))
            raise AirflowSkipException("Nothing to do: nothing is computed and no cluster is started.")
        return planned.as_xcoms()

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:  # there was no triggerer to see the end
            return self.execute(context, {"status": "time_out"}, datetime.now(UTC).isoformat())

    def _plan(self, context: Context) -> PlannedRun:
        # S3 gives times in whole seconds.
        listed_at = datetime.now(UTC).replace(microsecond=0)
        # The place is remembered before there is a claim or a cluster to look for there.
        remember(Place.of(self._settings))
        request = replace(request_of_run(context, self._settings), airflow_id=drawn_airflow_id(context["ti"]))
        if self._settings.security_configuration:
            require_readable(self._settings, emr_client(self._settings))
        return plan_run(self._settings, lake_of, request, listed_at, is_active_run(context["ti"], self._settings))

    def _end_clusters_from_before(self, context: Context, event: dict[str, Any] | None) -> None:
        """Waits until the clusters have ended that the run has from before its task was cleared, because they may still
        write.

        The plan is made anew then, and needs a new cluster. If it failed or found nothing to do, no teardown would end
        the earlier one.
        """
        run_id = context["dag_run"].run_id
        with refused_for_good():
            ending = end_clusters_from_before(self._settings, self.dag_id, run_id, drawn_airflow_id(context["ti"]))
        if not ending:
            pca_book(lake_of(self._settings)).give_back(run_id)
            give_back_elsewhere(self._settings, run_id)
            return
        shown = ", ".join(
            f"{cluster_id} ({state})" for clusters in ending.values() for cluster_id, state in clusters.items()
        )
        if event is not None and event["status"] != "ended":
            raise AirflowException(
                f"The run has a cluster from before it was planned anew, and it does not end: {shown}."
            )
        self.log.info("The run has a cluster from before it was planned anew: %s. It is ended first.", shown)
        # All were told to end at once, so the places are waited for one after the other.
        place, clusters = next(iter(ending.items()))
        waiting = Waiting.of(settings_in(self._settings, place), datetime.now(UTC) + CLUSTER_END)
        self.defer(
            trigger=ClustersEndTrigger(asdict(waiting), [*clusters]), method_name="execute", timeout=CLUSTER_END + GRACE
        )

    def _wait(self, context: Context, busy: DateIsBusyError, until: str) -> NoReturn:
        now, patience = datetime.now(UTC), patience_for_dates(self._settings)
        end = datetime.fromisoformat(until) if until else now + patience
        if now >= end:
            raise AirflowFailException(
                f"{busy} This run has waited as long as they may hold them ({patience / timedelta(hours=1):.1f} "
                "hours). See what keeps those runs, end them if they hang, then clear this task."
            ) from busy
        self.log.info("%s This one waits for them, until %s at most.", busy, end.isoformat(timespec="seconds"))
        run_id = context["dag_run"].run_id
        trigger = until_free(self._settings, DatesBook(lake_of(self._settings)), run_id, busy.ingest_dates, end)
        self.defer(trigger=trigger, method_name="execute", kwargs={"until": end.isoformat()}, timeout=end - now + GRACE)
