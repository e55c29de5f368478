from __future__ import annotations

import json
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from fruit_pipeline.places import Place
from fruit_pipeline.settings import Settings
from tests.plugins.sample_lake import BUCKET, DAY, RUN_ID, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.plugins.sample_lake import SampleLake

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

MARKER = f"s3://{BUCKET}/raw/ingest_date={DAY}/_SUCCESS"
SETTINGS = Settings(lake_bucket=BUCKET, poll_seconds=1)
HOUR = timedelta(hours=1)
# The ways in which the end of the waiting comes back to the task: from the trigger, and from the scheduler if there is
# no triggerer.
TIMED_OUT = [("execute_complete", {"event": {"status": "time_out"}}), ("__fail__", {"error": "Trigger timeout"})]


def context(run_type: str = "manual", conf: dict[str, Any] | None = None, age: timedelta = HOUR) -> Any:
    begin = datetime.now(UTC) - age
    return {
        "dag_run": SimpleNamespace(run_type=run_type, run_id=RUN_ID, conf=conf, start_date=begin, run_after=begin),
        "ti": mock.Mock(),
        "params": {"ingest_date": None, "categories": []},
        "outlet_events": defaultdict(SimpleNamespace),
    }


@pytest.fixture
def sensor() -> Any:
    return sensor_of(SETTINGS)


def sensor_of(settings: Settings, bucket_key: str = MARKER) -> Any:
    from airflow.sdk import DAG

    from fruit_pipeline.operators.wait_for_batch import WaitForBatchSensor
    from fruit_pipeline.request.form import params_of_form

    with DAG("fruit_image_pipeline", schedule=None, params=params_of_form(settings)):
        return WaitForBatchSensor(task_id="wait_for_batch", settings=settings, bucket_key=bucket_key)


def context_as_airflow_makes_it(task: Any, conf: dict[str, Any]) -> Any:
    from airflow.sdk.definitions.param import process_params

    return context("manual", conf) | {"params": process_params(task.dag, task, conf, suppress_exception=False)}


@contextmanager
def s3_says(*answers: object) -> Iterator[mock.Mock]:
    """Answers each look for the marker with one of `answers`; an exception is raised."""
    with mock.patch("fruit_pipeline.operators.wait_for_batch.lake_of") as lake_of:
        lake_of.return_value.client.get_bucket_location.return_value = {"LocationConstraint": SETTINGS.region}
        looks = lake_of.return_value.is_there
        looks.side_effect = answers
        yield looks
        assert looks.call_count == len(answers)


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "not now"}}, "ListObjectsV2")


def unreachable() -> EndpointConnectionError:
    return EndpointConnectionError(endpoint_url="https://s3")


@pytest.mark.parametrize("back", TIMED_OUT)
def test_a_scheduled_run_without_a_batch_goes_on_and_people_are_told(back: Any, tmp_path: Path) -> None:
    file = tmp_path / "news.jsonl"
    with s3_says(False):
        sensor_of(replace(SETTINGS, notification_file=str(file))).resume_execution(
            *back, context("scheduled", age=31 * HOUR)
        )
    (news,) = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert news["event"] == "batch_missing"
    assert f"No image batch within 30 hours: {MARKER} is not there" in news["message"]
    assert "the next scheduled runs find it for 7 days" in news["message"]


@pytest.mark.parametrize("back", TIMED_OUT)
@pytest.mark.parametrize("run_type", ["manual", "operator_triggered"])
def test_no_delivery_in_time_fails_a_run_that_was_asked_for(sensor: Any, run_type: str, back: Any) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with s3_says(False), pytest.raises(AirflowFailException, match="make deliver"):
        sensor.resume_execution(*back, context(run_type, age=31 * HOUR))


