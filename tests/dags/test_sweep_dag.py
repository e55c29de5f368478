from __future__ import annotations

from typing import Any

import pytest

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]


@pytest.fixture
def sweep_dag(dag_bag: Any) -> Any:
    return dag_bag.dags["sweep_orphan_clusters"]


def test_the_net_is_up_without_anybody_switching_it_on(sweep_dag: Any) -> None:
    assert sweep_dag.is_paused_upon_creation is False
    assert sweep_dag.catchup is False
    assert sweep_dag.max_active_runs == 1
    assert sweep_dag.doc_md


def test_it_looks_more_often_than_a_cluster_is_old_enough_to_cost_much(sweep_dag: Any) -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable

    assert coerce_to_core_timetable(sweep_dag.timetable).summary == "*/30 * * * *"
