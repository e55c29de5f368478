from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from botocore.exceptions import ClientError

from fruit_pipeline.claims.claim_book import DatesBook, pca_book
from fruit_pipeline.claims.claims import PCA_TURN, Claim
from fruit_pipeline.emr.airflow_id import AIRFLOW_VARIABLE
from fruit_pipeline.lake.store import Lake
from fruit_pipeline.places import Place, remember, remembered_places
from fruit_pipeline.settings import Settings
from tests.plugins.memory_emr import AIRFLOW_ID, Emr, api_error
from tests.plugins.sample_lake import DAY, MemoryS3, held_dates, hold_dates

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.plugins.memory_variables import MemoryVariables

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

SETTINGS = Settings(lake_bucket="new-lake", region="eu-central-1", sweep_grace_minutes=0)
BEFORE = Settings(lake_bucket="old-lake", region="eu-west-1", aws_conn_id="old")
UNDER_WAY, OVER = "manual__under_way", "manual__over"
# The memory's clusters are all of that morning.
MORNING = datetime(2026, 11, 22, 8, tzinfo=UTC)


class Cloud:
    """Holds the EMR of each region and the lake of each bucket. What a test takes out is out of reach."""

    def __init__(self) -> None:
        self.emr = {settings.region: Emr() for settings in (SETTINGS, BEFORE)}
        self.lakes = {settings.lake_bucket: Lake(MemoryS3(), settings.lake_bucket) for settings in (SETTINGS, BEFORE)}

    def emr_client(self, settings: Settings) -> Emr:
        if settings.region not in self.emr:
            raise api_error("AccessDenied")
        return self.emr[settings.region]

    def lake_of(self, settings: Settings) -> Lake:
        if settings.lake_bucket not in self.lakes:
            raise ClientError({"Error": {"Code": "NoSuchBucket", "Message": "gone"}}, "ListObjectsV2")
        return self.lakes[settings.lake_bucket]

    def cluster(self, settings: Settings, run_id: str, state: str = "WAITING", airflow_id: str = "") -> str:
        return self.emr[settings.region].cluster(state, run_id, settings, airflow_id)

    def ended(self, settings: Settings) -> list[str]:
        return self.emr[settings.region].terminated


@pytest.fixture
def cloud(variables: MemoryVariables) -> Iterator[Cloud]:
    cloud = Cloud()
    module = "fruit_pipeline.operators.sweep"
    with (
        mock.patch(f"{module}.emr_client", cloud.emr_client),
        mock.patch(f"{module}.variables", return_value=variables),
        mock.patch("fruit_pipeline.request.context.emr_client", cloud.emr_client),
        mock.patch(f"{module}.lake_of", cloud.lake_of),
    ):
        yield cloud


def sweep(settings: Settings = SETTINGS, bad_settings: Sequence[str] = ()) -> list[dict[str, str]]:
    from fruit_pipeline.operators.sweep import sweep_in_task

    def count(dag_id: str, run_ids: list[str], states: list[str]) -> int:
        assert (dag_id, states) == ("fruit_image_pipeline", ["queued", "running"])
        return int(run_ids == [UNDER_WAY])

    return sweep_in_task({"ti": SimpleNamespace(get_dr_count=count)}, settings, bad_settings)


def remember_since(variables: MemoryVariables, settings: Settings, last_used: datetime) -> None:
    place = Place.of(settings)
    variables.values[place.variable] = json.dumps(place.as_dict() | {"last_used": last_used.isoformat()})


def test_orphans_are_ended_where_this_airflow_works_and_has_worked_and_people_are_told(
    cloud: Cloud, tmp_path: Path
) -> None:
    remember(Place.of(BEFORE))
    file = tmp_path / "news.jsonl"
    for settings in (SETTINGS, BEFORE):
        cloud.cluster(settings, UNDER_WAY)
        cloud.cluster(settings, OVER)
        cloud.emr[settings.region].cluster("WAITING", OVER, Settings(lake_bucket="their-lake"))
    found = sweep(replace(SETTINGS, notification_file=str(file)))
    assert cloud.ended(SETTINGS) == cloud.ended(BEFORE) == ["j-2"]
    assert [(row["cluster_id"], row["region"]) for row in found] == [("j-2", "eu-central-1"), ("j-2", "eu-west-1")]
    told = [json.loads(line)["message"] for line in file.read_text(encoding="utf-8").splitlines()]
    assert ["new-lake" in told[0], "old-lake" in told[1]] == [True, True]