@pytest.mark.parametrize("back", TIMED_OUT)
@pytest.mark.parametrize("run_type", ["scheduled", "manual"])
def test_a_batch_that_comes_while_nobody_looks_is_found_at_the_end(sensor: Any, run_type: str, back: Any) -> None:
    with s3_says(True), mock.patch("fruit_pipeline.operators.wait_for_batch.tell") as told:
        sensor.resume_execution(*back, context(run_type, age=31 * HOUR))
    assert not told.called


@pytest.mark.parametrize("run_type", ["scheduled", "manual"])
@pytest.mark.parametrize(
    "error", [refusal("ExpiredToken"), refusal("AccessDenied"), refusal("503"), unreachable(), NoCredentialsError()]
)
def test_a_batch_that_nobody_could_look_for_is_not_called_missing(sensor: Any, run_type: str, error: Exception) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

    with (
        s3_says(error),
        pytest.raises(AirflowException, match=f"S3 could not be asked for {MARKER}: .*aws_default") as caught,
    ):
        sensor.resume_execution(*TIMED_OUT[0], context(run_type, age=31 * HOUR))
    assert not isinstance(
        caught.value, (AirflowFailException, AirflowSkipException)
    )  # the tries that are left look again


def test_a_backfill_looks_once_and_skips_the_days_without_a_batch(sensor: Any) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with s3_says(False), pytest.raises(AirflowSkipException, match="Nothing to do"):
        sensor.execute(context("backfill"))
    with s3_says(True):
        sensor.execute(context("backfill"))


@pytest.mark.parametrize(
    "answer", [False, refusal("ExpiredToken"), refusal("InternalError"), unreachable(), NoCredentialsError()]
)
@pytest.mark.parametrize("run_type", ["scheduled", "manual"])
def test_a_run_waits_in_the_triggerer_also_if_s3_can_not_be_asked_at_first(
    sensor: Any, run_type: str, answer: object
) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    with s3_says(answer), pytest.raises(TaskDeferred) as caught:
        sensor.execute(context(run_type))
    assert f"s3://{caught.value.trigger.waiting.lake_bucket}/{caught.value.trigger.key}" == MARKER


def test_all_tries_wait_until_the_same_moment(sensor: Any) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    run = context("scheduled", age=29 * HOUR)
    untils = []
    for _ in range(2):
        with s3_says(False), pytest.raises(TaskDeferred) as caught:
            sensor.execute(run)
        untils.append(datetime.fromisoformat(caught.value.trigger.waiting.until))
        assert HOUR < caught.value.timeout < 2 * HOUR
    assert untils == [run["dag_run"].start_date + 30 * HOUR] * 2


@pytest.mark.parametrize("back", TIMED_OUT)
def test_who_is_called_back_too_early_waits_on(sensor: Any, back: Any) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    with s3_says(False), pytest.raises(TaskDeferred):
        sensor.resume_execution(*back, context("scheduled"))


def test_a_try_that_begins_after_the_end_looks_once(sensor: Any) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with s3_says(True):
        sensor.execute(context("manual", age=31 * HOUR))
    with s3_says(False), pytest.raises(AirflowFailException, match="make deliver"):
        sensor.execute(context("manual", age=31 * HOUR))


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket"])
def test_a_lake_that_is_not_there_or_closed_is_told_at_once(sensor: Any, code: str) -> None:
    from airflow.sdk.exceptions import AirflowException

    with s3_says(refusal(code)), pytest.raises(AirflowException, match=f"{code}.*FRUITS_LAKE_BUCKET"):
        sensor.execute(context("scheduled"))


