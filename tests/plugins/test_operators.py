from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from fruit_pipeline.settings import Settings
from tests.plugins.sample_lake import BUCKET, DAY, RUN_ID, VERSION

if TYPE_CHECKING:
    from datetime import datetime

    from tests.plugins.sample_lake import SampleLake

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

MARKER = f"s3://{BUCKET}/raw/ingest_date={DAY}/_SUCCESS"
SETTINGS = Settings(lake_bucket=BUCKET, poll_seconds=1)
TIMED_OUT = ("__fail__", {"error": "Trigger timeout"})


def context(run_type: str = "manual", conf: dict[str, Any] | None = None) -> Any:
    return {
        "dag_run": SimpleNamespace(run_type=run_type, run_id=RUN_ID, conf=conf),
        "ti": mock.Mock(),
        "params": {"ingest_date": None, "categories": []},
        "outlet_events": defaultdict(SimpleNamespace),
    }


@pytest.fixture
def sensor() -> Any:
    from fruit_pipeline.operators.wait_for_batch import WaitForBatchSensor

    return WaitForBatchSensor(task_id="wait_for_batch", settings=SETTINGS, bucket_key=MARKER)


def test_no_delivery_in_time_skips_a_scheduled_run_with_a_notice(sensor: Any) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException, match=f"No image batch within 23 hours: {MARKER} is not there"):
        sensor.resume_execution(*TIMED_OUT, context("scheduled"))


def test_no_delivery_in_time_fails_a_run_that_a_person_started(sensor: Any) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="make deliver"):
        sensor.resume_execution(*TIMED_OUT, context("manual"))


@pytest.mark.parametrize("run_type", ["scheduled", "manual", "backfill"])
def test_an_error_of_s3_is_an_error_and_never_a_skip(sensor: Any, run_type: str) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowSkipException

    event = {"event": {"status": "error", "message": "AccessDenied"}}
    with pytest.raises(AirflowException, match="AccessDenied") as caught:
        sensor.resume_execution("execute_complete", event, context(run_type))
    assert not isinstance(caught.value, AirflowSkipException)


def test_a_backfill_looks_once_and_skips_the_days_without_a_batch(sensor: Any) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with mock.patch.object(sensor, "poke", return_value=False) as poke, pytest.raises(AirflowSkipException, match="Nothing to do"):
        sensor.execute(context("backfill"))
    assert poke.call_count == 1


def test_other_runs_wait_in_the_triggerer_for_the_whole_address(sensor: Any) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    with mock.patch.object(sensor, "poke", return_value=False), pytest.raises(TaskDeferred) as caught:
        sensor.execute(context("scheduled"))
    assert caught.value.trigger.bucket_key == MARKER
    assert caught.value.trigger.wildcard_match is False
    assert caught.value.timeout.total_seconds() == 23 * 3600


def test_a_run_that_works_on_what_is_there_waits_for_nothing() -> None:
    from fruit_pipeline.operators.wait_for_batch import WaitForBatchSensor

    sensor = WaitForBatchSensor(task_id="wait_for_batch", settings=SETTINGS, bucket_key="")
    with mock.patch.object(sensor, "poke") as poke:
        sensor.execute(context("manual"))
    assert poke.call_count == 0


@pytest.mark.parametrize("run_type", ["asset_triggered", "backfill"])
def test_a_run_that_waits_for_nothing_is_still_refused_outside_the_eu(run_type: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from fruit_pipeline.operators.wait_for_batch import WaitForBatchSensor

    def sensor(settings: Settings) -> Any:
        return WaitForBatchSensor(task_id="wait_for_batch", settings=settings, bucket_key="")

    sensor(SETTINGS).execute(context(run_type))
    with pytest.raises(AirflowFailException, match="eu-west-2"):
        sensor(replace(SETTINGS, region="eu-west-2")).execute(context(run_type))


def test_a_misspelt_param_does_not_quietly_mean_another_day(sensor: Any) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"do not exist: ingest_dat\. There are: categories, ingest_date"):
        sensor.execute(context("manual", {"ingest_dat": "2026-11-20", "categories": []}))


def check_output(ingest_dates: list[str], listed_before: datetime, **options: Any) -> Any:
    from fruit_pipeline.operators.check_output import CheckOutputOperator

    fixed: dict[str, Any] = {"task_id": "check_output", "settings": SETTINGS, "categories": []}
    return CheckOutputOperator(**fixed, ingest_dates=ingest_dates, listed_before=listed_before.isoformat(), **options)


def test_check_output_returns_what_it_looked_at(sample_lake: SampleLake, after_listing: datetime) -> None:
    operator = check_output([DAY], after_listing)
    with mock.patch("fruit_pipeline.operators.check_output.lake_of", return_value=sample_lake.lake):
        result = operator.execute(context())
    assert (result["featurised"], result["problems"]) == (42, [])


def test_other_dags_are_told_what_was_found_sound(sample_lake: SampleLake, after_listing: datetime) -> None:
    from airflow.sdk import Asset

    asset = Asset(name="fruit_features", uri="s3://fruits-test/features")
    operator = check_output([DAY], after_listing, outlets=[asset])
    events = context()
    with mock.patch("fruit_pipeline.operators.check_output.lake_of", return_value=sample_lake.lake):
        operator.execute(events)
    assert events["outlet_events"][asset].extra == {
        "run_id": RUN_ID,
        "ingest_dates": [DAY],
        "categories": [],
        "images": 43,
        "featurised": 42,
        "rejected": 1,
        "pca_version": VERSION,
    }


def test_several_dates_are_checked_and_told_together(sample_lake: SampleLake, after_listing: datetime) -> None:
    from airflow.sdk import Asset
    from airflow.sdk.exceptions import AirflowFailException

    asset = Asset(name="fruit_features", uri="s3://fruits-test/features")
    sample_lake.add_date("2026-11-23")
    operator = check_output([DAY, "2026-11-23"], after_listing, outlets=[asset])
    sound = context()
    with mock.patch("fruit_pipeline.operators.check_output.lake_of", return_value=sample_lake.lake):
        operator.execute(sound)
    extra = sound["outlet_events"][asset].extra
    assert (extra["ingest_dates"], extra["images"], extra["pca_version"]) == ([DAY, "2026-11-23"], 86, VERSION)

    sample_lake.delete_below("rejected/ingest_date=2026-11-23/")
    spoilt = context()
    with (
        mock.patch("fruit_pipeline.operators.check_output.lake_of", return_value=sample_lake.lake),
        pytest.raises(AirflowFailException, match=f"1 problems in the tables of 2 dates from {DAY} to 2026-11-23:\n- 2026-11-23: rejected"),
    ):
        operator.execute(spoilt)
    assert not spoilt["outlet_events"]  # nobody is told of tables that are not sound


def test_check_output_fails_at_once_and_names_the_problems(sample_lake: SampleLake, after_listing: datetime) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    sample_lake.delete_below("features/")
    operator = check_output([DAY], after_listing)
    with (
        mock.patch("fruit_pipeline.operators.check_output.lake_of", return_value=sample_lake.lake),
        pytest.raises(AirflowFailException, match=f"7 problems in the tables of {DAY}") as caught,
    ):
        operator.execute(context())
    assert "- features/category=Kiwi/0a1b2c3d4e5f-0.parquet is not there; the ledger names it" in str(caught.value)
