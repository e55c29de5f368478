"""Holds the sample lake as fixtures. It is built once, and every test gets a copy to break."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from unittest import mock

import pytest

import tests.dags.airflow_home  # noqa: F401  # makes Airflow's home before Airflow is imported
from fruit_pipeline.emr.client import ask_once, have_ended_soon
from fruit_pipeline.lake.store import Lake
from tests.plugins.memory_emr import FILES, Emr
from tests.plugins.memory_variables import MemoryVariables
from tests.plugins.sample_lake import BUCKET, MemoryS3, SampleLake, build_sample_lake

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def empty_lake() -> SampleLake:
    client = MemoryS3()
    return SampleLake(Lake(client, BUCKET), client)


@pytest.fixture
def sample_lake(_built_once: SampleLake) -> SampleLake:
    client = MemoryS3(_built_once.client.objects)
    return replace(_built_once, lake=Lake(client, BUCKET), client=client)


@pytest.fixture(scope="session")
def _built_once() -> SampleLake:
    return build_sample_lake()


@pytest.fixture
def after_listing() -> datetime:
    """Returns a moment after everything of the sample was written."""
    return datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def variables() -> Iterator[MemoryVariables]:
    """Puts variables in memory in place of Airflow's."""
    variables = MemoryVariables()
    with mock.patch("fruit_pipeline.places.variables", return_value=variables):
        yield variables


@pytest.fixture
def emr(variables: MemoryVariables) -> Iterator[Emr]:
    """Puts an EMR in memory in place of the one that operators ask for."""
    emr = Emr()
    with (
        mock.patch(f"{FILES}.create_cluster.emr_client", emr.client),
        mock.patch(f"{FILES}.run_step.emr_client", emr.client),
        mock.patch(f"{FILES}.terminate_cluster.emr_client", emr.client),
        mock.patch("fruit_pipeline.planning.earlier_clusters.emr_client", emr.client),
        mock.patch("fruit_pipeline.request.context.emr_client", emr.client),
        mock.patch(f"{FILES}.create_cluster.ask_once", partial(ask_once, sleep=lambda _: None)),
        mock.patch(f"{FILES}.run_step.ask_once", partial(ask_once, sleep=lambda _: None)),
        mock.patch(f"{FILES}.terminate_cluster.have_ended_soon", partial(have_ended_soon, sleep=emr.pass_time)),
    ):
        yield emr


@pytest.fixture
def lake() -> Iterator[Lake]:
    """Puts a lake in memory in place of the one that holds claims and steps' logs."""
    lake = Lake(MemoryS3(), BUCKET)
    with (
        mock.patch(f"{FILES}.run_step.lake_of", return_value=lake),
        mock.patch(f"{FILES}.terminate_cluster.lake_of", return_value=lake),
        mock.patch(f"{FILES}.plan_run.lake_of", return_value=lake),
    ):
        yield lake
