"""The button of a step's task that opens the page with its run's progress."""

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
    """Airflow asks for the address where the task runs, each time it leaves there, and keeps it as an XCom."""

    @property
    def name(self) -> str:
        return "Progress"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002  # the base's signature
        return airflow_path() + progress_path(ti_key.run_id)


def airflow_path() -> str:
    """The folder Airflow's UI lies in, where it has no host of its own: its links then hold for every name of that
    host.
    """
    return urlsplit(str(conf.get("api", "base_url", fallback="/"))).path.rstrip("/")