def test_orphans_that_emr_does_not_end_are_not_told_as_ended(cloud: Cloud, tmp_path: Path) -> None:
    from airflow.sdk.exceptions import AirflowException

    file = tmp_path / "news.jsonl"
    cloud.cluster(SETTINGS, OVER)
    with (
        mock.patch("fruit_pipeline.operators.sweep.terminate_clusters", side_effect=api_error("AccessDenied")),
        pytest.raises(AirflowException, match="AccessDenied"),
    ):
        sweep(replace(SETTINGS, notification_file=str(file)))
    assert not file.exists()


@pytest.mark.parametrize("own", ["", AIRFLOW_ID])
def test_clusters_of_another_airflow_in_this_lake_are_left_and_the_log_says_what_to_do_if_it_is_gone(
    cloud: Cloud, variables: MemoryVariables, caplog: pytest.LogCaptureFixture, own: str
) -> None:
    variables.values[AIRFLOW_VARIABLE] = own
    theirs = cloud.cluster(SETTINGS, "manual__theirs", airflow_id="another")
    mine = cloud.cluster(SETTINGS, OVER, airflow_id=own)
    assert [row["cluster_id"] for row in sweep()] == cloud.ended(SETTINGS) == [mine]
    assert f"aws emr terminate-clusters --region eu-central-1 --cluster-ids {theirs}" in caplog.text


def test_a_lake_in_which_this_airflow_never_worked_is_not_even_looked_at(cloud: Cloud) -> None:
    cloud.cluster(BEFORE, OVER)
    assert sweep() == []
    assert cloud.ended(BEFORE) == []


def test_clusters_that_another_airflow_has_in_a_lake_that_this_one_left_are_its_own(
    cloud: Cloud, variables: MemoryVariables
) -> None:
    cloud.cluster(BEFORE, OVER)
    remember_since(variables, BEFORE, MORNING - timedelta(hours=1))
    assert sweep() == []
    remember_since(variables, BEFORE, MORNING)
    assert [row["cluster_id"] for row in sweep()] == ["j-1"]


@pytest.mark.parametrize("out_of_reach", [SETTINGS, BEFORE])
def test_a_place_out_of_reach_fails_the_sweep_when_all_others_are_swept(cloud: Cloud, out_of_reach: Settings) -> None:
    from airflow.sdk.exceptions import AirflowException

    remember(Place.of(BEFORE))
    (other,) = {SETTINGS, BEFORE} - {out_of_reach}
    cloud.cluster(other, OVER)
    del cloud.emr[out_of_reach.region]
    with pytest.raises(AirflowException, match=f"- lake '{out_of_reach.lake_bucket}' in .*AccessDenied") as caught:
        sweep()
    assert cloud.ended(other) == ["j-1"]
    assert other.lake_bucket not in str(caught.value)
    assert (f"delete the Variable {Place.of(BEFORE).variable}" in str(caught.value)) == (out_of_reach is BEFORE)
    assert Place.of(BEFORE) in remembered_places()


def test_a_setting_outside_the_eu_is_told_and_hides_no_orphan_of_before(cloud: Cloud) -> None:
    from airflow.sdk.exceptions import AirflowException

    remember(Place.of(BEFORE))
    cloud.cluster(BEFORE, OVER)
    with pytest.raises(AirflowException, match="Region 'eu-west-2' is not inside the EU"):
        sweep(Settings(lake_bucket="new-lake", region="eu-west-2"))
    assert cloud.ended(BEFORE) == ["j-1"]


def test_a_place_is_forgotten_when_nothing_of_ours_is_left_there(cloud: Cloud, variables: MemoryVariables) -> None:
    by_another_connection = replace(SETTINGS, aws_conn_id="old")
    for settings in (SETTINGS, BEFORE, by_another_connection):
        remember_since(variables, settings, MORNING)
    hold_dates(cloud.lakes[SETTINGS.lake_bucket], OVER, DAY)
    gone = Settings(lake_bucket="gone-lake", region="eu-west-1")
    remember_since(variables, gone, MORNING)
    sweep()
    assert set(remembered_places()) == {Place.of(SETTINGS)}


def hold(lake: Lake, run_id: str, since: datetime) -> None:
    """Has a run hold a date and the turn at the PCA."""
    for book, name in ((DatesBook(lake), DAY), (pca_book(lake), PCA_TURN)):
        lake.write_json(book.key, {"claims": [Claim(run_id, (name,), since.isoformat()).as_dict()]})


