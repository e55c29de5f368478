from __future__ import annotations

import logging
from dataclasses import asdict, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from fruit_contract.lake import run_key
from fruit_pipeline.emr.airflow_id import AIRFLOW_VARIABLE
from fruit_pipeline.lake.store import Lake
from fruit_pipeline.operators.flow_tasks import write_receipt_in_task
from fruit_pipeline.places import Place, remember
from fruit_pipeline.planning.estimate import Nodes, estimate
from tests.plugins.memory_emr import AIRFLOW_ID, DAG_ID, SETTINGS, request_of
from tests.plugins.report.test_receipt import facts, instance
from tests.plugins.sample_lake import DAY, RUN_ID, MemoryS3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fruit_pipeline.settings import Settings
    from tests.plugins.memory_variables import MemoryVariables

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

CHANGED = replace(
    SETTINGS, lake_bucket="another-lake", region="eu-central-1", core_instance_type="m5.4xlarge", spot_price_share=0.1
)


def context(planned: Any) -> dict[str, Any]:
    def pull(task_ids: str, key: str = "return_value") -> Any:
        assert task_ids == "plan_run"
        return planned if key == "return_value" else (planned or {}).get(key)

    task_instance = SimpleNamespace(xcom_pull=pull)
    run = SimpleNamespace(run_id=RUN_ID, start_date=datetime(2026, 11, 22, 8, tzinfo=UTC))
    return {"dag": SimpleNamespace(dag_id=DAG_ID), "dag_run": run, "ti": task_instance}


def plan() -> dict[str, Any]:
    """Returns what a plan told that was made with other settings than the CHANGED ones."""
    return {
        "ingest_dates": [DAY],
        "categories": [],
        "release": "r1",
        "place": Place.of(SETTINGS).as_dict(),
        "listed_at": "2026-11-22T08:00:00+00:00",
        "cluster_request": request_of(AIRFLOW_ID),
        "plan": {"estimate": asdict(estimate(1000, SETTINGS, nodes=Nodes(1)))},
    }


@pytest.fixture
def lakes(variables: MemoryVariables) -> Iterator[dict[str, Lake]]:
    lakes = {settings.lake_bucket: Lake(MemoryS3(), settings.lake_bucket) for settings in (SETTINGS, CHANGED)}
    with mock.patch("fruit_pipeline.operators.flow_tasks.lake_of", lambda settings: lakes[settings.lake_bucket]):
        yield lakes


@pytest.fixture
def costs() -> Iterator[dict[str, list[Any]]]:
    """Yields a dictionary for the clusters that the run has had, by region."""
    costs: dict[str, list[Any]] = {}

    def read(settings: Settings, dag_id: str, run_id: str, planned_at: datetime, airflow_id: str) -> list[Any]:
        assert (dag_id, run_id, planned_at.isoformat(), airflow_id) == (
            DAG_ID,
            RUN_ID,
            "2026-11-22T08:00:00+00:00",
            AIRFLOW_ID,
        )
        return costs.get(settings.region, [])

    with mock.patch("fruit_pipeline.emr.clusters.read_cluster_costs", read):
        yield costs


def test_the_receipt_is_written_where_the_run_was_planned_with_the_prices_of_its_plan(
    lakes: dict[str, Lake], costs: dict[str, list[Any]]
) -> None:
    costs[SETTINGS.region] = [facts(instance("CORE", 0, 60), instance("TASK", 0, 60, market="SPOT"))]
    receipt = write_receipt_in_task(context(plan()), CHANGED)
    assert receipt is not None
    spot = SETTINGS.prices["m5.xlarge"] * SETTINGS.spot_price_share
    assert [row["euros"] for row in receipt["instance_hours"]] == [SETTINGS.prices["m5.xlarge"], spot]
    written = {bucket: [stored.key for stored in lake.list_objects("")] for bucket, lake in lakes.items()}
    assert written == {SETTINGS.lake_bucket: [run_key(RUN_ID)], CHANGED.lake_bucket: []}


def test_the_receipt_counts_clusters_of_all_places_once(lakes: dict[str, Lake], costs: dict[str, list[Any]]) -> None:
    """Two connections may lead to the same clusters."""
    remember(Place.of(replace(SETTINGS, aws_conn_id="another")))
    costs[SETTINGS.region] = [facts(instance("CORE", 0, 60))]
    costs[CHANGED.region] = [facts(instance("CORE", 0, 60), name="j-elsewhere")]
    receipt = write_receipt_in_task(context(plan()), CHANGED)
    assert receipt is not None
    assert sorted(receipt["clusters"]) == ["j-1", "j-elsewhere"]


def test_of_a_run_whose_plan_is_gone_the_log_says_what_it_took(
    lakes: dict[str, Lake], costs: dict[str, list[Any]], variables: MemoryVariables, caplog: pytest.LogCaptureFixture
) -> None:
    remember(Place.of(SETTINGS))
    variables.values[AIRFLOW_VARIABLE] = AIRFLOW_ID
    costs[SETTINGS.region] = [facts(instance("CORE", 0, 60))]
    with caplog.at_level(logging.WARNING):
        assert write_receipt_in_task(context(None), CHANGED) is None
    assert "nothing to compare with" in caplog.text
    assert "Clusters: j-1." in caplog.text
    assert "1.00 hours of on-demand m5.xlarge: 0.25 EUR." in caplog.text
    assert "Traceback" not in caplog.text
