"""Runs Airflow's scheduler after loading what every task loads, because LocalExecutor forks a process for each task.

None of our own modules is loaded here, so that a task sees them as they are when it starts.
"""

from __future__ import annotations

import inspect
import sys
from functools import cache
from importlib import import_module
from typing import Final

LOADED_BEFOREHAND: Final = (
    "airflow.providers.amazon.aws.assets.s3",
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.amazon.aws.operators.emr",
    "airflow.providers.amazon.aws.sensors.s3",
    "airflow.providers.common.compat.assets",
    "airflow.providers.standard.decorators.python",
    "airflow.sdk.definitions.decorators.setup_teardown",
    "airflow.sdk.definitions.timetables.trigger",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.serialization.definitions.assets",
    "airflow.timetables.base",
    "matplotlib.backends.backend_agg",
    "pandas",
    "pyarrow.parquet",
)
SERVICES: Final = ("emr", "s3")


def main() -> None:
    """Runs `airflow` with the arguments of this process."""
    for name in LOADED_BEFOREHAND:
        import_module(name)
    share_service_descriptions()
    # This notes where each module is, which the first hook of a process wants to know to name its caller.
    inspect.stack()
    from airflow.__main__ import main as airflow

    sys.exit(airflow())  # type: ignore[no-untyped-call]


def share_service_descriptions() -> None:
    """Lets all AWS sessions of this process, and of those it forks, share the descriptions of the services, and reads
    those of `SERVICES` at once.

    Otherwise each session has its own loader, and each hook makes a session, which would read megabytes of JSON for its
    one client.
    """
    import boto3
    import botocore.session

    botocore.session.create_loader = cache(botocore.session.create_loader)
    for service in SERVICES:
        boto3.Session("nobody", "nothing").client(service, region_name="eu-west-1")


if __name__ == "__main__":
    main()
