"""Airflow's scheduler, with what every task imports loaded beforehand: LocalExecutor forks a process for each task.

None of our own modules is loaded here, so that a task sees them as they are when it starts.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

LOADED_BEFOREHAND: Final = (
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.amazon.aws.operators.emr",
    "airflow.providers.amazon.aws.sensors.s3",
    "airflow.sdk.execution_time.task_runner",
    "matplotlib.backends.backend_agg",
    "pandas",
    "pyarrow.parquet",
)


def main() -> None:
    """Runs `airflow` with the arguments of this process."""
    for name in LOADED_BEFOREHAND:
        import_module(name)
    from airflow.__main__ import main as airflow

    sys.exit(airflow())  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
