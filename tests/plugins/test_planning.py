from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from fruit_contract.lake import claim_key, in_progress_key, projected_record_key
from fruit_contract.regions import RegionNotAllowedError
from fruit_pipeline.claims import claim
from fruit_pipeline.concurrent_runs import DateIsBusyError
from fruit_pipeline.ingest_dates import RunDates
from fruit_pipeline.planning import NoReleaseError, PublishedRelease, RunRequest, plan_run, published_release
from fruit_pipeline.settings import Settings
from tests.plugins.sample_lake import BUCKET, DAY, EMBEDDER, RUN_ID, STATE, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from fruit_pipeline.lake_reader import Lake
    from fruit_pipeline.planning import PlannedRun
    from tests.plugins.sample_lake import SampleLake

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SETTINGS = Settings(lake_bucket=BUCKET)
JOB = "jobs/extract_features.py"


def publish(sample: SampleLake, release: str = "r1", *, current: bool = True) -> None:
    sample.lake.write(f"code/{release}/{JOB}", b"print()", "text/x-python")
    sample.lake.write_json(f"code/{release}/release.json", {"release": release, "embedder_id": EMBEDDER, "files": {JOB: "0123"}})
    if current:
        sample.lake.write_json("code/current.json", {"release": release})


def plan(
    lake: Lake,
    settings: Settings = SETTINGS,
    dates: RunDates = RunDates((DAY,)),  # noqa: B008 - frozen
    is_active: Callable[[str], bool] = lambda _: True,
    **request: Any,
) -> PlannedRun:
    return plan_run(settings, lambda _: lake, RunRequest(RUN_ID, dates, **request), NOW, is_active)


def arguments(step: dict[str, Any]) -> list[str]:
    return list(step["HadoopJarStep"]["Args"])


def test_plans_with_the_published_release(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    sample_lake.delete_below("ledger/")
    planned = plan(sample_lake.lake).as_xcoms()
    assert planned["release"] == "r1"
    assert (planned["plan"]["images"], planned["plan"]["new"]) == (43, 43)
    assert planned["ingest_dates"] == [DAY]
    assert planned["listed_at"] == "2026-11-22T08:00:00+00:00"
    assert [step["Name"] for step in planned["extract_features_steps"] + planned["refresh_pca_steps"]] == [
        "extract_features",
        "refresh_pca",
    ]
    assert planned["cluster_request"]["BootstrapActions"][0]["ScriptBootstrapAction"]["Args"] == [f"s3://{BUCKET}/code/r1"]


def test_where_everything_is_known_there_is_nothing_to_do_and_nothing_is_written(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    before = dict(sample_lake.client.objects)
    planned = plan(sample_lake.lake)
    assert not planned.plan.has_work
    assert planned.plan.nothing_new == [DAY]
    assert sample_lake.client.objects == before


def test_a_late_image_is_work_and_its_date_is_claimed(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
    planned = plan(sample_lake.lake, categories=["Kiwi"], pca_policy="never", retry_rejected=True)
    assert (planned.plan.new, planned.plan.unchanged) == (2, 6)  # the rejected one is looked at again
    assert sample_lake.lake.read_json(claim_key(RUN_ID))["ingest_dates"] == [DAY]
    (extract,), (refresh,) = planned.extract_features_steps, planned.refresh_pca_steps
    assert {"--retry-rejected", "--category=Kiwi", DAY} <= set(arguments(extract))
    assert arguments(refresh)[arguments(refresh).index("--policy") + 1] == "never"
    assert {tag["Key"]: tag["Value"] for tag in planned.cluster_request["Tags"]}["ingest_date"] == DAY


def test_a_scheduled_run_finds_what_is_late_in_the_days_before(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
    sample_lake.put_image("raw/ingest_date=2026-11-23/_SUCCESS", b"")
    planned = plan(sample_lake.lake, dates=RunDates(("2026-11-23",), ("2026-11-21", DAY)))
    assert (planned.plan.ingest_dates, planned.plan.late, planned.plan.nothing_new) == ([DAY], [DAY], ["2026-11-23"])


def test_a_range_names_the_dates_that_nobody_delivered(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    sample_lake.delete_below("ledger/")
    planned = plan(sample_lake.lake, dates=RunDates(("2026-11-21", DAY, "2026-11-23"), waits=False))
    assert (planned.plan.ingest_dates, planned.plan.not_delivered) == ([DAY], ["2026-11-21", "2026-11-23"])


def test_a_date_that_another_run_works_on_is_waited_for_if_asked_for_and_left_if_not(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    sample_lake.delete_below("ledger/")
    claim(sample_lake.lake, "another", [DAY])
    with pytest.raises(DateIsBusyError, match=f"{DAY} .another"):
        plan(sample_lake.lake)
    sample_lake.put_image("raw/ingest_date=2026-11-23/_SUCCESS", b"")
    left = plan(sample_lake.lake, dates=RunDates(("2026-11-23",), (DAY,)))
    assert (left.plan.busy, left.plan.has_work) == ([DAY], False)
    assert plan(sample_lake.lake, is_active=lambda _: False).plan.new == 43


def test_what_an_earlier_run_did_not_finish_is_work(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    sample_lake.lake.write_json(projected_record_key(VERSION), {})
    assert plan(sample_lake.lake).plan.has_work
    sample_lake.lake.write_json(projected_record_key(VERSION), {DAY: STATE})
    assert not plan(sample_lake.lake).plan.has_work
    sample_lake.lake.write_json(in_progress_key(DAY), {"run_id": "cut off", "categories": ["Kiwi"], "started_at": NOW.isoformat()})
    assert plan(sample_lake.lake).plan.interrupted == [DAY]


def test_a_new_fit_can_be_asked_for_though_nothing_is_new(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    assert plan(sample_lake.lake, pca_policy="always").plan.has_work
    assert not plan(sample_lake.lake, settings=replace(SETTINGS, pca_policy="always")).plan.has_work


def test_a_pinned_release_wins_over_the_published_one(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    publish(sample_lake, "r0", current=False)
    assert published_release(sample_lake.lake, "r0").release_id == "r0"
    assert published_release(sample_lake.lake, "") == PublishedRelease("r1", EMBEDDER)


def test_says_to_publish_when_there_is_no_release(empty_lake: SampleLake) -> None:
    with pytest.raises(NoReleaseError, match=rf"s3://{BUCKET}/code/current.json is not there. Run `make publish`"):
        plan(empty_lake.lake)


def test_says_which_pinned_release_is_missing(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    with pytest.raises(NoReleaseError, match=r"Release 'r7' is not complete: .*code/r7/release.json.*FRUITS_RELEASE"):
        plan(sample_lake.lake, replace(SETTINGS, release="r7"))


def test_says_which_file_of_a_release_is_missing(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    sample_lake.client.delete_object(Bucket=BUCKET, Key=f"code/r1/{JOB}")
    with pytest.raises(NoReleaseError, match=rf"lacks {JOB}"):
        plan(sample_lake.lake)


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-2", "eu-central-2"])
def test_a_region_outside_the_eu_fails_before_the_lake_is_touched(region: str) -> None:
    def connect(_: Settings) -> Lake:
        pytest.fail("the lake was touched")

    with pytest.raises(RegionNotAllowedError, match=region):
        plan_run(replace(SETTINGS, region=region), connect, RunRequest(RUN_ID, RunDates((DAY,))), NOW, lambda _: True)
