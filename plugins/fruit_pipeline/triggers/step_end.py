"""Waits for a step's end and says how far the step has come. If it failed without telling why, its logs are waited for,
too.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from fruit_contract.lake import failure_key, progress_key
from fruit_contract.newer_python import UTC
from fruit_pipeline.emr.states import STEP_ACTIVE, STEP_ENDED_BADLY, EmrStepState, state_of
from fruit_pipeline.failures.logs import have_arrived, logs_prefix, was_told
from fruit_pipeline.progress.tracking import parse_progress, progress_line
from fruit_pipeline.triggers.emr_wait import EmrWaitTrigger
from fruit_pipeline.triggers.wait import connection_of

_BOOTSTRAP_FAILURE: Final = "BOOTSTRAP_FAILURE"


class StepEndTrigger(EmrWaitTrigger):
    """Looks until the step has ended. The event has its `state`.

    :param waiting: fields of Waiting
    :param cluster_id: the step's cluster
    :param step_id: the step
    :param step_name: its name, by which its progress is found
    :param run_id: the run's
    :param log_wait_minutes: how long to wait for the logs of a step that failed without telling why, which EMR copies
        minutes later
    """

    def __init__(
        self,
        waiting: dict[str, Any],
        cluster_id: str,
        step_id: str,
        step_name: str,
        run_id: str,
        log_wait_minutes: float,
    ) -> None:
        super().__init__(
            waiting,
            cluster_id=cluster_id,
            step_id=step_id,
            step_name=step_name,
            run_id=run_id,
            log_wait_minutes=log_wait_minutes,
        )
        self.cluster_id, self.step_id, self.step_name, self.run_id = cluster_id, step_id, step_name, run_id
        self.log_wait = timedelta(minutes=log_wait_minutes)
        self._ended_seen_at: datetime | None = None

    @property
    def about(self) -> dict[str, Any]:
        return {"step_id": self.step_id}

    async def look(self, emr: Any, s3: Any) -> dict[str, Any] | None:
        step = (await emr.describe_step(ClusterId=self.cluster_id, StepId=self.step_id))["Step"]
        state = state_of(step)
        if state in STEP_ACTIVE:
            self.say(await self._news(emr, s3, step))
            return None
        if state in STEP_ENDED_BADLY and not await self._logs_are_there(emr, s3, step):
            self.say(
                f"The step ended as {state}. Waiting for its logs, which EMR copies to the lake within about five "
                "minutes."
            )
            return None
        return {"state": state}

    async def on_kill(self) -> None:
        """Cancels the step. Airflow calls this when a person marks or clears the task, and not when a triggerer
        restarts.
        """
        self.log.info("The task was ended by hand: step %s is told to end, too.", self.step_id)
        async with await connection_of(self._emr_hook()) as emr:
            answer = await emr.cancel_steps(
                ClusterId=self.cluster_id, StepIds=[self.step_id], StepCancellationOption="TERMINATE_PROCESS"
            )
        for told in answer.get("CancelStepsInfoList", ()):
            self.log.info("EMR says: %s %s", told.get("Status"), told.get("Reason") or "")

    async def _news(self, emr: Any, s3: Any, step: dict[str, Any]) -> str:
        if state_of(step) == EmrStepState.PENDING:
            cluster = (await emr.describe_cluster(ClusterId=self.cluster_id))["Cluster"]
            return f"The cluster is {state_of(cluster)}, the step waits for it."
        progress = await self._progress(s3, step["Status"].get("Timeline", {}).get("StartDateTime"))
        return f"{self.step_name}: {progress}" if progress else f"The step is {state_of(step)}."

    async def _progress(self, s3: Any, started_at: datetime | None) -> str | None:
        """Returns how far the step has come, as a line; None as long as there is only what an earlier step of the run
        has left.
        """
        try:
            answer = await s3.get_object(Bucket=self.waiting.lake_bucket, Key=progress_key(self.run_id, self.step_name))
            async with answer["Body"] as body:
                progress = parse_progress(await body.read())
        except Exception as error:  # noqa: BLE001  # the step goes on whether or not it can be told how far it is
            self.log.debug("The progress can't be read this time: %r", error)
            return None
        if progress is None or (started_at and progress.updated_at < started_at):
            return None
        return progress_line(progress, datetime.now(UTC))

    async def _logs_are_there(self, emr: Any, s3: Any, step: dict[str, Any]) -> bool:
        timeline = step["Status"].get("Timeline", {})
        never_started = "StartDateTime" not in timeline
        if never_started and not await self._bootstrap_failed(emr):
            return True  # there will be none
        if self._ended_seen_at is None:
            self._ended_seen_at = datetime.now(UTC)
            if not never_started and await self._was_told(s3, timeline["StartDateTime"]):
                return True  # they are not needed
        if datetime.now(UTC) - self._ended_seen_at >= self.log_wait:
            return True  # given up
        step_id = None if never_started else self.step_id
        arrived = await self._modified(s3, logs_prefix(self.cluster_id, step_id))
        return have_arrived(arrived, step_id, None if never_started else timeline.get("EndDateTime"))

    async def _was_told(self, s3: Any, started_at: datetime) -> bool:
        told = await self._modified(s3, failure_key(self.run_id, self.step_name))
        return was_told(told, self.run_id, self.step_name, started_at)

    async def _modified(self, s3: Any, prefix: str) -> dict[str, datetime]:
        answer = await s3.list_objects_v2(Bucket=self.waiting.lake_bucket, Prefix=prefix)
        return {entry["Key"]: entry["LastModified"] for entry in answer.get("Contents", ())}

    async def _bootstrap_failed(self, emr: Any) -> bool:
        cluster = (await emr.describe_cluster(ClusterId=self.cluster_id))["Cluster"]
        return bool(cluster["Status"].get("StateChangeReason", {}).get("Code") == _BOOTSTRAP_FAILURE)
