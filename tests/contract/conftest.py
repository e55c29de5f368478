"""The steps' own fixtures: a lake behind a real S3 API, and Spark."""

from __future__ import annotations

from tests.spark_jobs.conftest import (
    other_network,
    published,
    s3_server,
    small_network,
    spark,
    spark_session,
    test_lake,
)

__all__ = ["other_network", "published", "s3_server", "small_network", "spark", "spark_session", "test_lake"]
