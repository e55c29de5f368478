"""Waits until an image batch is complete, and decides what a batch that does not come means."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSensorTimeout, AirflowSkipException
from botocore.exceptions import BotoCoreError, ClientError

from fruit_contract.newer_python import UTC
from fruit_contract.runs import RunType
from fruit_pipeline.alerts.news import BATCH_MISSING
from fruit_pipeline.alerts.notifiers import tell
from fruit_pipeline.aws import BOTOCORE_CONFIG, is_denied
from fruit_pipeline.lake.location import require_lake_here
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.operators.refusal import refused_for_good
from fruit_pipeline.request.params import require_params_as_given, run_type_of
from fruit_pipeline.triggers.batch_marker import BatchMarkerTrigger
from fruit_pipeline.triggers.wait import GRACE, Waiting

if TYPE_CHECKING:
    from airflow.sdk import Context

    from fruit_pipeline.settings import Settings


class WaitForBatchSensor(S3KeySensor):
    """Waits, without a worker slot, for the marker that is written last.

    If it does not come in time, a scheduled run goes on with the dates that it looks back on (no delivery is no
    failure, and people are told). Any other run fails, because somebody asked for this date. A backfill looks only
    once, because the days it is about are over.

    The time counts from the run's start, over all tries: neither errors nor a restart make it longer or shorter. Until
    it is over, errors of S3 are borne. Only a bucket that is not there, or may not be read, is told at once if the
    first look finds it so.

    :param settings: bucket, connection, region and waiting times
    :param bucket_key: the marker's full address (templated), empty for a run that works on what is there
    """

    def __init__(self, *, settings: Settings, bucket_key: str, **kwargs: Any) -> None:
        super().__init__(
            bucket_key=bucket_key,
            aws_conn_id=settings.aws_conn_id,
            region_name=settings.region,
            botocore_config=BOTOCORE_CONFIG,
            poke_interval=settings.batch_poll_seconds,
            timeout=settings.batch_timeout_hours * 3600,
            deferrable=True,
            **kwargs,
        )
        self._settings = settings

    def execute(self, context: Context) -> None:
        with refused_for_good():
            self._settings.require_place()
            require_params_as_given(context["dag_run"].conf, self.params, context["params"])
        if not self.bucket_key:
            self.log.info("This run works on the batches that are there: nothing to wait for.")
            return
        if run_type_of(context["dag_run"]) == RunType.BACKFILL:
            if not self._look():
                raise AirflowSkipException(f"Nothing to do for this date: {self.bucket_key} is not there.")
            return
        until = self._until(context)
        left = until - datetime.now(UTC)
        if left <= timedelta():
            self._end_of_waiting(context)
        elif not self._look(until):
            settings = self._settings
            waiting = replace(Waiting.of(settings, until), poll_seconds=settings.batch_poll_seconds)
            self.defer(
                trigger=BatchMarkerTrigger(asdict(waiting), self._key),
                method_name="execute_complete",
                timeout=left + GRACE,
            )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        if event["status"] != "ended":
            self.execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSensorTimeout:  # there was no triggerer to see the end
            return self.execute(context)

    @property
    def _key(self) -> str:
        return str(S3Hook.parse_s3_url(str(self.bucket_key))[1])

    def _until(self, context: Context) -> datetime:
        # The run's start stays through all tries, and moves only when a person clears a run that has ended.
        run: Any = context["dag_run"]
        begin: datetime = run.start_date or run.run_after
        return begin + timedelta(hours=self._settings.batch_timeout_hours)

    def _look(self, until: datetime | None = None) -> bool:
        """Returns whether the marker is there. An error that may be over before `until` counts as no; any other raises
        AirflowException.
        """
        settings = self._settings
        lake = lake_of(settings)
        try:
            with refused_for_good():
                require_lake_here(lake.client, lake.bucket, settings.region, settings.lake_owner)
            there = lake.is_there(self._key)
        except (BotoCoreError, ClientError) as error:
            if until is None or _is_refused(error):
                raise AirflowException(
                    f"S3 could not be asked for {self.bucket_key}: {error} Check the connection "
                    f"'{settings.aws_conn_id}', its rights "
                    "and FRUITS_LAKE_BUCKET, then clear this task."
                ) from error
            self.log.warning(
                "S3 could not be asked for %s. It is asked again until %s: %s",
                self.bucket_key,
                until.isoformat(),
                error,
            )
            return False
        self.log.info("%s %s there.", self.bucket_key, "is" if there else "is not")
        return there

    def _end_of_waiting(self, context: Context) -> None:
        """Looks for the last time. Without a marker, a scheduled run goes on and people are told, and any other run
        fails.
        """
        if self._look():
            return
        settings = self._settings
        notice = f"No image batch within {settings.batch_timeout_hours:g} hours: {self.bucket_key} is not there."
        if run_type_of(context["dag_run"]) != RunType.SCHEDULED:
            raise AirflowFailException(f"{notice} Deliver the batch (`make deliver`) and run again.")
        later = (
            f"If it still comes, the next scheduled runs find it for {settings.lookback_days} days; after that, "
            "trigger a run for its date."
            if settings.lookback_days
            else "If it still comes, trigger a run for its date."
        )
        what_to_do = f"What to do: ask those who deliver. {later}"
        tell(
            context,
            settings,
            BATCH_MISSING,
            "Fruits! no image batch",
            f"{notice} This run looks at the days before it.\n{what_to_do}",
        )


def _is_refused(error: BotoCoreError | ClientError) -> bool:
    """Returns whether the lake's setting or the rights to it are wrong, which does not pass with time."""
    return is_denied(error) or (isinstance(error, ClientError) and error.response["Error"]["Code"] == "NoSuchBucket")
