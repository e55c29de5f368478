"""Ends whatever clusters a run has. Those that have ended by themselves are no reason to fail."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

from airflow.providers.amazon.aws.operators.emr import EmrTerminateJobFlowOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from botocore.exceptions import BotoCoreError, ClientError

from fruit_contract.newer_python import UTC
from fruit_pipeline.aws import BOTOCORE_CONFIG
from fruit_pipeline.claims.claim_book import pca_book
from fruit_pipeline.claims.patience import CLUSTER_END
from fruit_pipeline.emr.airflow_id import airflow_id_of_run
from fruit_pipeline.emr.client import emr_client, have_ended_soon, terminate_clusters
from fruit_pipeline.emr.clusters import clusters_of_run
from fruit_pipeline.emr.states import ENDED, ClusterState, state_of
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.operators.clearing import states_of_tasks
from fruit_pipeline.places import Place, ask_each, ask_everywhere, known_places, place_of_run, settings_in
from fruit_pipeline.triggers.clusters_end import ClustersEndTrigger
from fruit_pipeline.triggers.wait import Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from fruit_pipeline.settings import Settings

# A cluster whose request is under way is looked for so often, over two minutes. A request is given up after one.
_LOOKS: Final = 3


class TerminateClusterOperator(EmrTerminateJobFlowOperator):
    """Asks EMR to end the run's clusters and waits until they have ended, without a worker slot if that takes more than
    a few seconds. Then it gives back the run's turn at the PCA.

    It finds them by their tags, because a run may have a cluster whose id no task knows (the one that asked for it was
    killed). It looks where the run was planned, and in every other place that is known: a run that was planned anew, or
    whose plan is gone, may have a cluster there. A cluster that ended with errors (its bootstrap failed, say) is gone
    and costs nothing, so it is no reason to fail here.

    It fails if a person marked the *run* as failed. Airflow then skips what has not run yet, so without a failed task
    among those that decide a run, the run would end as successful.

    :param settings: waiting times, and where else to look
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
        airflow_id = airflow_id_of_run(context["ti"])

        def end(there: Settings) -> list[str]:
            return self._told_to_end(there, context["dag_run"].run_id, airflow_id)

        found = ask_everywhere(self._settings, place_of_run(context["ti"]), end)
        ids_by_place = [(place, ids) for place, ids in found.items() if ids]
        if not ids_by_place:
            self._look_again_for_one_under_way(context)
            self.log.info("The run has no cluster that is still there.")
        elif left := [(place, ids) for place, ids in ids_by_place if not self._have_ended_soon(place, ids)]:
            self._wait(left)
        self._end(context)

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any] | None = None,  # noqa: ARG002  # the clusters are asked themselves
        clusters: Sequence[Any] = (),
    ) -> None:
        """Looks whether the clusters of the first place have ended, then waits for the next one. `clusters` holds the
        ids in each place, all of which were told to end at once.
        """
        if not clusters:
            # With `dag.test` nothing is handed on, so whatever has not ended is looked for again.
            return self.execute(context)
        (place, ids), *others = [(Place.read(place), ids) for place, ids in clusters]
        client = emr_client(settings_in(self._settings, place))
        states = {cluster_id: state_of(client.describe_cluster(ClusterId=cluster_id)["Cluster"]) for cluster_id in ids}
        self.log.info("%s", ", ".join(f"Cluster {cluster_id} is {state}" for cluster_id, state in states.items()))
        left = [f"{cluster_id} ({state})" for cluster_id, state in states.items() if state not in ENDED]
        if left:
            raise AirflowException(
                f"Not ended within {CLUSTER_END / timedelta(minutes=1):.0f} minutes: {', '.join(left)}. They cost "
                "money: this task tries again, and `aws emr terminate-clusters` ends them by hand."
            )
        if others:
            self._wait(others)
        return self._end(context)

    def _end(self, context: Context) -> None:
        """Gives back the run's turn at the PCA in every place where it may have been planned, because nothing of it
        writes there after this.
        """

        def give_back(there: Settings) -> None:
            pca_book(lake_of(there)).give_back_if_possible(context["dag_run"].run_id)

        own = place_of_run(context["ti"])
        ask_each(self._settings, dict.fromkeys([*([own] if own else []), *known_places(self._settings)]), give_back)
        self._fail_with_a_run_marked_as_failed(context)

    def _told_to_end(self, there: Settings, run_id: str, airflow_id: str) -> list[str]:
        """Tells the run's clusters in a place to end, and returns their ids, also of those that are ending already."""
        client = emr_client(there)
        ours = clusters_of_run(client, there.lake_bucket, self.dag_id, run_id, airflow_id=airflow_id)
        living = [str(cluster["Id"]) for cluster in ours if state_of(cluster) != ClusterState.TERMINATING]
        if living:
            terminate_clusters(client, living)
            self.log.info("Told to end: %s", ", ".join(living))
        return [str(cluster["Id"]) for cluster in ours]

    def _have_ended_soon(self, place: Place, ids: list[str]) -> bool:
        try:
            has_ended = have_ended_soon(emr_client(settings_in(self._settings, place)), ids)
        except (BotoCoreError, ClientError) as error:
            self.log.warning("Whether the clusters have ended can't be told yet: %s", error)
            return False  # the trigger bears more
        if has_ended:
            self.log.info("Ended: %s", ", ".join(ids))
        return has_ended

    def _wait(self, ids_by_place: Sequence[tuple[Place, list[str]]]) -> NoReturn:
        place, ids = ids_by_place[0]
        until = datetime.now(UTC) + CLUSTER_END
        self.defer(
            trigger=ClustersEndTrigger(asdict(Waiting.of(settings_in(self._settings, place), until)), ids),
            method_name="execute_complete",
            timeout=2 * CLUSTER_END,
            kwargs={"clusters": [[place.as_dict(), ids] for place, ids in ids_by_place]},
        )

    def _look_again_for_one_under_way(self, context: Context) -> None:
        """Raises AirflowException, so that this task looks again, if the asking task failed: its request may still be
        carried out. The last of a few tries does nothing.
        """
        if (
            states_of_tasks(context, self.dag_id).get(self._asking_task_id) == "failed"
            and context["ti"].try_number < _LOOKS
        ):
            raise AirflowException(
                f"No cluster of the run is listed. {self._asking_task_id} failed, so one may yet be: it is looked for "
                "again in a minute."
            )

    def _fail_with_a_run_marked_as_failed(self, context: Context) -> None:
        states = states_of_tasks(context, self.dag_id)
        failed = sorted(task_id for task_id, state in states.items() if state == "failed" and task_id != self.task_id)
        if failed and states.get(self._deciding_task_id) == "skipped":
            raise AirflowFailException(
                f"The clusters have ended. The run was marked as failed while {', '.join(failed)} was under way."
            )
