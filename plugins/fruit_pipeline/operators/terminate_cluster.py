"""Ends a cluster, and is content when it has ended by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow.providers.amazon.aws.operators.emr import EmrTerminateJobFlowOperator

from fruit_pipeline.lake_reader import BOTOCORE_CONFIG

if TYPE_CHECKING:
    from airflow.sdk import Context

    from fruit_pipeline.settings import Settings

_WAIT_SECONDS: Final = 30 * 60
_ENDED: Final = frozenset({"TERMINATED", "TERMINATED_WITH_ERRORS"})


class TerminateClusterOperator(EmrTerminateJobFlowOperator):
    """Asks EMR to end a cluster and waits, without a worker slot, until it has.

    A cluster that ended with errors (its bootstrap failed, say) is gone and costs nothing: the provider's operator
    would fail here and try again, and hide which task really failed.

    :param settings: region, connection and waiting times
    :param job_flow_id: the cluster (templated)
    """

    def __init__(self, *, settings: Settings, job_flow_id: str, **kwargs: Any) -> None:
        super().__init__(
            job_flow_id=job_flow_id,
            aws_conn_id=settings.aws_conn_id,
            region_name=settings.region,
            botocore_config=BOTOCORE_CONFIG,
            waiter_delay=settings.poll_seconds,
            waiter_max_attempts=max(1, _WAIT_SECONDS // settings.poll_seconds),
            deferrable=True,
            **kwargs,
        )

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> None:
        state = self.hook.conn.describe_cluster(ClusterId=self.job_flow_id)["Cluster"]["Status"]["State"]
        if state in _ENDED:
            self.log.info("Cluster %s is %s.", self.job_flow_id, state)
        else:
            super().execute_complete(context, event)
