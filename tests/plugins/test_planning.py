from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from fruit_contract.regions import RegionNotAllowedError
from fruit_pipeline.planning import NoReleaseError, plan_run, published_release
from fruit_pipeline.settings import Settings
from tests.plugins.sample_lake import BUCKET, DAY, RUN_ID

if TYPE_CHECKING:
    from fruit_pipeline.lake_reader import Lake
    from fruit_pipeline.planning import PlannedRun
    from tests.plugins.sample_lake import SampleLake

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SETTINGS = Settings(lake_bucket=BUCKET)
JOB = "jobs/extract_features.py"


def publish(sample: SampleLake, release: str = "r1", *, current: bool = True) -> None:
    sample.lake.write(f"code/{release}/{JOB}", b"print()", "text/x-python")
    sample.lake.write_json(f"code/{release}/release.json", {"release": release, "files": {JOB: "0123"}})
    if current:
        sample.lake.write_json("code/current.json", {"release": release})


def plan(lake: Lake, settings: Settings = SETTINGS) -> PlannedRun:
    return plan_run(settings, lambda _: lake, RUN_ID, DAY, [], NOW)


def test_plans_with_the_published_release(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    planned = plan(sample_lake.lake).as_xcoms()
    assert planned["release"] == "r1"
    assert planned["plan"]["images"] == 43
    assert planned["listed_at"] == "2026-11-22T08:00:00+00:00"
    assert [step["Name"] for step in planned["extract_features_steps"] + planned["refresh_pca_steps"]] == [
        "extract_features",
        "refresh_pca",
    ]
    assert planned["cluster_request"]["BootstrapActions"][0]["ScriptBootstrapAction"]["Args"] == [f"s3://{BUCKET}/code/r1"]


def test_plans_nothing_into_the_lake(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    before = dict(sample_lake.client.objects)
    plan(sample_lake.lake)
    assert sample_lake.client.objects == before


def test_a_pinned_release_wins_over_the_published_one(sample_lake: SampleLake) -> None:
    publish(sample_lake)
    publish(sample_lake, "r0", current=False)
    assert published_release(sample_lake.lake, "r0") == "r0"
    assert published_release(sample_lake.lake, "") == "r1"


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
        plan_run(replace(SETTINGS, region=region), connect, RUN_ID, DAY, [], NOW)
