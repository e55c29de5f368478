from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from botocore.exceptions import EndpointConnectionError

from fruit_contract.lake import LakeNameError, success_marker_key
from fruit_contract.pca import RefreshPolicy
from fruit_contract.release import PinnedRelease
from fruit_pipeline.emr.cluster_request import MAIN_DAG_ID, cluster_request
from fruit_pipeline.places import Place, remember
from fruit_pipeline.request.context import is_active_run, request_of_run
from fruit_pipeline.request.params import RunDates
from fruit_pipeline.request.run_request import RunRequest
from fruit_pipeline.settings import Settings
from tests.plugins.memory_emr import Emr

BUCKET = "fruits-test"
DAY = "2026-11-22"
RUN_ID = "run 1"
SETTINGS = Settings(lake_bucket=BUCKET, lookback_days=1)
NO_PARAMS: dict[str, Any] = {"ingest_date": None, "last_ingest_date": None, "categories": None, "pca_policy": None}
NO_PARAMS |= dict.fromkeys(("retry_rejected", "accept_rejects", "switch_embedder", "over_budget"), False)


def context(run_type: str, events: dict[Any, list[Any]] | None = None, **params: Any) -> dict[str, Any]:
    run = SimpleNamespace(
        run_id=RUN_ID, run_type=run_type, logical_date=None, run_after=datetime(2026, 11, 25, tzinfo=UTC)
    )
    return {"dag_run": run, "params": NO_PARAMS | params, "triggering_asset_events": events}


def event(key: str) -> Any:
    """Returns an event as S3 tells of a new object through the queue."""
    record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}}}
    return SimpleNamespace(extra={"payload": {"message_batch": [{"Body": json.dumps({"Records": [record]})}]}})


def test_a_run_by_hand_is_asked_for_by_its_params() -> None:
    asked: dict[str, Any] = {
        "ingest_date": "2026-11-20",
        "last_ingest_date": "2026-11-21",
        "categories": ["Kiwi", "007"],
    }
    request = request_of_run(context("manual", None, **asked, pca_policy="always", retry_rejected=True), SETTINGS)
    assert request == RunRequest(
        RUN_ID,
        RunDates(("2026-11-20", "2026-11-21"), waits=False),
        ["007", "Kiwi"],
        RefreshPolicy.ALWAYS,
        retry_rejected=True,
    )


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        ("retry_rejected", {"retry_rejected": True}),
        ("accept_rejects", {"accept_rejects": True}),
        ("switch_embedder", {"switch_embedder": True}),
        ("over_budget", {"over_budget_allowed": True}),
    ],
)
def test_what_a_run_is_allowed_is_what_was_ticked(param: str, expected: dict[str, Any]) -> None:
    request = request_of_run(context("manual", None, **{param: True}), SETTINGS)
    assert request == RunRequest(RUN_ID, RunDates(("2026-11-25",)), [], **expected)


def test_a_run_that_events_started_is_about_the_dates_they_tell(caplog: pytest.LogCaptureFixture) -> None:
    events = {
        "batches": [event(success_marker_key(DAY)), event("raw/elsewhere.txt")],
        "others": [event(success_marker_key("2026-11-20"))],
    }
    with caplog.at_level(logging.WARNING):
        request = request_of_run(context("asset_triggered", events), SETTINGS)
    assert request == RunRequest(RUN_ID, RunDates(("2026-11-20", DAY), ("2026-11-21",), waits=False), [])
    assert "'raw/elsewhere.txt' is not the marker of an image batch" in caplog.text


def test_airflows_own_run_types_are_understood() -> None:
    scheduled = context("scheduled")
    scheduled["dag_run"].run_type = SimpleNamespace(value="scheduled")
    assert request_of_run(scheduled, SETTINGS).dates == RunDates(("2026-11-25",), ("2026-11-24",))


def test_refuses_params_that_make_no_sense() -> None:
    with pytest.raises(LakeNameError, match="upside down"):
        request_of_run(context("manual", ingest_date="2026-11-22", last_ingest_date="2026-11-21"), SETTINGS)


class Runs:
    """Plays Airflow, which says how many runs of these ids are under way."""

    dag_id = MAIN_DAG_ID

    def __init__(self, *under_way: str) -> None:
        self.under_way = under_way

    def get_dr_count(self, *, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        assert (dag_id, states) == (self.dag_id, ["queued", "running"])
        return len(set(run_ids) & set(self.under_way))


@pytest.mark.usefixtures("variables")
def test_a_run_may_write_while_it_is_under_way_or_has_a_cluster() -> None:
    request = cluster_request(SETTINGS, PinnedRelease("r1", "0" * 64), "marked as failed", [DAY])
    clusters = [{"Id": "j-1", "Name": request["Name"], "Tags": request["Tags"]}]
    with (
        mock.patch("fruit_pipeline.request.context.emr_client"),
        mock.patch("fruit_pipeline.request.context.our_active_clusters", return_value=clusters) as listed,
    ):
        is_active = is_active_run(Runs("running"), SETTINGS)
        assert is_active("running")
        assert listed.call_count == 0
        assert is_active("marked as failed")
        assert not is_active("over")
        assert not is_active("over long since")
    assert listed.call_count == 1  # EMR is asked once a plan


def test_a_run_may_write_from_a_cluster_in_a_region_that_is_no_longer_set(emr: Emr) -> None:
    changed = replace(SETTINGS, region="eu-central-1")
    emr.elsewhere["eu-central-1"] = Emr()
    emr.cluster(run_id="marked as failed", settings=SETTINGS)
    task_instance = Runs()
    task_instance.dag_id = "fruit_image_pipeline"
    with mock.patch("fruit_pipeline.request.context.emr_client", emr.client):
        assert not is_active_run(task_instance, changed)("marked as failed")
        remember(Place.of(SETTINGS))
        assert is_active_run(task_instance, changed)("marked as failed")
        assert not is_active_run(task_instance, replace(changed, lake_bucket="another-lake"))("marked as failed")


def test_whether_a_run_may_write_is_not_guessed_while_a_region_is_out_of_reach(emr: Emr) -> None:
    remember(Place.of(SETTINGS))
    changed = replace(SETTINGS, region="eu-central-1")

    def client(settings: Settings) -> Emr:
        if settings.region == SETTINGS.region:
            raise EndpointConnectionError(endpoint_url="https://emr")
        return Emr()

    with mock.patch("fruit_pipeline.request.context.emr_client", client), pytest.raises(EndpointConnectionError):
        is_active_run(Runs(), changed)("marked as failed")
