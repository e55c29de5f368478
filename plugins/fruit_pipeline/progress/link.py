"""Gives a step's task the button that opens the page with its run's progress."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

from fruit_pipeline.progress.page import progress_path

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class ProgressLink(BaseOperatorLink):
    """Links to the page with the run's progress. Airflow asks for the address in the process that runs the task, each
    time the task ends or defers, and keeps it as an XCom.
    """

    @property
    def name(self) -> str:
        return "Progress"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002  # the base's signature
        return airflow_path() + progress_path(ti_key.run_id)


def airflow_path() -> str:
    """Returns the folder that Airflow's UI lies in if it has no host of its own. Without the host, its links hold under
    every name of that host.
    """
    return urlsplit(str(conf.get("api", "base_url", fallback="/"))).path.rstrip("/")
