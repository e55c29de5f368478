"""Ends whatever clusters a run has, and is content with those that have ended by themselves."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.amazon.aws.operators.emr import EmrTerminateJobFlowOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from fruit_contract.newer_python import UTC
from fruit_pipeline.aws import BOTOCORE_CONFIG
from fruit_pipeline.emr.client import emr_client, terminate_clusters
from fruit_pipeline.emr.clusters import clusters_of_run
from fruit_pipeline.emr.states import ENDED, ClusterState, state_of
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.planning.claim_book import pca_book
from fruit_pipeline.planning.patience import CLUSTER_END
from fruit_pipeline.triggers.clusters_end import ClustersEndTrigger
from fruit_pipeline.triggers.emr_wait import Waiting

if TYPE_CHECKING:
    from airflow.sdk import Context

    from fruit_pipeline.settings import Settings

# For a cluster whose request is under way: over two minutes, and a request is given up after one.
_LOOKS: Final = 3


class TerminateClusterOperator(EmrTerminateJobFlowOperator):
    """Asks EMR to end the run's clusters and waits, without a worker slot, until they have. Then it gives back the run's turn at the PCA.

    It finds them by their tags: a run may have a cluster that no task knows the id of (the one that asked for it was killed). A cluster
    that ended with errors (its bootstrap failed, say) is gone and costs nothing: it is no reason to fail here.

    Fails when a person marked the *run* as failed: Airflow skips what has not run yet, so without a failed task among those that decide a
    run it would end as successful.

    :param settings: region, connection, bucket and waiting times
    :param asking_task_id: the task that asks for the cluster
    :param deciding_task_id: the task whose success is the run's
    """

    template_fields = ()

    def __init__(self, *, settings: Settings, asking_task_id: str, deciding_task_id: str, **kwargs: Any) -> None:
        super().__init__(
            job_flow_id="",
            aws_conn_id=settings.aws_conn_id,
            region_name=settings.region,
            botocore_config=BOTOCORE_CONFIG,
            deferrable=True,
            **kwargs,
        )
        self._settings = settings
        self._asking_task_id = asking_task_id
        self._deciding_task_id = deciding_task_id

    def execute(self, context: Context) -> None:
        client = emr_client(self._settings)
        ours = clusters_of_run(client, self._settings.lake_bucket, self.dag_id, context["dag_run"].run_id)
        ids = [str(cluster["Id"]) for cluster in ours]
        if not ids:
            self._look_again_for_one_under_way(context)
            self.log.info("The run has no cluster that is still there.")
            self._end(context)
            return
        living = [str(cluster["Id"]) for cluster in ours if state_of(cluster) != ClusterState.TERMINATING]
        if living:
            terminate_clusters(client, living)
            self.log.info("Told to end: %s", ", ".join(living))
        until = datetime.now(UTC) + CLUSTER_END
        self.defer(
            trigger=ClustersEndTrigger(asdict(Waiting.of(self._settings, until)), ids),
            method_name="execute_complete",
            timeout=2 * CLUSTER_END,
            kwargs={"cluster_ids": ids},
        )

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None, cluster_ids: Any = ()) -> None:
        client = emr_client(self._settings)
        cluster_ids = cluster_ids or (event or {})["cluster_ids"]
        states = {cluster_id: state_of(client.describe_cluster(ClusterId=cluster_id)["Cluster"]) for cluster_id in cluster_ids}
        self.log.info("%s", ", ".join(f"Cluster {cluster_id} is {state}" for cluster_id, state in states.items()))
        left = [f"{cluster_id} ({state})" for cluster_id, state in states.items() if state not in ENDED]
        if left:
            raise AirflowException(
                f"Not ended within {CLUSTER_END / timedelta(minutes=1):.0f} minutes: {', '.join(left)}. They cost money: this task tries "
                "again, and `aws emr terminate-clusters` ends them by hand."
            )
        self._end(context)

    def _end(self, context: Context) -> None:
        """Nothing of the run writes any more."""
        pca_book(lake_of(self._settings)).give_back_if_possible(context["dag_run"].run_id)
        self._fail_with_a_run_marked_as_failed(context)

    def _look_again_for_one_under_way(self, context: Context) -> None:
        """A request that its task did not live to see answered may be carried out after the first look."""
        if self._task_states(context).get(self._asking_task_id) == "failed" and context["ti"].try_number < _LOOKS:
            raise AirflowException(
                f"No cluster of the run is listed. {self._asking_task_id} failed, so one may yet be: it is looked for again in a minute."
            )

    def _task_states(self, context: Context) -> dict[str, str]:
        run_id = context["dag_run"].run_id
        states: dict[str, str] = context["ti"].get_task_states(dag_id=self.dag_id, run_ids=[run_id]).get(run_id, {})
        return states

    def _fail_with_a_run_marked_as_failed(self, context: Context) -> None:
        states = self._task_states(context)
        failed = sorted(task_id for task_id, state in states.items() if state == "failed" and task_id != self.task_id)
        if failed and states.get(self._deciding_task_id) == "skipped":
            raise AirflowFailException(f"The clusters have ended. The run was marked as failed while {', '.join(failed)} was under way.")
