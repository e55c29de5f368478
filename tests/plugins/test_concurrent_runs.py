from __future__ import annotations

import pytest

from fruit_pipeline.cluster_request import cluster_name
from fruit_pipeline.concurrent_runs import DateIsBusyError, refuse_a_busy_date


def cluster(name: str) -> dict[str, str]:
    return {"Id": "j-ABC", "Name": name}


def test_a_date_that_another_cluster_works_on_is_busy() -> None:
    active = [cluster("nightly billing"), cluster(cluster_name("2026-11-22", "manual__2026-11-22T09:00:00+00:00"))]

    with pytest.raises(DateIsBusyError, match="2026-11-22 on cluster j-ABC"):
        refuse_a_busy_date(active, "2026-11-22")


def test_other_dates_and_other_peoples_clusters_do_not_matter() -> None:
    active = [cluster("nightly billing 2026-11-22"), cluster(cluster_name("2026-11-21", "scheduled__2026-11-21"))]

    refuse_a_busy_date(active, "2026-11-22")