@pytest.mark.parametrize("elsewhere", ["us-east-1", "eu-west-2", "eu-central-1"])
def test_a_lake_in_another_region_than_is_set_is_told_at_once_and_not_looked_at(sensor: Any, elsewhere: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with mock.patch("fruit_pipeline.operators.wait_for_batch.lake_of") as lake_of:
        lake_of.return_value.client.get_bucket_location.return_value = {"LocationConstraint": elsewhere}
        with pytest.raises(AirflowFailException, match=f"is in {elsewhere}"):
            sensor.execute(context("scheduled"))
        assert not lake_of.return_value.is_there.called


def test_a_run_that_works_on_what_is_there_waits_for_nothing() -> None:
    with s3_says():
        sensor_of(SETTINGS, bucket_key="").execute(context("manual"))


@pytest.mark.parametrize("run_type", ["asset_triggered", "backfill"])
def test_a_run_that_waits_for_nothing_is_still_refused_outside_the_eu(run_type: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    sensor_of(SETTINGS, bucket_key="").execute(context(run_type))
    with pytest.raises(AirflowFailException, match="eu-west-2"):
        sensor_of(replace(SETTINGS, region="eu-west-2"), bucket_key="").execute(context(run_type))


def test_a_misspelt_param_does_not_quietly_mean_another_day(sensor: Any) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    run = context_as_airflow_makes_it(sensor, {"ingest_dat": "2026-11-20", "categories": []})
    assert "ingest_dat" in run["params"]  # Airflow hands on whatever a run was given
    with pytest.raises(
        AirflowFailException, match=r"do not exist: ingest_dat\. There are: accept_rejects, categories, ingest_date, "
    ):
        sensor.execute(run)


@pytest.mark.parametrize(
    "conf", [{}, {"ingest_date": DAY}, {"ingest_date": DAY, "categories": ["Kiwi"], "over_budget": True}]
)
def test_params_that_the_form_has_are_taken(sensor: Any, conf: dict[str, Any]) -> None:
    with s3_says(True):
        sensor.execute(context_as_airflow_makes_it(sensor, conf))


def test_what_openlineage_adds_to_a_run_that_another_dag_triggers_is_no_param(sensor: Any) -> None:
    from airflow.providers.standard.utils.openlineage import _inject_openlineage_parent_info_to_dagrun_conf

    conf = _inject_openlineage_parent_info_to_dagrun_conf({"ingest_date": DAY}, {"parentRunId": "x"})
    assert set(conf) == {"ingest_date", "openlineage"}
    with s3_says(True):
        sensor.execute(context_as_airflow_makes_it(sensor, conf))


def test_params_that_airflow_is_told_not_to_hand_on_are_not_quietly_ignored(
    sensor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv("AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS", "False")
    with pytest.raises(
        AirflowFailException, match=r"what the run was given: categories, ingest_date\. .*dag_run_conf_overrides_params"
    ):
        sensor.execute(
            context_as_airflow_makes_it(sensor, {"ingest_date": DAY, "categories": ["Kiwi"], "over_budget": False})
        )
    with s3_says(True):  # as the form sends what nobody touched
        sensor.execute(
            context_as_airflow_makes_it(sensor, {"ingest_date": None, "categories": [], "over_budget": False})
        )


def check_output(ingest_dates: list[str], listed_before: datetime, **options: Any) -> Any:
    from fruit_pipeline.operators.check_output import CheckOutputOperator

    changed = Settings(lake_bucket="another-lake")  # since the run was planned
    fixed: dict[str, Any] = {
        "task_id": "check_output",
        "settings": changed,
        "place": Place.of(SETTINGS).as_dict(),
        "categories": [],
    }
    return CheckOutputOperator(**fixed, ingest_dates=ingest_dates, listed_before=listed_before.isoformat(), **options)


def test_check_output_returns_what_it_looked_at(sample_lake: SampleLake, after_listing: datetime) -> None:
    operator = check_output([DAY], after_listing)
    with mock.patch("fruit_pipeline.operators.check_output.lake_of", return_value=sample_lake.lake) as opened:
        result = operator.execute(context())
    assert opened.call_args.args[0].lake_bucket == BUCKET
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
        "lake_bucket": BUCKET,
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
        pytest.raises(
            AirflowFailException,
            match=f"1 problems in the tables of 2 dates from {DAY} to 2026-11-23:\n- 2026-11-23: rejected",
        ),
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
