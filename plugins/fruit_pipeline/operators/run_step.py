"""Runs one step on a cluster and, when it fails, says why."""

from __future__ import annotations

import gzip
import math
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator
from airflow.providers.amazon.aws.utils.waiter_with_logging import wait
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from botocore.exceptions import ClientError

from fruit_contract.lake import step_logs_prefix, uri
from fruit_pipeline.claims import require_claim
from fruit_pipeline.concurrent_runs import ClaimLostError
from fruit_pipeline.lake_reader import BOTOCORE_CONFIG, MissingObjectError, lake_of
from fruit_pipeline.step_failure import step_failure_message

if TYPE_CHECKING:
    from airflow.sdk import Context

    from fruit_pipeline.settings import Settings

_LOG_FILES: Final = ("stdout", "stderr")


class RunStepOperator(EmrAddStepsOperator):
    """Adds one step to a cluster, waits until it ends, and names step, cluster and logs when it failed.

    Never submits twice: a retry would run the step again beside the first one, so it has none (`retries=0`). Clearing
    the task also clears the cluster's setup and teardown, which is the safe way to do it again.

    :param settings: region, connection, waiting times and bucket
    :param needs_claim: whether the run must still hold its ingest dates (see concurrent_runs)
    :param steps: a list of one step for AddJobFlowSteps (templated)
    :param job_flow_id: the cluster (templated)
    :param deferrable: True waits in the triggerer and takes no worker slot meanwhile; False takes one, and is what
        `max_active_tis_per_dag` counts (deferred tasks are not counted)
    """

    def __init__(self, *, settings: Settings, needs_claim: bool = False, **kwargs: Any) -> None:
        super().__init__(
            aws_conn_id=settings.aws_conn_id,
            region_name=settings.region,
            botocore_config=BOTOCORE_CONFIG,
            waiter_delay=settings.poll_seconds,
            waiter_max_attempts=math.ceil(settings.step_timeout_hours * 3600 / settings.poll_seconds),
            retries=0,
            **kwargs,
        )
        self._settings = settings
        self._needs_claim = needs_claim
        self._step_ids: list[str] = []

    def execute(self, context: Context) -> list[str]:
        if self._needs_claim:
            try:
                require_claim(lake_of(self._settings), context["dag_run"].run_id)
            except ClaimLostError as error:
                raise AirflowFailException(str(error)) from error
        self._step_ids = super().execute(context)  # a deferrable operator leaves here, and comes back in execute_complete
        try:
            wait(
                waiter=self.hook.get_waiter("steps_wait_for_terminal"),
                waiter_delay=self.waiter_delay,
                waiter_max_attempts=self.waiter_max_attempts,
                args={"ClusterId": self.job_flow_id, "StepIds": self._step_ids},
                failure_message="The step did not complete",
                status_message="The step is",
                status_args=["Steps[].Status.State"],
            )
        except AirflowException as error:
            raise AirflowFailException(self._failure_message(self._step_ids, str(error))) from error
        return self._step_ids

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        if event is None or event.get("status") != "success":
            event = event or {}
            raise AirflowFailException(
                self._failure_message(event.get("value") or [], str(event.get("message", "the trigger sent no event")))
            )
        return super().execute_complete(context, event)

    def on_kill(self) -> None:
        """Ends the step's process: the teardown would end it too, but later."""
        if self._step_ids:
            self.hook.conn.cancel_steps(ClusterId=self.job_flow_id, StepIds=self._step_ids, StepCancellationOption="TERMINATE_PROCESS")

    def _failure_message(self, step_ids: list[str], error: str) -> str:
        cluster_id = str(self.job_flow_id)
        steps = [self.hook.conn.describe_step(ClusterId=cluster_id, StepId=step_id)["Step"] for step_id in step_ids]
        failed = next((step for step in steps if step["Status"]["State"] != "COMPLETED"), None)
        if failed is None:
            return f"Waiting for the steps of cluster {cluster_id} failed: {error}"
        prefix = step_logs_prefix(cluster_id, failed["Id"])
        logs_uri = uri(self._settings.lake_bucket, prefix)
        cluster = self.hook.conn.describe_cluster(ClusterId=cluster_id)["Cluster"]
        return step_failure_message(failed, cluster, logs_uri, self._logs(prefix), self._settings.step_timeout_hours)

    def _logs(self, prefix: str) -> dict[str, str]:
        """The step's log files that have reached the lake already."""
        lake = lake_of(self._settings)
        logs = {}
        for name in _LOG_FILES:
            try:
                logs[name] = gzip.decompress(lake.read_bytes(f"{prefix}{name}.gz")).decode(errors="replace")
            except MissingObjectError:
                continue
            except ClientError as error:
                # The step's own failure is the news; why its log can't be read comes with it.
                logs[name] = f"(this log can't be read: {error})"
        return logs
