"""Sends requests to EMR that must be carried out once, whatever becomes of their answers.

RunJobFlow and AddJobFlowSteps have no token by which EMR would recognise a repetition. An answer that is lost on its
way (a time-out, a dropped connection, an error 500) may stand for a request that was carried out: sent again, it would
be a second cluster or a second step.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from fruit_pipeline.aws import BOTOCORE_CONFIG, is_throttled, may_pass
from fruit_pipeline.emr.states import ENDED, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)

# botocore must not repeat such a request by itself.
ONE_ATTEMPT_CONFIG: Final = BOTOCORE_CONFIG | {"retries": {"mode": "standard", "total_max_attempts": 1}}
ATTEMPTS: Final = 8
# It is waited this long until what was carried out is surely listed. EMR itself promises no time.
SETTLE_SECONDS: Final = 10
# This is EMR's own limit.
MOST_TERMINATED_AT_ONCE: Final = 10
LOOKS_AT_AN_END: Final = 5
_LONGEST_WAIT_SECONDS: Final = 60
_back_off: Final = wait_random_exponential(multiplier=1, max=_LONGEST_WAIT_SECONDS)


def emr_client(settings: Settings, *, config: dict[str, Any] | None = None) -> Any:
    """Returns boto3's EMR client through the settings' Airflow connection. It retries patiently unless `config` says
    otherwise.
    """
    from airflow.providers.amazon.aws.hooks.emr import EmrHook

    return EmrHook(
        aws_conn_id=settings.aws_conn_id,
        region_name=settings.region,
        emr_conn_id=None,
        config=config or BOTOCORE_CONFIG,
    ).get_conn()


def ask_once(
    ask: Callable[[], str], find: Callable[[], str | None], what: str, *, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Returns the id of the cluster or step that `find` finds, or else of the one that `ask` asks for.

    It looks first, and again before it repeats a request whose answer was lost or that was refused for the moment.
    `ask` must not repeat itself. Raises what `ask` raised: at once if EMR refused the request for good, else after
    ATTEMPTS.
    """

    def say(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        LOG.warning(
            "EMR did not answer the request for %s (%s). Whether it was carried out is looked up before it is sent "
            "again.",
            what,
            error,
        )

    retrying = Retrying(
        retry=retry_if_exception(may_pass),
        wait=_pause,
        stop=stop_after_attempt(ATTEMPTS),
        before_sleep=say,
        sleep=sleep,
        reraise=True,
    )
    for attempt in retrying:
        with attempt:
            found = find()
            if found:
                LOG.info("There is %s %s already: it is gone on with.", what, found)
                return found
            return ask()
    raise AssertionError("tenacity ended without a result")


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return _back_off(state) + (0 if error is not None and is_throttled(error) else SETTLE_SECONDS)


def terminate_clusters(client: Any, cluster_ids: Sequence[str]) -> None:
    """Tells the clusters to end. To ask again for one that is ending already changes nothing."""
    for first in range(0, len(cluster_ids), MOST_TERMINATED_AT_ONCE):
        client.terminate_job_flows(JobFlowIds=list(cluster_ids[first : first + MOST_TERMINATED_AT_ONCE]))


def have_ended_soon(client: Any, cluster_ids: Sequence[str], *, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Returns whether clusters that were told to end have ended, after a few seconds at most.

    A cluster with nodes takes minutes. The local one does not, nor one that has no nodes yet.
    """
    left = list(cluster_ids)
    for look in range(LOOKS_AT_AN_END):
        if look:
            sleep(1)
        left = [name for name in left if state_of(client.describe_cluster(ClusterId=name)["Cluster"]) not in ENDED]
        if not left:
            return True
    return False
