from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from fruit_contract.lake import safe_run_id
from local_cloud.project import PROJECT
from tests.dags.airflow_home import copy_database
from tests.plugins.sample_lake import DAY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.airflow


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, airflow_database: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns what became of every scenario, and what was logged in it."""
    copy_database(airflow_database)
    results: Path = tmp_path_factory.mktemp("flow") / "results.json"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FRUITS_", "AIRFLOW_CONN_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.dags.flow_scenarios", str(results)],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    sections = (section.partition("\n") for section in done.stdout.split("##### ")[1:])
    return json.loads(results.read_text(encoding="utf-8")), {name: text for name, _, text in sections}


def test_a_good_batch_goes_all_the_way_and_leaves_no_cluster(outcome: Any) -> None:
    result = outcome[0]["all_well"]
    assert result["run"] == "success"
    assert set(result["tasks"].values()) == {"success"}
    assert result["clusters"] == ["TERMINATED"]
    assert result["cluster_tags"][0]["ingest_date"] == DAY
    assert UUID(result["cluster_tags"][0]["airflow"])  # an id that a real Airflow gave
    assert f"reports/ingest_date={DAY}/index.html" in result["objects"]
    assert any(key.startswith("runs/") and key.count("/") == 1 for key in result["objects"])
    assert "43 images in 7 categories, 43 of them new" in outcome[1]["all_well"]


@pytest.mark.parametrize(
    ("scenario", "step"), [("features_step_fails", "extract_features"), ("pca_step_fails", "refresh_pca")]
)
def test_a_step_that_fails_fails_the_run_and_the_cluster_ends_all_the_same(
    outcome: Any, scenario: str, step: str
) -> None:
    result = outcome[0][scenario]
    assert result["run"] == "failed"
    assert result["tasks"][step] == "failed"
    assert result["tasks"]["terminate_cluster"] == "success"
    assert result["tasks"]["publish_report"] == "upstream_failed"
    assert result["clusters"] == ["TERMINATED"]
    assert f"Step '{step}'" in outcome[1][scenario]
    assert "ValueError: the step broke on purpose" in outcome[1][scenario]
    left = result["failures"][step]
    assert (left["event"], left["cause"]) == ("run_failed", "code_error")
    assert "ValueError: the step broke on purpose" in left["text"]
    assert "What to do: " in left["text"]


def test_a_step_that_never_ends_is_given_up_cancelled_and_its_cluster_ended(outcome: Any) -> None:
    result = outcome[0]["step_never_ends"]
    assert result["run"] == "failed"
    assert result["tasks"]["extract_features"] == "failed"
    assert result["cancelled_steps"] == 1
    assert result["clusters"] == ["TERMINATED"]
    assert "is still RUNNING after" in outcome[1]["step_never_ends"]


def test_a_run_above_the_budget_stops_before_anything_is_started(outcome: Any) -> None:
    result = outcome[0]["above_the_budget"]
    assert result["run"] == "failed"
    assert result["tasks"]["plan_run"] == "failed"
    assert result["clusters"] == []
    assert result["claims"] == {}
    left = result["failures"]["plan_run"]
    assert left["event"] == "over_budget"
    assert "the budget of a run is 0.01 EUR. Nothing was started.\nWhat to do: " in left["text"]


def test_a_run_above_the_budget_goes_on_when_it_is_asked_to(outcome: Any) -> None:
    assert outcome[0]["above_the_budget_on_purpose"]["run"] == "success"


@pytest.mark.parametrize(("scenario", "state"), [("all_well", None), ("pca_step_fails", "unfinished")])
def test_every_run_with_a_cluster_leaves_a_receipt(outcome: Any, scenario: str, state: str | None) -> None:
    result = outcome[0][scenario]
    assert result["tasks"]["write_receipt"] == "success"
    (record,) = result["records"]
    assert record.get("state") == state
    assert record["receipt"]["still_running"] == []
    assert record["receipt"]["planned"]["euros"] == record["plan"]["estimate"]["euros"]


def test_a_receipt_that_can_not_be_written_does_not_keep_the_report_from_being_published(outcome: Any) -> None:
    result = outcome[0]["receipt_fails"]
    assert result["run"] == "success"
    assert result["tasks"]["write_receipt"] == result["tasks"]["publish_report"] == "success"
    assert result["records"][0]["receipt"] is None
    assert "There is no receipt of this run" in outcome[1]["receipt_fails"]
    assert "not today" in outcome[1]["receipt_fails"]


def test_tables_that_do_not_balance_fail_the_run_after_the_cluster_ended(outcome: Any) -> None:
    result = outcome[0]["image_forgotten"]
    assert result["run"] == "failed"
    assert result["tasks"]["check_output"] == "failed"
    assert result["tasks"]["terminate_cluster"] == "success"
    assert result["clusters"] == ["TERMINATED"]
    assert "listed but not in the ledger: 1" in outcome[1]["image_forgotten"]


def test_a_batch_without_images_ends_green_without_a_cluster(outcome: Any) -> None:
    result = outcome[0]["empty_batch"]
    assert result["run"] == "success"
    assert result["tasks"].pop("wait_for_batch") == "success"
    assert set(result["tasks"].values()) == {"skipped"}
    assert result["clusters"] == []


def test_a_run_with_nothing_new_computes_nothing_starts_no_cluster_and_says_so(outcome: Any) -> None:
    result = outcome[0]["nothing_new"]
    assert result["run"] == "success"
    assert result["tasks"]["create_cluster"] == result["tasks"]["extract_features"] == "skipped"
    assert result["clusters"] == []
    assert f"Nothing new, everything is known: {DAY}." in outcome[1]["nothing_new"]
    assert f"runs/{safe_run_id(result['run_id'])}.json" in result["objects"]


def test_a_scheduled_run_without_a_batch_processes_the_late_one_of_the_day_before(outcome: Any) -> None:
    result, log = (found["batch_of_the_day_before_was_late"] for found in outcome)
    assert result["run"] == "success"
    assert set(result["tasks"].values()) == {"success"}
    assert result["cluster_tags"][0]["ingest_date"] == DAY
    assert result["clusters"] == ["TERMINATED"]
    assert "batch_missing: Fruits! no image batch" in log
    assert "No complete batch (no marker): 2026-11-23." in log
    assert f"Late, replaced or vanished images of earlier dates: {DAY}." in log


def test_days_without_any_batch_end_green_without_a_cluster_and_are_told(outcome: Any) -> None:
    result, log = (found["no_batch_for_days"] for found in outcome)
    assert result["run"] == "success"
    assert result["tasks"].pop("wait_for_batch") == "success"
    assert set(result["tasks"].values()) == {"skipped"}
    assert result["clusters"] == []
    assert "batch_missing: Fruits! no image batch" in log


def test_a_range_works_on_the_dates_that_are_there_and_names_the_others(outcome: Any) -> None:
    result = outcome[0]["range"]
    assert result["run"] == "success"
    assert result["clusters"] == ["TERMINATED"]
    assert "No complete batch (no marker): 2026-11-20, 2026-11-21." in outcome[1]["range"]


def test_the_claim_of_a_run_that_ended_holds_nobody_up(outcome: Any) -> None:
    result = outcome[0]["abandoned_claim"]
    assert result["run"] == "success"
    # And the run gives back its own.
    assert result["claims"] == {}


@pytest.mark.parametrize(
    ("scenario", "failing_task", "message"),
    [
        ("outside_the_eu", "wait_for_batch", "Region 'eu-west-2' is not inside the EU"),
        ("nothing_published", "plan_run", "Release 'r9' is not complete"),
        ("nodes_of_another_processor", "plan_run", "A cluster has nodes of one architecture"),
    ],
)
def test_what_can_not_run_fails_before_anything_is_created(
    outcome: Any, scenario: str, failing_task: str, message: str
) -> None:
    result = outcome[0][scenario]
    assert result["run"] == "failed"
    assert result["tasks"][failing_task] == "failed"
    assert result["tasks"]["create_cluster"] == result["tasks"]["terminate_cluster"] == "upstream_failed"
    assert result["clusters"] == []
    assert message in outcome[1][scenario]