def test_a_place_is_kept_while_something_of_ours_is_left_there(cloud: Cloud, variables: MemoryVariables) -> None:
    remember_since(variables, BEFORE, MORNING)
    lake = cloud.lakes[BEFORE.lake_bucket]
    hold(lake, UNDER_WAY, MORNING)
    sweep()
    assert Place.of(BEFORE) in remembered_places()
    DatesBook(lake).give_back(UNDER_WAY)
    sweep()
    assert Place.of(BEFORE) in remembered_places()
    pca_book(lake).give_back(UNDER_WAY)
    cloud.cluster(BEFORE, OVER, "TERMINATING")
    sweep()
    assert Place.of(BEFORE) in remembered_places()
    cloud.emr[BEFORE.region] = Emr()
    remember(Place.of(BEFORE))  # a run is about to ask for its cluster
    sweep()
    assert Place.of(BEFORE) in remembered_places()


def test_what_a_run_that_failed_still_holds_in_a_lake_that_was_left_is_given_back_and_keeps_nobody_there(
    cloud: Cloud, variables: MemoryVariables
) -> None:
    remember_since(variables, BEFORE, MORNING)
    lake = cloud.lakes[BEFORE.lake_bucket]
    hold(lake, OVER, MORNING)
    sweep()
    assert (DatesBook(lake).read(), pca_book(lake).read()) == ((), ())
    assert remembered_places() == {}


def test_what_a_run_holds_whose_cluster_lives_in_another_region_is_not_given_back(
    cloud: Cloud, variables: MemoryVariables
) -> None:
    """There the lake was worked in, too."""
    moved = replace(BEFORE, region=SETTINGS.region)
    for settings in (BEFORE, moved):
        remember_since(variables, settings, MORNING)
    cloud.cluster(moved, OVER, "TERMINATING")
    lake = cloud.lakes[BEFORE.lake_bucket]
    hold(lake, OVER, MORNING)
    sweep()
    assert held_dates(lake) == {OVER: [DAY]}
    assert set(remembered_places()) == {Place.of(BEFORE), Place.of(moved)}


def test_what_was_claimed_after_this_airflow_had_left_is_another_ones(cloud: Cloud, variables: MemoryVariables) -> None:
    remember_since(variables, BEFORE, MORNING)
    lake = cloud.lakes[BEFORE.lake_bucket]
    hold(lake, OVER, MORNING + timedelta(hours=2))
    sweep()
    assert held_dates(lake) == {OVER: [DAY]}
    assert remembered_places() == {}


def test_a_lake_in_which_nothing_may_be_written_any_more_is_forgotten_all_the_same(
    cloud: Cloud, variables: MemoryVariables
) -> None:
    remember_since(variables, BEFORE, MORNING)
    lake = cloud.lakes[BEFORE.lake_bucket]
    hold(lake, OVER, MORNING)
    with mock.patch.object(lake, "replace_json", side_effect=api_error("AccessDenied")):
        sweep()
    assert held_dates(lake) == {OVER: [DAY]}
    assert remembered_places() == {}


def test_bad_settings_that_could_not_be_told_are_told_by_the_next_sweep(cloud: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "folder" / "news.jsonl"
    settings = replace(SETTINGS, notification_file=str(file))
    file.parent.write_text("a file where the folder should be")
    sweep(settings, ["FRUITS_ENGINE is 'x'"])
    file.parent.unlink()
    file.parent.mkdir()
    for _ in range(2):
        sweep(settings, ["FRUITS_ENGINE is 'x'"])
    (told,) = file.read_text(encoding="utf-8").splitlines()
    assert "FRUITS_ENGINE is 'x'" in told


def test_bad_settings_are_told_once_and_keep_no_orphan_up(
    cloud: Cloud, variables: MemoryVariables, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "news.jsonl"
    settings = replace(SETTINGS, notification_file=str(file))
    cloud.cluster(SETTINGS, UNDER_WAY)
    orphan = cloud.cluster(SETTINGS, OVER)
    remember_since(variables, BEFORE, MORNING)
    bad = ["FRUITS_ENGINE is 'x': it must be y.", "FRUITS_POLL_SECONDS is 'x': it must be y."]
    assert [row["cluster_id"] for row in sweep(settings, bad)] == [orphan]
    assert all(problem in caplog.text for problem in bad)
    assert Place.of(BEFORE) in remembered_places()  # where this Airflow works may be what is mistyped

    def told() -> list[str]:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return [line["message"] for line in lines if line["event"] == "settings_refused"]

    sweep(settings, bad)
    (first,) = told()
    assert all(problem in first for problem in bad)
    sweep(settings, bad[1:])
    assert len(told()) == 2
    for state in ([], bad):
        sweep(settings, state)
    assert len(told()) == 3
    sweep(settings)
    assert "fruits_bad_settings_told" not in variables.values
