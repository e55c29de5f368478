"""Waits until an image batch is complete, and decides what a batch that never comes means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException

from fruit_contract.regions import RegionNotAllowedError, require_eu_region
from fruit_pipeline.lake_reader import BOTOCORE_CONFIG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from fruit_pipeline.settings import Settings

_BY_HAND: Final = "manual"
_BACKFILL: Final = "backfill"


class WaitForBatchSensor(S3KeySensor):
    """Waits, without a worker slot, for the marker that is written last.

    When it does not come in time, a scheduled run is skipped with a notice (no delivery is no failure) and a run that a
    person started fails. A backfill looks once: the days it is about are over. `soft_fail` would not do: it also
    skips when S3 refuses to answer.

    :param settings: bucket, connection, region and waiting times
    :param bucket_key: the marker's full address (templated), empty for a run that works on what is there; wildcards and
        check functions do not survive deferral
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
        self._region = settings.region
        self._timeout_hours = settings.batch_timeout_hours

    def execute(self, context: Context) -> None:
        try:
            require_eu_region(self._region)
        except RegionNotAllowedError as error:
            raise AirflowFailException(str(error)) from error
        unknown = sorted(set(context["dag_run"].conf or {}) - set(context["params"]))
        if unknown:
            # A misspelt date would quietly mean another day.
            known = ", ".join(sorted(context["params"]))
            raise AirflowFailException(f"The run was given params that do not exist: {', '.join(unknown)}. There are: {known}.")
        if not self.bucket_key:
            self.log.info("This run works on the batches that are there: nothing to wait for.")
            return
        if _run_type(context) == _BACKFILL and not self.poke(context):
            raise AirflowSkipException(f"Nothing to do for this date: {self.bucket_key} is not there.")
        super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSensorTimeout as error:
            notice = f"No image batch within {self._timeout_hours:g} hours: {self.bucket_key} is not there."
            if _run_type(context) == _BY_HAND:
                raise AirflowFailException(f"{notice} Deliver the batch (`make deliver`) and run again.") from error
            raise AirflowSkipException(f"{notice} The run is skipped; deliver late and trigger it for this date.") from error


def _run_type(context: Context | Mapping[str, Any]) -> str:
    return str(getattr(context["dag_run"].run_type, "value", context["dag_run"].run_type))
