from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from fruit_contract import release
from fruit_contract.commit import CommitFormatError
from fruit_contract.increments import UnsortedImagesError
from fruit_contract.lake import (
    CURRENT_PCA_KEY,
    LakeNameError,
    dates_claims_key,
    ledger_key,
    measured_speed_key,
    moments_parts_prefix,
    pca_provenance_key,
    projections_date_prefix,
    projections_file_key,
    rejected_key,
    success_marker_key,
)
from fruit_contract.limits import MOST_DATES_A_RUN
from fruit_contract.pca import RefreshPolicy
from fruit_contract.regions import RegionNotAllowedError
from fruit_contract.release import PinnedRelease
from fruit_pipeline.emr.nodes.node_program import NODE_START
from fruit_pipeline.errors import (
    DateIsBusyError,
    InstanceTypeError,
    NoReleaseError,
    OverBudgetError,
    RunTooLargeError,
    RunTooLongError,
)
from fruit_pipeline.planning.date_looker import DateLooker
from fruit_pipeline.planning.estimate import MeasuredSpeed
from fruit_pipeline.planning.planner import PublishedRelease, plan_run, published_release
from fruit_pipeline.planning.run_plan import summary_lines
from fruit_pipeline.request.params import RunDates
from fruit_pipeline.request.run_request import RunRequest
from fruit_pipeline.settings import Settings
from tests.plugins.sample_lake import (
    BUCKET,
    DAY,
    EMBEDDER,
    JOB,
    NEXT_EMBEDDER,
    RUN_ID,
    VERSION,
    WRITE,
    features_key,
    held_dates,
    hold_dates,
    moments_object_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fruit_pipeline.lake.store import Lake
    from fruit_pipeline.planning.planner import PlannedRun
    from tests.plugins.sample_lake import SampleLake

DAY_BEFORE, NEXT_DAY = "2026-11-21", "2026-11-23"
NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SETTINGS = Settings(lake_bucket=BUCKET)


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


def option(step: dict[str, Any], name: str) -> list[str]:
    """Returns all values of an option of a step."""
    words = arguments(step)
    return [value for word, value in pairwise(words) if word == name]


def nothing_but_claims(sample: SampleLake, before: dict[str, Any]) -> bool:
    """Says whether nothing but claims was written since."""
    return {key: value for key, value in sample.client.objects.items() if key != dates_claims_key()} == before


def test_plans_with_the_published_release(sample_lake: SampleLake) -> None:
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
    assert (
        planned["cluster_request"]["BootstrapActions"][0]["ScriptBootstrapAction"]["Args"][0]
        == f"s3://{BUCKET}/code/r1/"
    )


def test_where_everything_is_known_there_is_nothing_to_do_and_nothing_is_written(sample_lake: SampleLake) -> None:
    before = dict(sample_lake.client.objects)
    planned = plan(sample_lake.lake)
    assert not planned.plan.has_work
    assert planned.plan.nothing_new == [DAY]
    assert nothing_but_claims(sample_lake, before)
    assert held_dates(sample_lake.lake) == {}


def test_a_late_image_is_work_and_its_date_is_claimed(sample_lake: SampleLake) -> None:
    sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
    planned = plan(sample_lake.lake, categories=["Kiwi"], pca_policy=RefreshPolicy.NEVER, retry_rejected=True)
    assert (planned.plan.new, planned.plan.unchanged) == (2, 6)  # the rejected one is looked at again
    assert held_dates(sample_lake.lake) == {RUN_ID: [DAY]}
    (extract,), (refresh,) = planned.extract_features_steps, planned.refresh_pca_steps
    assert {"--retry-rejected", "--category=Kiwi", DAY} <= set(arguments(extract))
    assert arguments(refresh)[arguments(refresh).index("--policy") + 1] == "never"
    assert {tag["Key"]: tag["Value"] for tag in planned.cluster_request["Tags"]}["ingest_date"] == DAY


@pytest.mark.slow
def test_the_steps_take_consecutive_dates_in_few_words(sample_lake: SampleLake) -> None:
    for day in (DAY_BEFORE, NEXT_DAY, "2026-11-30"):
        sample_lake.add_date(day)
    sample_lake.delete_below("ledger/")
    planned = plan(sample_lake.lake, dates=RunDates((DAY_BEFORE, DAY, NEXT_DAY, "2026-11-30"), waits=False))
    assert (planned.plan.images, planned.plan.images_by_category["Kiwi"]) == (4 * 43, 4 * 7)
    for step in planned.extract_features_steps + planned.refresh_pca_steps:
        assert option(step, "--ingest-date") == [f"{DAY_BEFORE}..{NEXT_DAY}", "2026-11-30"]
    assert planned.cluster_request["Name"].startswith(f"fruits {DAY_BEFORE}..2026-11-30 ")
    assert held_dates(sample_lake.lake) == {RUN_ID: planned.plan.ingest_dates}


@pytest.mark.slow
def test_only_the_dates_that_need_something_are_claimed_and_worked_on(sample_lake: SampleLake) -> None:
    for day in (DAY_BEFORE, NEXT_DAY):
        sample_lake.add_date(day)
    sample_lake.put_image(f"raw/ingest_date={NEXT_DAY}/Kiwi/more.jpg")
    planned = plan(sample_lake.lake, dates=RunDates((DAY_BEFORE, DAY, NEXT_DAY), waits=False))
    assert (planned.plan.ingest_dates, planned.plan.nothing_new) == ([NEXT_DAY], [DAY_BEFORE, DAY])
    assert (planned.plan.images, planned.plan.new) == (44, 1)
    assert held_dates(sample_lake.lake) == {RUN_ID: [NEXT_DAY]}
    assert option(planned.extract_features_steps[0], "--ingest-date") == [NEXT_DAY]


def test_without_wishes_the_steps_are_as_the_settings_say(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    planned = plan(sample_lake.lake, replace(SETTINGS, pca_policy=RefreshPolicy.NEVER))
    (extract,), (refresh,) = planned.extract_features_steps, planned.refresh_pca_steps
    assert option(refresh, "--policy") == ["never"]
    assert not [
        word for word in arguments(extract) if word.startswith(("--retry-rejected", "--accept-rejects", "--category"))
    ]
    assert "--switch-embedder" not in arguments(refresh)


def test_what_the_run_was_allowed_reaches_its_steps(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    planned = plan(sample_lake.lake, accept_rejects=True, switch_embedder=True)
    (extract,), (refresh,) = planned.extract_features_steps, planned.refresh_pca_steps
    assert ("--accept-rejects" in arguments(extract), "--switch-embedder" in arguments(extract)) == (True, False)
    assert ("--accept-rejects" in arguments(refresh), "--switch-embedder" in arguments(refresh)) == (False, True)


def test_a_late_image_in_a_category_that_was_not_asked_for_is_left_for_another_run(sample_lake: SampleLake) -> None:
    sample_lake.put_image(f"raw/ingest_date={DAY}/Banana/late.jpg")
    assert not plan(sample_lake.lake, categories=["Kiwi"]).plan.has_work
    assert plan(sample_lake.lake, categories=["Banana"]).plan.new == 1


def test_a_new_embedder_makes_every_image_new(sample_lake: SampleLake) -> None:
    sample_lake.publish("r2", embedder_id=NEXT_EMBEDDER)
    planned = plan(sample_lake.lake)
    assert (planned.release, planned.plan.new, planned.plan.unchanged) == ("r2", 43, 0)


def test_a_scheduled_run_finds_what_is_late_in_the_days_before(sample_lake: SampleLake) -> None:
    sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
    sample_lake.put_image(success_marker_key(NEXT_DAY), b"")
    planned = plan(sample_lake.lake, dates=RunDates((NEXT_DAY,), (DAY_BEFORE, DAY)))
    assert (planned.plan.ingest_dates, planned.plan.late, planned.plan.nothing_new) == ([DAY], [DAY], [NEXT_DAY])


@pytest.mark.parametrize(
    ("change", "new", "removed"),
    [
        (lambda sample: sample.put_image(sample.images[0].key, b"another picture"), 1, 0),
        (lambda sample: sample.client.delete_object(Bucket=BUCKET, Key=sample.images[0].key), 0, 1),
    ],
)
def test_a_scheduled_run_also_finds_what_was_replaced_or_has_vanished(
    sample_lake: SampleLake, change: Any, new: int, removed: int
) -> None:
    sample_lake.put_image(success_marker_key(NEXT_DAY), b"")
    change(sample_lake)
    planned = plan(sample_lake.lake, dates=RunDates((NEXT_DAY,), (DAY,)))
    assert (planned.plan.late, planned.plan.new, planned.plan.removed) == ([DAY], new, removed)


def test_an_earlier_date_whose_delivery_is_not_complete_is_left_alone(sample_lake: SampleLake) -> None:
    """A re-delivery rewrites the marker: until then, the date's images are those of no batch."""
    sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
    sample_lake.client.delete_object(Bucket=BUCKET, Key=success_marker_key(DAY))
    sample_lake.put_image(success_marker_key(NEXT_DAY), b"")
    planned = plan(sample_lake.lake, dates=RunDates((NEXT_DAY,), (DAY,)))
    assert (planned.plan.has_work, planned.plan.not_delivered) == (False, [])


def test_a_range_names_the_dates_that_nobody_delivered(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    planned = plan(sample_lake.lake, dates=RunDates((DAY_BEFORE, DAY, NEXT_DAY), waits=False))
    assert (planned.plan.ingest_dates, planned.plan.not_delivered) == ([DAY], [DAY_BEFORE, NEXT_DAY])


def test_a_date_that_another_run_works_on_is_waited_for_if_asked_for_and_left_if_not(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    hold_dates(sample_lake.lake, "another", DAY)
    with pytest.raises(DateIsBusyError, match=f"{DAY} .another"):
        plan(sample_lake.lake)
    sample_lake.put_image(success_marker_key(NEXT_DAY), b"")
    left = plan(sample_lake.lake, dates=RunDates((NEXT_DAY,), (DAY,)))
    assert (left.plan.busy, left.plan.has_work) == ([DAY], False)
    assert plan(sample_lake.lake, is_active=lambda _: False).plan.new == 43


def test_a_run_that_must_wait_claims_nothing(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    hold_dates(sample_lake.lake, "another", DAY)
    with pytest.raises(DateIsBusyError) as busy:
        plan(sample_lake.lake, dates=RunDates((DAY, NEXT_DAY), waits=False))
    assert busy.value.ingest_dates == (DAY,)
    assert held_dates(sample_lake.lake) == {"another": [DAY]}


def test_the_claims_of_runs_that_ended_are_cleared_away_and_those_on_other_dates_hold_nobody_up(
    sample_lake: SampleLake,
) -> None:
    sample_lake.delete_below("ledger/")
    hold_dates(sample_lake.lake, "ended", DAY)
    hold_dates(sample_lake.lake, "elsewhere", NEXT_DAY)
    assert plan(sample_lake.lake, is_active=lambda run_id: run_id == "elsewhere").plan.ingest_dates == [DAY]
    assert held_dates(sample_lake.lake) == {"elsewhere": [NEXT_DAY], RUN_ID: [DAY]}


def test_a_run_that_is_planned_again_is_not_in_its_own_way(sample_lake: SampleLake) -> None:
    hold_dates(sample_lake.lake, RUN_ID, DAY_BEFORE, DAY)
    sample_lake.delete_below("ledger/")
    assert plan(sample_lake.lake, is_active=lambda _: pytest.fail("a run need not ask about itself")).plan.new == 43
    assert held_dates(sample_lake.lake) == {RUN_ID: [DAY]}


def test_the_dates_are_claimed_before_they_are_looked_at(
    sample_lake: SampleLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others do to them meanwhile is no longer theirs to do."""
    sample_lake.add_date(DAY_BEFORE)
    hold_dates(sample_lake.lake, "another", "2026-11-20")
    seen = {}

    def look(looker: DateLooker, asked: Any, looked_back: Any) -> Any:
        seen.update(held_dates(sample_lake.lake))
        return whole(looker, asked, looked_back)

    whole = DateLooker.at
    monkeypatch.setattr(DateLooker, "at", look)
    plan(sample_lake.lake, dates=RunDates((DAY,), ("2026-11-20", DAY_BEFORE)))
    assert seen == {"another": ["2026-11-20"], RUN_ID: [DAY_BEFORE, DAY]}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_plan_that_breaks_off_gives_its_dates_back(
    sample_lake: SampleLake, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(DateLooker, "at", fail)
    with pytest.raises(error):
        plan(sample_lake.lake)
    assert held_dates(sample_lake.lake) == {}


@pytest.mark.parametrize(
    ("spoil", "trace", "new"),
    [
        (lambda sample: sample.delete(features_key("Kiwi")), "lost", 6),
        (lambda sample: sample.delete(moments_object_key()), "lost", 0),
        (lambda sample: sample.delete(rejected_key(DAY, WRITE)), "lost", 0),
        (lambda sample: sample.put_image(features_key("Kiwi").replace(WRITE, "another")), "unswept", 0),
        (lambda sample: sample.put_image(rejected_key(DAY, "another")), "unswept", 0),
        (lambda sample: sample.put_image(f"{moments_parts_prefix(DAY)}part-0.parquet"), "unswept", 0),
        (lambda sample: sample.put_image(ledger_key(DAY).replace("ledger.parquet", "part-0.parquet")), "unswept", 0),
        (lambda sample: sample.put_image(moments_object_key().replace(WRITE, "another")), "unswept", 0),
        (
            lambda sample: sample.put_image(f"{projections_date_prefix('older', DAY)}category=Kiwi/gone-0.parquet"),
            "unswept",
            0,
        ),
        (lambda sample: sample.delete(projections_file_key(VERSION, features_key("Kiwi"))), "unprojected", 0),
        (lambda sample: sample.write_earlier_ledger(sample.images), "earlier_form", 0),
    ],
)
def test_a_date_whose_files_are_not_as_its_ledger_says_is_work(
    sample_lake: SampleLake, spoil: Any, trace: str, new: int
) -> None:
    spoil(sample_lake)
    planned = plan(sample_lake.lake).plan
    assert (planned.ingest_dates, planned.new, planned.unchanged) == ([DAY], new, 43 - new)
    assert getattr(planned, trace) == [DAY]
    others = {"lost", "unswept", "unprojected", "earlier_form", "waiting_for_pca"} - {trace}
    assert not any(getattr(planned, other) for other in others)


def test_a_date_without_a_ledger_has_nothing_but_garbage(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    planned = plan(sample_lake.lake).plan
    assert (planned.new, planned.unswept, planned.lost) == (43, [DAY], [])


def test_what_no_reader_sees_is_no_garbage(sample_lake: SampleLake) -> None:
    for name in ("_SUCCESS", "category=Kiwi/_temporary/0.parquet", "category=Kiwi/.crc", "category=Kiwi/notes.txt"):
        sample_lake.put_image(f"features/ingest_date={DAY}/{name}")
    assert not plan(sample_lake.lake).plan.has_work


def test_projections_under_a_kept_version_that_is_not_the_current_one_may_lack(sample_lake: SampleLake) -> None:
    """The PCA step of any run completes them; the readers of today do not miss them."""
    key = projections_file_key("20251122T080000Z-aa", features_key("Kiwi"))
    sample_lake.put_image(key)
    assert not plan(sample_lake.lake).plan.has_work


def test_a_store_may_list_in_another_order(sample_lake: SampleLake) -> None:
    objects = dict(reversed(sample_lake.client.objects.items()))
    sample_lake.client.objects.clear()
    sample_lake.client.objects.update(objects)
    sample_lake.client.lists_in_order = False
    sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
    sample_lake.put_image(f"raw/ingest_date={DAY}/stray.jpg")
    planned = plan(sample_lake.lake).plan
    assert (planned.new, planned.unchanged, planned.n_strays) == (1, 43, 1)


def test_a_blank_behind_a_categorys_name_is_no_part_of_it_where_nothing_is_called_so(
    sample_lake: SampleLake, caplog: pytest.LogCaptureFixture
) -> None:
    sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
    planned = plan(sample_lake.lake, categories=["Kiwi ", "Lemon "])
    assert planned.plan.categories == planned.as_xcoms()["categories"] == ["Kiwi", "Lemon "]
    assert planned.plan.new == 1
    assert planned.plan.missing_categories == ["Lemon "]
    assert "--category=Kiwi" in arguments(planned.extract_features_steps[0])
    assert "no category 'Kiwi '" in caplog.text
    assert "'Lemon '" not in caplog.text


def test_a_category_that_ends_with_a_blank_is_found_by_its_exact_name(sample_lake: SampleLake) -> None:
    sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi /1.jpg")
    assert plan(sample_lake.lake, categories=["Kiwi "]).plan.new_by_category == {"Kiwi ": 1}


def test_a_category_that_ends_with_a_blank_and_has_vanished_is_still_meant(sample_lake: SampleLake) -> None:
    sample_lake.put_image(f"features/ingest_date={DAY}/category=Kiwi /x-0.parquet")
    assert plan(sample_lake.lake, categories=["Kiwi "]).plan.categories == ["Kiwi "]


def test_lines_of_blanks_alone_ask_for_all_categories(sample_lake: SampleLake) -> None:
    sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
    planned = plan(sample_lake.lake, categories=["  "]).plan
    assert (planned.images, planned.categories) == (44, [])


@pytest.mark.parametrize("category", ["tab\there", "%" * 83, "\u00e9" * 124])
def test_a_batch_with_a_folder_that_can_be_no_category_is_refused_before_anything_is_started(
    sample_lake: SampleLake, category: str
) -> None:
    sample_lake.put_image(f"raw/ingest_date={DAY}/{category}/1.jpg")
    with pytest.raises(LakeNameError, match="which is no category") as caught:
        plan(sample_lake.lake)
    assert repr(category) in str(caught.value)
    assert not plan(sample_lake.lake, categories=("Kiwi",)).plan.has_work


def test_an_image_that_a_camera_named_with_an_underscore_is_new(sample_lake: SampleLake) -> None:
    sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/_DSC0001.JPG")
    planned = plan(sample_lake.lake).plan
    assert (planned.new, planned.n_strays) == (1, 0)


def test_a_ledger_that_is_not_in_order_is_refused(sample_lake: SampleLake) -> None:
    keys = sorted(image.key for image in sample_lake.images)
    sample_lake.write_ledger(sample_lake.images, image_key=[*keys[1:], keys[0]])
    with pytest.raises(UnsortedImagesError):
        plan(sample_lake.lake)


def test_a_ledger_without_a_commit_is_refused_and_it_is_said_what_to_do(sample_lake: SampleLake) -> None:
    sample_lake.write_table(ledger_key(DAY), {"image_key": ["x"]})
    with pytest.raises(
        CommitFormatError, match=rf"s3://{BUCKET}/ledger/.* holds no commit.*Remove it, and run its date again"
    ):
        plan(sample_lake.lake)


def test_more_dates_are_looked_at_than_at_once(sample_lake: SampleLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fruit_pipeline.planning.date_looker._DATES_AT_ONCE", 2)
    days = [f"2026-10-{day:02}" for day in range(1, 5)]
    for day in days:
        sample_lake.add_date(day)
    sample_lake.put_image(f"raw/ingest_date={days[3]}/Kiwi/late.jpg")
    planned = plan(sample_lake.lake, dates=RunDates(("2026-09-30", *days), waits=False)).plan
    assert (planned.ingest_dates, planned.new, planned.not_delivered) == ([days[3]], 1, ["2026-09-30"])
    assert planned.nothing_new == [day for day in days if day != days[3]]


class TestPcaToCome:
    def test_a_small_lake_is_fitted_anew_every_time(self, sample_lake: SampleLake) -> None:
        sample_lake.add_date(NEXT_DAY)
        sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
        planned = plan(sample_lake.lake)
        assert planned.plan.refit is not None
        assert planned.plan.refit.reason == "85 images are few enough to fit anew every time"
        assert (planned.plan.refit.n_images, planned.plan.refit.n_files) == (
            84,
            14,
        )  # of all dates, also those not asked for
        assert planned.as_xcoms()["plan"]["refit"]["n_images"] == 84

    def test_dates_of_the_earlier_form_count_too(self, sample_lake: SampleLake) -> None:
        sample_lake.add_date(NEXT_DAY)
        sample_lake.write_earlier_ledger(sample_lake.images, NEXT_DAY)
        sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
        planned = plan(sample_lake.lake).plan
        assert planned.refit is not None
        assert planned.refit.n_images == 42 + 43

    def test_a_version_that_is_not_complete_is_gone_on_with(self, sample_lake: SampleLake) -> None:
        large = replace(SETTINGS, pca_always_below=0)
        sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
        assert plan(sample_lake.lake, large).plan.refit is None
        newer = {"20251122T080000Z-aa": EMBEDDER, "20271122T080000Z-bb": EMBEDDER, "20281122T080000Z-cc": NEXT_EMBEDDER}
        for version, embedder_id in newer.items():
            sample_lake.lake.write_json(pca_provenance_key(version), {"version": version, "embedder_id": embedder_id})
        sample_lake.put_image("pca/version=20291122T080000Z-dd/model.parquet")  # not saved whole
        planned = plan(sample_lake.lake, large).plan
        assert planned.refit is not None
        assert planned.refit.reason == "version 20271122T080000Z-bb is not complete yet"

    def test_a_change_of_the_embedder_says_what_it_costs(self, sample_lake: SampleLake) -> None:
        sample_lake.add_date(NEXT_DAY)
        sample_lake.publish("r2", embedder_id=NEXT_EMBEDDER)
        planned = plan(sample_lake.lake)
        migration = planned.plan.migration
        assert migration is not None
        assert (migration.images, migration.n_ingest_dates, migration.from_embedder_id) == (84, 2, EMBEDDER)
        assert planned.as_xcoms()["plan"]["migration"]["last_ingest_date"] == NEXT_DAY
        assert f"`make run FROM={DAY} TO={NEXT_DAY}`" in summary_lines(planned.plan)[-1]

    def test_who_has_caught_up_or_was_asked_to_switch_waits_for_the_new_pca(self, sample_lake: SampleLake) -> None:
        """The date is featurised with the release's embedder, and readers' version is of another one."""
        pointer = sample_lake.lake.read_json(CURRENT_PCA_KEY)
        sample_lake.lake.write_json(CURRENT_PCA_KEY, pointer | {"embedder_id": NEXT_EMBEDDER})
        assert plan(sample_lake.lake).plan.waiting_for_pca == [DAY]
        sample_lake.add_date(NEXT_DAY)
        commit = sample_lake.commit(NEXT_DAY)
        sample_lake.put_commit(replace(commit, embedders={NEXT_EMBEDDER: commit.embedders[EMBEDDER]}), NEXT_DAY)
        assert not plan(sample_lake.lake).plan.has_work
        assert plan(sample_lake.lake, switch_embedder=True).plan.waiting_for_pca == [DAY]

    def test_the_history_is_not_read_where_nothing_is_to_be_done(self, sample_lake: SampleLake) -> None:
        sample_lake.put_image(ledger_key(NEXT_DAY), b"no Parquet")
        assert not plan(sample_lake.lake).plan.has_work


def test_an_image_that_vanished_while_it_was_fetched_and_is_back_is_work(sample_lake: SampleLake) -> None:
    back = replace(sample_lake.images[0], status="rejected", reason="vanished")
    sample_lake.write_ledger([back, *sample_lake.images[1:]])
    assert plan(sample_lake.lake).plan.new == 1


def test_whether_a_date_waits_for_its_first_pca_is_decided_by_the_policy_of_the_run(sample_lake: SampleLake) -> None:
    sample_lake.client.delete_object(Bucket=BUCKET, Key=CURRENT_PCA_KEY)
    assert plan(sample_lake.lake).plan.waiting_for_pca == [DAY]
    never = replace(SETTINGS, pca_policy=RefreshPolicy.NEVER)
    assert plan(sample_lake.lake).plan.has_work
    assert not plan(sample_lake.lake, pca_policy=RefreshPolicy.NEVER).plan.has_work
    assert not plan(sample_lake.lake, never).plan.has_work
    assert plan(sample_lake.lake, never, pca_policy=RefreshPolicy.AUTO).plan.has_work


def test_a_new_fit_can_be_asked_for_though_nothing_is_new(sample_lake: SampleLake) -> None:
    assert plan(sample_lake.lake, pca_policy=RefreshPolicy.ALWAYS).plan.has_work
    assert not plan(sample_lake.lake, settings=replace(SETTINGS, pca_policy=RefreshPolicy.ALWAYS)).plan.has_work


def test_the_cluster_has_the_nodes_of_the_plan(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    planned = plan(sample_lake.lake, replace(SETTINGS, target_minutes=1, task_instance_max=3))
    assert (planned.plan.estimate.core_instances, planned.plan.estimate.task_instances) == (2, 3)
    (task,) = [
        fleet
        for fleet in planned.cluster_request["Instances"]["InstanceFleets"]
        if fleet["InstanceFleetType"] == "TASK"
    ]
    assert task["TargetSpotCapacity"] == 3
    for step in planned.extract_features_steps + planned.refresh_pca_steps:
        assert option(step, "--task-slots") == [str((2 + 3) * 4)]


def test_the_plan_stands_on_the_last_speed_that_was_measured(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    assert plan(sample_lake.lake).plan.estimate.assumptions["speed"] == "assumed"
    speed = MeasuredSpeed(12.5, SETTINGS.engine, SETTINGS.core_instance_type, "earlier")
    sample_lake.lake.write_json(measured_speed_key(), speed.as_dict())
    assumptions = plan(sample_lake.lake).as_xcoms()["plan"]["estimate"]["assumptions"]
    assert (assumptions["images_per_second_per_vcpu"], assumptions["speed"]) == (12.5, "measured by run earlier")


@pytest.mark.parametrize("content", [b'{"a', b"[]"])
def test_a_measured_speed_that_cannot_be_read_keeps_no_plan_back(sample_lake: SampleLake, content: bytes) -> None:
    sample_lake.delete_below("ledger/")
    sample_lake.lake.write(measured_speed_key(), content, "application/json")
    assert plan(sample_lake.lake).plan.estimate.assumptions["speed"] == "assumed"


CHEAP = replace(SETTINGS, budget_eur=0.01)


def test_a_run_above_its_budget_is_refused_and_holds_nothing(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    before = dict(sample_lake.client.objects)
    with pytest.raises(
        OverBudgetError, match=r"(?s)about 0\.13 EUR.*budget of a run is 0\.01 EUR.*`over_budget`.*FRUITS_BUDGET_EUR"
    ):
        plan(sample_lake.lake, CHEAP)
    assert nothing_but_claims(sample_lake, before)
    assert held_dates(sample_lake.lake) == {}


def test_a_run_may_be_allowed_to_go_above_its_budget(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    assert plan(sample_lake.lake, CHEAP, over_budget_allowed=True).plan.new == 43
    assert held_dates(sample_lake.lake) == {RUN_ID: [DAY]}


def test_a_run_whose_price_nobody_knows_is_refused_too(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    unknown = replace(SETTINGS, core_instance_type="m7i.xlarge")
    with pytest.raises(OverBudgetError, match=r"no price of m7i\.xlarge"):
        plan(sample_lake.lake, unknown)
    assert plan(sample_lake.lake, unknown, over_budget_allowed=True).plan.new == 43


def test_a_run_that_would_not_be_done_before_its_step_is_given_up_is_refused(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    with pytest.raises(RunTooLongError, match=r"about 0\.2 hours.*given up after 0\.1\..*FRUITS_STEP_TIMEOUT_HOURS"):
        plan(sample_lake.lake, replace(SETTINGS, step_timeout_hours=0.1), over_budget_allowed=True)
    assert held_dates(sample_lake.lake) == {}


def test_a_run_of_more_dates_than_its_driver_reads_is_refused_before_the_lake_is_touched(
    sample_lake: SampleLake,
) -> None:
    days = tuple((date(2000, 1, 1) + timedelta(days=number)).isoformat() for number in range(MOST_DATES_A_RUN + 1))
    with pytest.raises(RunTooLargeError, match=r"4,001 dates"):
        plan_run(
            SETTINGS,
            lambda _: pytest.fail("the lake was touched"),
            RunRequest(RUN_ID, RunDates(days)),
            NOW,
            lambda _: True,
        )


def test_a_date_of_more_images_than_the_primary_node_holds_is_refused_and_claims_nothing(
    sample_lake: SampleLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_lake.delete_below("ledger/")
    monkeypatch.setattr("fruit_pipeline.planning.limits.most_images_a_run", lambda _: 42)
    with pytest.raises(
        RunTooLargeError, match=rf"{DAY} has 43 images.*m5\.xlarge has memory for 42.*FRUITS_PRIMARY_INSTANCE_TYPE"
    ):
        plan(sample_lake.lake, over_budget_allowed=True)
    assert held_dates(sample_lake.lake) == {}


@pytest.mark.parametrize("change", [{"core_instance_type": "m7g.xlarge"}, {"primary_instance_type": "t3.xlarge"}])
def test_a_run_whose_nodes_can_not_run_the_jobs_is_refused_and_claims_nothing(
    sample_lake: SampleLake, change: dict[str, Any]
) -> None:
    sample_lake.delete_below("ledger/")
    with pytest.raises(InstanceTypeError, match=f"FRUITS_{next(iter(change)).upper()}"):
        plan(sample_lake.lake, replace(SETTINGS, **change), over_budget_allowed=True)
    assert held_dates(sample_lake.lake) == {}


def test_where_there_is_nothing_to_do_no_budget_is_asked(sample_lake: SampleLake) -> None:
    assert not plan(sample_lake.lake, replace(CHEAP, core_instance_type="m7i.xlarge")).plan.has_work


def test_a_pinned_release_wins_over_the_published_one(sample_lake: SampleLake) -> None:
    pinned = release.release_id({JOB: "0123"})
    sample_lake.publish(pinned)
    sample_lake.publish("r1")
    digest = hashlib.sha256(sample_lake.lake.read_bytes("code/r1/release.json")).hexdigest()
    assert published_release(sample_lake.lake, pinned).pinned.release_id == pinned
    assert published_release(sample_lake.lake, "") == PublishedRelease(PinnedRelease("r1", digest), EMBEDDER)


def test_the_cluster_gets_the_digest_of_the_published_list_of_files_and_the_program_that_checks_it(
    sample_lake: SampleLake,
) -> None:
    sample_lake.publish("r2", embedder_id=NEXT_EMBEDDER)
    planned = plan(sample_lake.lake)
    action = planned.cluster_request["BootstrapActions"][0]["ScriptBootstrapAction"]
    pointer = sample_lake.lake.read_json("code/current.json")
    assert action["Args"] == [f"s3://{BUCKET}/code/r2/", pointer["manifest_sha256"]]
    assert sample_lake.lake.read_bytes(action["Path"].removeprefix(f"s3://{BUCKET}/")) == NODE_START.content


@pytest.mark.parametrize("set_by_name", [False, True], ids=["the current one", "one that is set"])
def test_a_list_of_files_that_was_changed_stops_the_run_before_a_cluster_is_asked_for(
    sample_lake: SampleLake, *, set_by_name: bool
) -> None:
    name = release.release_id({JOB: "0123"})
    sample_lake.publish(name)
    manifest = sample_lake.lake.read_json(f"code/{name}/release.json")
    sample_lake.lake.write_json(f"code/{name}/release.json", manifest | {"files": {JOB: "4567"}})
    with pytest.raises(NoReleaseError, match=r"release.json is not as it was published .*make publish"):
        plan(sample_lake.lake, replace(SETTINGS, release=name if set_by_name else ""))


@pytest.mark.parametrize("content", [b'{"files', b"[]"])
def test_a_list_of_files_that_was_cut_off_is_named_also_if_its_release_is_set(
    sample_lake: SampleLake, content: bytes
) -> None:
    name = release.release_id({JOB: "0123"})
    sample_lake.publish(name)
    sample_lake.lake.write(f"code/{name}/release.json", content, "application/json")
    with pytest.raises(NoReleaseError, match=r"release.json is not as it was published .*make publish"):
        plan(sample_lake.lake, replace(SETTINGS, release=name))


def test_a_release_of_a_state_before_lists_were_pinned_must_be_published_anew(sample_lake: SampleLake) -> None:
    sample_lake.lake.write_json("code/current.json", {"release": "r1"})
    with pytest.raises(NoReleaseError, match=r"^Release 'r1' was published by another state .*make publish"):
        plan(sample_lake.lake)
    name = release.release_id({JOB: "0123"})
    sample_lake.publish(name)
    sample_lake.lake.write_json(
        f"code/{name}/release.json", {"release": name, "embedder_id": EMBEDDER, "files": {JOB: "0123"}}
    )
    with pytest.raises(NoReleaseError, match=rf"^Release '{name}' was published by another state"):
        plan(sample_lake.lake, replace(SETTINGS, release=name))


def test_says_to_publish_when_there_is_no_release(empty_lake: SampleLake) -> None:
    with pytest.raises(NoReleaseError, match=rf"s3://{BUCKET}/code/current.json is not there. Run `make publish`"):
        plan(empty_lake.lake)


def test_says_which_pinned_release_is_missing(sample_lake: SampleLake) -> None:
    with pytest.raises(NoReleaseError, match=r"Release 'r7' is not complete: .*code/r7/release.json.*FRUITS_RELEASE"):
        plan(sample_lake.lake, replace(SETTINGS, release="r7"))


def test_says_which_file_of_a_release_is_missing(sample_lake: SampleLake) -> None:
    sample_lake.client.delete_object(Bucket=BUCKET, Key=f"code/r1/{JOB}")
    with pytest.raises(NoReleaseError, match=rf"lacks {JOB}"):
        plan(sample_lake.lake)


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-2", "eu-central-2"])
def test_a_region_outside_the_eu_fails_before_the_lake_is_touched(region: str) -> None:
    def connect(_: Settings) -> Lake:
        pytest.fail("the lake was touched")

    with pytest.raises(RegionNotAllowedError, match=region):
        plan_run(replace(SETTINGS, region=region), connect, RunRequest(RUN_ID, RunDates((DAY,))), NOW, lambda _: True)
