"""Asks for a run's cluster, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.links.emr import EmrClusterLink, EmrLogsLink, get_log_uri
from airflow.providers.amazon.aws.operators.emr import EmrCreateJobFlowOperator
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import BotoCoreError, ClientError

from fruit_pipeline.aws import BOTOCORE_CONFIG, may_pass
from fruit_pipeline.emr.client import ONE_ATTEMPT_CONFIG, ask_once, emr_client, terminate_clusters
from fruit_pipeline.emr.cluster_request import AIRFLOW_TAG
from fruit_pipeline.emr.clusters import clusters_of_run
from fruit_pipeline.emr.states import cluster_to_use, tags_of
from fruit_pipeline.operators.clearing import require_teardown, states_of_tasks
from fruit_pipeline.operators.runs_place import InRunsPlace
from fruit_pipeline.places import Place, remember

if TYPE_CHECKING:
    from airflow.sdk import Context

    from fruit_pipeline.settings import Settings


class CreateClusterOperator(InRunsPlace, EmrCreateJobFlowOperator):
    """Asks EMR for the run's cluster and returns its id, without waiting for the cluster. If it is there already, it is
    found by its tags.

    So a try whose answer was lost (a time-out, a worker that died) leaves no second cluster, and a task that is tried
    again uses the cluster it has. Nothing is waited for here, because a setup that fails would keep its teardown from
    running.

    It asks for nothing if the teardown has run already, as when a person cleared this task and not that one.

    :param settings: everything but region, connection and bucket
    :param place: those, as the plan says (templated)
    :param job_flow_overrides: the body of RunJobFlow (templated)
    :param teardown_task_id: the task that ends the cluster
    """

    template_fields = ("job_flow_overrides", "place")

    def __init__(
        self, *, settings: Settings, place: Any, job_flow_overrides: Any, teardown_task_id: str, **kwargs: Any
    ) -> None:
        super().__init__(
            job_flow_overrides=job_flow_overrides,
            aws_conn_id=settings.aws_conn_id,
            region_name=settings.region,
            emr_conn_id=None,
            botocore_config=BOTOCORE_CONFIG,
            deferrable=False,
            **kwargs,
        )
        self.place = place
        self._settings_now = settings
        self._teardown_task_id = teardown_task_id

    def execute(self, context: Context) -> str:
        require_teardown(states_of_tasks(context, self.dag_id), self._teardown_task_id)
        request: Any = self.job_flow_overrides  # a template, rendered by now
        # The place is remembered before there is anything to look for there.
        remember(Place.of(self._settings))
        patient, once = emr_client(self._settings), emr_client(self._settings, config=ONE_ATTEMPT_CONFIG)

        def find() -> str | None:
            run_id, airflow_id = context["dag_run"].run_id, tags_of(request).get(AIRFLOW_TAG, "")
            ours = clusters_of_run(patient, self._settings.lake_bucket, self.dag_id, run_id, airflow_id=airflow_id)
            cluster_id, surplus = cluster_to_use(ours)
            if surplus:
                self.log.warning("The run has more clusters than it needs, these are ended: %s", ", ".join(surplus))
                terminate_clusters(patient, surplus)
            return cluster_id

        try:
            cluster_id = ask_once(lambda: str(once.run_job_flow(**request)["JobFlowId"]), find, "a cluster")
        except ClientError as error:
            if may_pass(error):
                raise
            raise AirflowFailException(f"EMR refused the request for cluster '{request['Name']}': {error}") from error
        self.log.info("Cluster %s: %s", cluster_id, request["Name"])
        self._keep_links(context, cluster_id)
        return cluster_id

    def on_kill(self) -> None:
        """Does nothing: the teardown finds the cluster by its tags, whatever this task knew of it."""

    def _keep_links(self, context: Context, cluster_id: str) -> None:
        common: dict[str, Any] = {
            "context": context,
            "operator": self,
            "region_name": self.hook.conn_region_name,
            "aws_partition": self.hook.conn_partition,
            "job_flow_id": cluster_id,
        }
        EmrClusterLink.persist(**common)
        try:
            EmrLogsLink.persist(**common, log_uri=get_log_uri(emr_client=self.hook.conn, job_flow_id=cluster_id))
        except (BotoCoreError, ClientError) as error:
            # The cluster's id must not be lost because a link can't be made.
            self.log.warning("The link to the logs can't be made: %s", error)
