"""Parses the DAG folder in an Airflow home of the tests' own."""

from __future__ import annotations

import os
from typing import Any

import pytest

import tests.dags.airflow_home  # noqa: F401  # makes Airflow's home before Airflow is imported
from local_cloud.project import PROJECT


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Removes what the person who runs the tests has set for AWS and for the product, and sets a lake."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "FRUITS_", "AIRFLOW_CONN_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FRUITS_LAKE_BUCKET", "fruits-lake")
    return monkeypatch


@pytest.fixture
def dag_bag(clean_environment: pytest.MonkeyPatch) -> Any:
    """Returns the DAG folder as Airflow parses it with default settings."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(PROJECT / "dags")


@pytest.fixture
def main_dag(dag_bag: Any) -> Any:
    return dag_bag.dags["fruit_image_pipeline"]
