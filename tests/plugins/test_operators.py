# ruff: noqa: ARG002, N803  # boto3 names its arguments so

from __future__ import annotations

import gzip
from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from fruit_pipeline.claims import claim
from fruit_pipeline.lake_reader import Lake
from fruit_pipeline.settings import Settings
from tests.plugins.sample_lake import BUCKET, DAY, RUN_ID, VERSION, MemoryS3

if TYPE_CHECKING:
    from collections.abc import Iterator
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


class Emr:
    """The few calls of boto3's EMR client that running a step needs."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.submitted: list[Any] = []
        self.cancelled: list[str] = []

    def add_job_flow_steps(self, *, JobFlowId: str, Steps: list[Any]) -> Any:
        self.submitted += Steps
        return {"StepIds": ["s-1"], "ResponseMetadata": {"HTTPStatusCode": 200}}

    def describe_cluster(self, *, ClusterId: str) -> Any:
        return {"Cluster": {"Id": ClusterId, "LogUri": f"s3://{BUCKET}/logs/", "Status": {"State": self.state}}}

    def describe_step(self, *, ClusterId: str, StepId: str) -> Any:
        return {"Step": {"Id": StepId, "Name": "refresh_pca", "Status": {"State": self.state}}}

    def cancel_steps(self, *, ClusterId: str, StepIds: list[str], StepCancellationOption: str) -> None:
        self.cancelled += StepIds


@pytest.fixture
def lake() -> Iterator[Lake]:
    lake = Lake(MemoryS3(), BUCKET)
    with mock.patch("fruit_pipeline.operators.run_step.lake_of", return_value=lake):
        yield lake


def step_operator(emr: Emr, *, deferrable: bool, **options: Any) -> Any:
    from fruit_pipeline.operators.run_step import RunStepOperator

    operator = RunStepOperator(
        task_id="refresh_pca", settings=SETTINGS, job_flow_id="j-1", steps=[{"Name": "refresh_pca"}], deferrable=deferrable, **options
    )
    # A cached property of the provider's base class.
    operator.__dict__["hook"] = SimpleNamespace(
        conn=emr, conn_region_name="eu-west-1", conn_partition="aws", add_job_flow_steps=add_through(emr), get_waiter=mock.Mock()
    )
    return operator


def terminate_operator(emr: Emr) -> Any:
    from fruit_pipeline.operators.terminate_cluster import TerminateClusterOperator

    operator = TerminateClusterOperator(task_id="terminate_cluster", settings=SETTINGS, job_flow_id="j-1")
    operator.__dict__["hook"] = SimpleNamespace(conn=emr)
    return operator


def add_through(emr: Emr) -> Any:
    def add(*, job_flow_id: str, steps: list[Any], **_: Any) -> list[str]:
        return list(emr.add_job_flow_steps(JobFlowId=job_flow_id, Steps=steps)["StepIds"])

    return add


def test_submits_once_and_returns_the_step(lake: Lake) -> None:
    emr = Emr("COMPLETED")
    operator = step_operator(emr, deferrable=False)
    assert operator.execute(context()) == ["s-1"]
    assert emr.submitted == [{"Name": "refresh_pca"}]
    assert operator.retries == 0


def test_a_step_is_not_added_for_a_run_that_lost_its_dates(lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    emr = Emr("COMPLETED")
    with pytest.raises(AirflowFailException, match="taken over its ingest dates"):
        step_operator(emr, deferrable=False, needs_claim=True).execute(context())
    assert emr.submitted == []
    claim(lake, RUN_ID, [DAY])
    assert step_operator(emr, deferrable=False, needs_claim=True).execute(context()) == ["s-1"]


def test_the_claim_is_looked_at_before_the_task_is_deferred_and_must_be_the_runs_own(lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    claim(lake, "another run", [DAY])
    emr = Emr("RUNNING")
    with pytest.raises(AirflowFailException, match=r"The run manual__.* can't be gone on with\. Trigger a new run") as caught:
        step_operator(emr, deferrable=True, needs_claim=True).execute(context())
    assert RUN_ID in str(caught.value)
    assert emr.submitted == []


def test_a_step_that_fails_while_its_slot_is_held_is_explained(lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    lake.write("logs/j-1/steps/s-1/stderr.gz", gzip.compress("ValueError: Äpfel\n".encode()), "application/gzip")
    operator = step_operator(Emr("FAILED"), deferrable=False)
    with (
        mock.patch("fruit_pipeline.operators.run_step.wait", side_effect=AirflowException("Waiter error")),
        pytest.raises(AirflowFailException, match=r"Step 'refresh_pca' \(s-1\) on cluster j-1 ended as FAILED") as caught,
    ):
        operator.execute(context())
    assert f"s3://{BUCKET}/logs/j-1/steps/s-1/" in str(caught.value)
    assert "ValueError: Äpfel" in str(caught.value)


def test_a_step_that_fails_while_the_task_is_deferred_is_explained(lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    operator = step_operator(Emr("CANCELLED"), deferrable=True)
    event = {"status": "error", "message": "['CANCELLED'] - []", "value": ["s-1"]}
    with pytest.raises(AirflowFailException, match="ended as CANCELLED"):
        operator.execute_complete(context(), event)


def test_a_completed_step_is_returned_after_deferral(lake: Lake) -> None:
    operator = step_operator(Emr("COMPLETED"), deferrable=True)
    assert operator.execute_complete(context(), {"status": "success", "value": ["s-1"]}) == ["s-1"]


def test_a_lost_trigger_is_an_error_and_not_a_success(lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="the trigger sent no event"):
        step_operator(Emr("RUNNING"), deferrable=True).execute_complete(context(), None)


def test_a_task_that_is_killed_cancels_its_step(lake: Lake) -> None:
    emr = Emr("RUNNING")
    operator = step_operator(emr, deferrable=False)
    operator.on_kill()
    assert emr.cancelled == []
    operator.execute(context())
    operator.on_kill()
    assert emr.cancelled == ["s-1"]


@pytest.mark.parametrize("state", ["TERMINATED", "TERMINATED_WITH_ERRORS"])
def test_a_cluster_that_is_gone_is_ended_whatever_it_died_of(state: str) -> None:
    terminate_operator(Emr(state)).execute_complete(
        context(), {"status": "error", "message": "Waiter encountered a terminal failure state"}
    )


def test_a_cluster_that_does_not_end_fails_the_teardown() -> None:
    from airflow.sdk.exceptions import AirflowException

    with pytest.raises(AirflowException, match="max attempts"):
        terminate_operator(Emr("TERMINATING")).execute_complete(context(), {"status": "error", "message": "max attempts reached"})


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
    assert "- features of 'Kiwi': the partition is missing" in str(caught.value)
