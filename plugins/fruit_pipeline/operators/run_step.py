"""Runs one step on a cluster, once, and says why if it fails."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.amazon.aws.links.emr import EmrClusterLink, EmrLogsLink, get_log_uri
from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferralTimeout
from botocore.exceptions import BotoCoreError, ClientError

from fruit_contract.failures.causes import TIME_OUT
from fruit_contract.lake import failure_key, uri
from fruit_contract.newer_python import UTC
from fruit_pipeline.aws import BOTOCORE_CONFIG, may_pass
from fruit_pipeline.claims.claim_book import DatesBook, pca_book
from fruit_pipeline.claims.claims import PCA_TURN, Wish, who_holds
from fruit_pipeline.claims.patience import longest_step, patience_for_the_pca
from fruit_pipeline.emr.client import ONE_ATTEMPT_CONFIG, ask_once, emr_client
from fruit_pipeline.emr.clusters import steps_of_cluster
from fruit_pipeline.emr.states import (
    ALIVE,
    STEP_ACTIVE,
    STEP_ENDED_BADLY,
    created_at_of,
    last_step,
    state_of,
    step_to_attach,
)
from fruit_pipeline.errors import CauseKnownError
from fruit_pipeline.failures.logs import diagnose_bootstrap, diagnose_step, have_arrived, logs_prefix, was_told
from fruit_pipeline.failures.message import bootstrap_failure_message, given_up_message, step_failure_message
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.operators.clearing import HOW_TO_CLEAR
from fruit_pipeline.operators.refusal import refused_for_good
from fruit_pipeline.operators.runs_place import InRunsPlace
from fruit_pipeline.operators.turns import until_free
from fruit_pipeline.progress.link import ProgressLink
from fruit_pipeline.request.context import is_active_run
from fruit_pipeline.triggers.step_end import StepEndTrigger
from fruit_pipeline.triggers.wait import GRACE, Waiting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from fruit_pipeline.settings import Settings

# This is EMR's own limit.
_LONGEST_IDLE: Final = timedelta(days=7)
_CLUSTER_IS_GONE: Final = (
    f"Its cluster is gone, so this task can't try again: {HOW_TO_CLEAR}, or leave the work to "
    "the next run for these dates."
)


class FailedForGoodError(CauseKnownError, AirflowFailException):
    """Raised if a step, or its cluster, failed in a way that does not pass."""


class FailedForNowError(CauseKnownError, AirflowException):
    """Raised if a step failed in a way that may pass."""


class RunStepOperator(InRunsPlace, EmrAddStepsOperator):
    """Adds one step to a cluster, waits without a worker slot until it ends, and explains its failure.

    The step is added once. A task that is tried again finds the step that it added by its name (a cluster is of one
    run) and goes on with it. It adds the step anew only if that one was cancelled, or failed in a way that may pass (a
    lost node, throttling). Any other failure is final, also for a try that finds it: Airflow tries again for reasons of
    its own, too (a worker that is gone, a heartbeat that came late). Killing, marking or clearing the task cancels the
    step.

    :param settings: waiting times
    :param place: region, connection and bucket, as the plan says (templated)
    :param steps: a list of one step for AddJobFlowSteps (templated)
    :param job_flow_id: the cluster (templated)
    :param needs_claim: whether the run must still hold its ingest dates (see claims.claims)
    :param one_at_a_time: whether the step may only be there while the run has the turn at the PCA. The turn is taken
        before the step is added, and given back when it has ended; until then nobody else gets it, whatever becomes of
        this task
    """

    operator_extra_links = (EmrClusterLink(), EmrLogsLink(), ProgressLink())  # type: ignore[assignment]  # one more than the base has

    template_fields = ("job_flow_id", "place", "steps")

    def __init__(
        self, *, settings: Settings, place: Any, needs_claim: bool = False, one_at_a_time: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(
            aws_conn_id=settings.aws_conn_id,
            region_name=settings.region,
            botocore_config=BOTOCORE_CONFIG,
            deferrable=True,
            **kwargs,
        )
        self.place = place
        self._settings_now = settings
        self._needs_claim = needs_claim
        self._one_at_a_time = one_at_a_time
        self._step_id: str | None = None

    def execute(self, context: Context, event: dict[str, Any] | None = None, until: str = "") -> Any:
        """Goes on with the step if it is there, else adds it. After a wait, Airflow calls this again with the `event`:
        the step's turn may have come, for which it waits `until` (ISO time), or the logs of the step that failed before
        have.
        """
        if event is not None and event["status"] == "error":
            raise AirflowException(f"Waiting before the step is added failed: {event.get('message')}")
        run_id = context["dag_run"].run_id
        if self._needs_claim:
            with refused_for_good():
                DatesBook(lake_of(self._settings)).require(run_id)
        client = emr_client(self._settings)
        last = last_step(steps_of_cluster(client, self._cluster_id), self._step_name)
        if last and state_of(last) not in STEP_ACTIVE:
            self._give_back_turn(run_id)
        if last and state_of(last) == "COMPLETED":
            self.log.info("Step %s has completed while no try of this task was there to see it.", last["Id"])
            return [str(last["Id"])]
        if last and state_of(last) == "FAILED":
            self._require_that_it_may_pass(client, last, run_id)
        return self._add_and_wait(context, client, last if last and state_of(last) in STEP_ACTIVE else None, until)

    def _add_and_wait(self, context: Context, client: Any, attached: Mapping[str, Any] | None, until: str) -> Any:
        """Waits for the step that is there (`attached`), or for one that it adds."""
        run_id = context["dag_run"].run_id
        if self._one_at_a_time and attached is None:
            self._take_turn(context, client, until)
        self._step_id = str(attached["Id"]) if attached else self._add_step_once(client, run_id)
        # An earlier try may have waited for the turn, and died before it put the time-out back.
        if until or (self._one_at_a_time and context["ti"].try_number > 1):
            self._set_idle_timeout(client, timedelta(seconds=self._settings.idle_timeout_seconds))
        self._keep_links(context)
        self.log.info("Step '%s' (%s) on cluster %s", self._step_name, self._step_id, self._cluster_id)
        trigger = self._until_it_ends(self._step_id, run_id, created_at_of(attached) if attached else datetime.now(UTC))
        remembered = {"step_id": self._step_id, "was_there": attached is not None}
        self.defer(trigger=trigger, method_name="execute_complete", timeout=self._patience, kwargs=remembered)

    def _take_turn(self, context: Context, client: Any, until: str) -> None:
        """Returns if the run has the turn at the PCA. Otherwise it defers until the turn is free or the time is over.
        Raises AirflowFailException if the time is over, or if the cluster has ended.
        """
        run_id, book = context["dag_run"].run_id, pca_book(lake_of(self._settings))
        wish = Wish(run_id, (PCA_TURN,), cluster_id=self._cluster_id)
        answer = book.take(wish, is_active_run(context["ti"], self._settings))
        if answer.held:
            return
        now, patience = datetime.now(UTC), patience_for_the_pca(self._settings)
        end = datetime.fromisoformat(until) if until else now + patience
        holder = (
            f"Another run's turn at the PCA is not over: {who_holds(answer.busy)}, on cluster "
            f"{answer.busy[PCA_TURN].cluster_id}."
        )
        if now >= end:
            raise AirflowFailException(
                f"{holder} This run has waited for {patience / timedelta(hours=1):.1f} hours. What it featurised "
                "stays. See what keeps "
                "that run, end it if it hangs, then clear this task, or leave the PCA to the next run for these dates."
            )
        if not self._cluster_lives(client):
            cluster = client.describe_cluster(ClusterId=self._cluster_id)["Cluster"]
            raise self._end_of_cluster(cluster)
        self.log.info("%s This one waits for its own, until %s at most.", holder, end.isoformat(timespec="seconds"))
        if not until:
            self._set_idle_timeout(client, end - now + GRACE + timedelta(seconds=self._settings.idle_timeout_seconds))
        trigger = until_free(self._settings, book, run_id, wish.needed, end)
        self.defer(trigger=trigger, method_name="execute", kwargs={"until": end.isoformat()}, timeout=end - now + GRACE)

    def _give_back_turn(self, run_id: str) -> None:
        """Gives back the turn at the PCA. Call it only when the step has ended: another run's must not begin while this
        one still works.
        """
        if self._one_at_a_time:
            pca_book(lake_of(self._settings)).give_back_if_possible(run_id)

    def _set_idle_timeout(self, client: Any, timeout: timedelta) -> None:
        """Has EMR leave the cluster alone for so long while it is idle, because it has nothing to do while it waits for
        its turn.
        """
        seconds = int(min(timeout, _LONGEST_IDLE).total_seconds())
        try:
            client.put_auto_termination_policy(
                ClusterId=self._cluster_id, AutoTerminationPolicy={"IdleTimeout": seconds}
            )
        except (BotoCoreError, ClientError) as error:
            self.log.warning(
                "EMR does not change the idle time-out of cluster %s to %s seconds: %s",
                self._cluster_id,
                seconds,
                error,
            )

    def execute_complete(
        self, context: Context, event: dict[str, Any] | None = None, step_id: str = "", *, was_there: bool = False
    ) -> Any:
        event = event or {"status": "error", "message": "the trigger sent no event"}
        client = emr_client(self._settings)
        step_id = step_id or event["step_id"]
        step = client.describe_step(ClusterId=self._cluster_id, StepId=step_id)["Step"]
        state = state_of(step)
        if state not in STEP_ACTIVE:
            self._give_back_turn(context["dag_run"].run_id)
        if state == "COMPLETED":
            return [step_id]
        if state == "CANCELLED" and was_there and self._cluster_lives(client):
            self.log.info("Step %s was cancelled when the try before this one was ended. It is added again.", step_id)
            return self.execute(context)
        if state in STEP_ENDED_BADLY:
            raise self._failure(client, step, context["dag_run"].run_id)
        if event["status"] == "error":
            # The step lives, and the next try goes on with it.
            raise AirflowException(
                f"Waiting for step {step_id} of cluster {self._cluster_id} failed: {event.get('message')}"
            )
        self._give_up(client, step)
        raise AssertionError  # both above raise

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            step_id = (next_kwargs or {}).get("step_id") or self._find(emr_client(self._settings))
            if not step_id:  # its turn did not come while there was a triggerer
                return self.execute(context, until=datetime.now(UTC).isoformat())
            return self.execute_complete(context, {"status": "time_out"}, step_id)

    def on_kill(self) -> None:
        """Ends the step's process. The teardown would end it too, but later. While the task is deferred, its trigger
        does this.
        """
        if self._step_id:
            self._cancel(emr_client(self._settings), self._step_id)

    @property
    def _cluster_id(self) -> str:
        return str(self.job_flow_id)

    @property
    def _step(self) -> dict[str, Any]:
        steps: Any = self.steps  # a template, rendered by now
        (step,) = steps
        return dict(step)

    @property
    def _step_name(self) -> str:
        return str(self._step["Name"])

    @property
    def _patience(self) -> timedelta:
        return longest_step(self._settings_now) + GRACE

    def _until_it_ends(self, step_id: str, run_id: str, since: datetime) -> StepEndTrigger:
        waiting = asdict(Waiting.of(self._settings, since + timedelta(hours=self._settings.step_timeout_hours)))
        return StepEndTrigger(
            waiting, self._cluster_id, step_id, self._step_name, run_id, self._settings.log_wait_minutes
        )

    def _find(self, client: Any) -> str | None:
        return step_to_attach(steps_of_cluster(client, self._cluster_id), self._step_name)

    def _cluster_lives(self, client: Any) -> bool:
        return state_of(client.describe_cluster(ClusterId=self._cluster_id)["Cluster"]) in ALIVE

    def _add_step_once(self, client: Any, run_id: str) -> str:
        once = emr_client(self._settings, config=ONE_ATTEMPT_CONFIG)

        def add() -> str:
            return str(once.add_job_flow_steps(JobFlowId=self._cluster_id, Steps=[self._step])["StepIds"][0])

        try:
            return ask_once(add, lambda: self._find(client), f"step '{self._step_name}'")
        except ClientError as error:
            if may_pass(error):
                raise
            cluster = client.describe_cluster(ClusterId=self._cluster_id)["Cluster"]
            if state_of(cluster) not in ALIVE:
                before = last_step(steps_of_cluster(client, self._cluster_id), self._step_name)
                if before:  # by a try that did not live to say how it ended
                    raise self._failure(client, before, run_id) from error
                raise self._end_of_cluster(cluster) from error
            raise AirflowFailException(
                f"EMR refused step '{self._step_name}' on cluster {self._cluster_id}: {error}"
            ) from error

    def _require_that_it_may_pass(self, client: Any, failed: Mapping[str, Any], run_id: str) -> None:
        """Returns if a step that failed may be added again. Otherwise it fails as the try that waited for the step
        should have. It waits for the step's logs first.
        """
        if self._logs_may_come(failed, run_id):
            trigger = self._until_it_ends(str(failed["Id"]), run_id, datetime.now(UTC))
            self.defer(trigger=trigger, method_name="execute", timeout=self._patience)
        failure = self._failure(client, failed, run_id)
        if isinstance(failure, AirflowFailException):
            raise failure
        self.log.info("Step %s failed in a way that may pass: it is added again.", failed["Id"])

    def _logs_may_come(self, failed: Mapping[str, Any], run_id: str) -> bool:
        timeline = failed["Status"].get("Timeline", {})
        ended_at = timeline.get("EndDateTime")
        if ended_at is None or datetime.now(UTC) - ended_at >= timedelta(minutes=self._settings.log_wait_minutes):
            return False
        step_id = failed["Id"]
        prefixes = (failure_key(run_id, self._step_name), logs_prefix(self._cluster_id, step_id))
        lake = lake_of(self._settings)
        modified = {stored.key: stored.modified_at for prefix in prefixes for stored in lake.list_objects(prefix)}
        is_told = was_told(modified, run_id, self._step_name, timeline.get("StartDateTime"))
        return not (is_told or have_arrived(modified, step_id, ended_at))

    def _failure(self, client: Any, step: Mapping[str, Any], run_id: str) -> AirflowException:
        """Returns why the step ended badly, as an AirflowFailException unless another try may help."""
        cluster = client.describe_cluster(ClusterId=self._cluster_id)["Cluster"]
        if "StartDateTime" not in step["Status"].get("Timeline", {}) and state_of(cluster) not in ALIVE:
            return self._end_of_cluster(cluster)
        found = diagnose_step(lake_of(self._settings), step, cluster, run_id)
        message = step_failure_message(step, cluster, found)
        if state_of(cluster) not in ALIVE:
            return FailedForGoodError(f"{message}\n{_CLUSTER_IS_GONE}", found.cause.name)
        if state_of(step) == "FAILED" and found.may_pass:
            return FailedForNowError(
                f"{message}\nThis may pass, so the step is added again if tries are left.", found.cause.name
            )
        return FailedForGoodError(message, found.cause.name)

    def _give_up(self, client: Any, step: dict[str, Any]) -> None:
        try:
            self._cancel(client, step["Id"])
        except (BotoCoreError, ClientError) as error:
            # The message below must be told all the same; the teardown ends the cluster in any case.
            self.log.warning("The step could not be told to end: %s", error)
        cluster = client.describe_cluster(ClusterId=self._cluster_id)["Cluster"]
        logs_uri = uri(self._settings.lake_bucket, logs_prefix(self._cluster_id, step["Id"]))
        raise FailedForGoodError(
            given_up_message(step, cluster, logs_uri, self._settings.step_timeout_hours), TIME_OUT.name
        )

    def _end_of_cluster(self, cluster: dict[str, Any]) -> FailedForGoodError:
        found = diagnose_bootstrap(lake_of(self._settings), cluster)
        return FailedForGoodError(f"{bootstrap_failure_message(cluster, found)}\n{_CLUSTER_IS_GONE}", found.cause.name)

    def _cancel(self, client: Any, step_id: str) -> None:
        client.cancel_steps(ClusterId=self._cluster_id, StepIds=[step_id], StepCancellationOption="TERMINATE_PROCESS")

    def _keep_links(self, context: Context) -> None:
        common: dict[str, Any] = {
            "context": context,
            "operator": self,
            "region_name": self.hook.conn_region_name,
            "aws_partition": self.hook.conn_partition,
            "job_flow_id": self._cluster_id,
        }
        EmrClusterLink.persist(**common)
        try:
            EmrLogsLink.persist(**common, log_uri=get_log_uri(emr_client=self.hook.conn, job_flow_id=self._cluster_id))
        except (BotoCoreError, ClientError) as error:
            self.log.warning("The link to the logs can't be made: %s", error)
