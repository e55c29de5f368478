"""The sample lake as fixtures. Built once; every test gets a copy to break."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

import tests.dags.airflow_home  # noqa: F401  # makes Airflow's home before Airflow is imported
from fruit_pipeline.lake_reader import Lake
from tests.plugins.sample_lake import BUCKET, MemoryS3, SampleLake, build_sample_lake


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
    """A moment after everything of the sample was written."""
    return datetime(2100, 1, 1, tzinfo=UTC)
