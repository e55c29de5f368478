from __future__ import annotations

import base64
import re
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.lake import measured_speed_key, projections_file_key, run_key, step_summary_key
from fruit_pipeline.checks.output import check_run
from fruit_pipeline.checks.parquet_facts import Projections
from fruit_pipeline.emr.cluster_facts import cluster_facts
from fruit_pipeline.errors import MissingObjectError
from fruit_pipeline.lake.dates.image_rows import KNOWN, rows_of_pages
from fruit_pipeline.planning.date_counts import count_images
from fruit_pipeline.planning.date_plan import FileState, plan_date
from fruit_pipeline.planning.estimate import MeasuredSpeed, Nodes, estimate
from fruit_pipeline.planning.run_plan import plan_of_dates
from fruit_pipeline.report.page import report_page
from fruit_pipeline.report.plots import explained_variance_png, two_components_png
from fruit_pipeline.report.publish import chosen_categories, publish_report
from fruit_pipeline.report.receipt import receipt
from fruit_pipeline.report.record import record_of_nothing, record_of_unfinished, run_record, totals, write_record
from fruit_pipeline.settings import Settings
from tests.plugins.read_page import HOSTILE_NAMES, Page
from tests.plugins.sample_lake import CATEGORIES, DAY, EMBEDDER, RUN_ID, VERSION, features_key, held_dates, hold_dates

if TYPE_CHECKING:
    from fruit_pipeline.report.receipt import Receipt
    from tests.plugins.sample_lake import SampleLake

NEXT_DAY = "2026-11-23"
CLUSTER: Any = {
    "id": "j-1",
    "release_label": "emr-7.14.0",
    "created_at": None,
    "ready_at": None,
    "minutes": 11.4,
    "steps": [],
}
PNG = b"\x89PNG\r\n\x1a\n"
SPEED = MeasuredSpeed(28.5, "litert", "m5.xlarge", RUN_ID)


def receipt_of(cluster_id: str = "j-1", kind: str = "m5.xlarge", measured: MeasuredSpeed | None = SPEED) -> Receipt:
    """Returns the receipt of a cluster that had one spot node for an hour and has not ended."""
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    cluster = {"Id": cluster_id, "Status": {"Timeline": {"CreationDateTime": noon}}}
    instance = {"InstanceType": kind, "Market": "SPOT", "Status": {"Timeline": {"CreationDateTime": noon}}}
    planned = estimate(43, Settings(), nodes=Nodes(2, 1))
    return receipt(
        planned,
        [cluster_facts(cluster, [], [instance])],
        43,
        Settings(),
        read_at=noon.replace(hour=13),
        measured=measured,
    )


def planned(sample: SampleLake, categories: list[str] | None = None) -> Any:
    return {"ingest_dates": [DAY], "categories": categories or [], "release": "r1", "plan": plan_of_a_day(sample)}


def plan_of_a_day(sample: SampleLake | None = None) -> dict[str, Any]:
    pages = list(sample.lake.list_pages(f"raw/ingest_date={DAY}/")) if sample else []
    counts = count_images(DAY, rows_of_pages(pages), KNOWN.empty_table(), EMBEDDER, [], retry_rejected=False)
    dates = [plan_date(DAY, counts, FileState())]
    return plan_of_dates(dates, [], [], [], Settings()).as_dict()


def page_of(sample: SampleLake, ingest_date: str = DAY) -> str:
    return sample.lake.read_bytes(f"reports/ingest_date={ingest_date}/index.html").decode()


@pytest.fixture
def published(sample_lake: SampleLake, after_listing: datetime) -> dict[str, Any]:
    checks = check_run(sample_lake.lake, RUN_ID, [DAY], [], after_listing).as_dict()
    return publish_report(sample_lake.lake, RUN_ID, planned(sample_lake), checks, CLUSTER)


@pytest.mark.slow
def test_writes_page_plots_and_record(sample_lake: SampleLake, published: dict[str, Any]) -> None:
    prefix = f"reports/ingest_date={DAY}/"
    names = [stored.key.removeprefix(prefix) for stored in sample_lake.lake.list_objects(prefix)]
    assert names == ["explained_variance.png", "first_two_components.png", "index.html"]
    assert sample_lake.lake.read_bytes(f"{prefix}explained_variance.png").startswith(PNG)
    record = sample_lake.lake.read_json(run_key(RUN_ID))
    assert record["report_uri"] == published["report_uris"][-1] == f"s3://fruits-test/{prefix}index.html"
    assert record["totals"] == {
        "listed": 43,
        "new": 43,
        "unchanged": 0,
        "reused": 0,
        "removed": 0,
        "featurised": 42,
        "rejected": 1,
    }
    assert record["pca"]["pca_version"] == VERSION
    assert record["pca"]["k"] == sample_lake.k
    assert (record["plan"]["images"], record["plan"]["new"]) == (43, 43)
    assert record["cluster"]["id"] == "j-1"
    assert record["timings_seconds"]["refresh_pca"]["fit"] == 1.5


@pytest.mark.slow
def test_the_page_needs_nothing_beside_it_and_runs_no_script(
    sample_lake: SampleLake, published: dict[str, Any]
) -> None:
    html = page_of(sample_lake)
    page = Page(html)
    assert not {"script", "link", "iframe", "i"} & set(page.names)
    assert page.names.count("img") == 2
    assert (
        page.said_to_browser("Content-Security-Policy")
        == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    )
    assert not re.search(r'(src|href)="(?!data:image/png;base64,)', html)
    images = [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', html)]
    assert all(image.startswith(PNG) for image in images)


@pytest.mark.slow
def test_every_name_is_on_the_page_as_it_was_delivered(sample_lake: SampleLake, published: dict[str, Any]) -> None:
    page = Page(page_of(sample_lake))
    for name in (
        *CATEGORIES,
        f"raw/ingest_date={DAY}/Kiwi/<b>broken</b>.jpg",
        "<i>cut</i> off",
        "truncated",
        "11.4",
        "71.5",
        VERSION,
    ):
        assert name in page.texts


@pytest.mark.slow
def test_a_run_is_done_with_its_dates_when_all_is_published_and_not_before(sample_lake: SampleLake) -> None:
    hold_dates(sample_lake.lake, RUN_ID, DAY)
    hold_dates(sample_lake.lake, "other run", "2026-11-23")
    with pytest.raises(MissingObjectError):
        publish_report(sample_lake.lake, "other run", planned(sample_lake), {}, CLUSTER)
    publish_report(sample_lake.lake, RUN_ID, planned(sample_lake), {"problems": []}, CLUSTER)
    assert held_dates(sample_lake.lake) == {"other run": ["2026-11-23"]}


@pytest.mark.slow
def test_the_receipt_is_in_the_record_and_on_the_page(sample_lake: SampleLake) -> None:
    publish_report(
        sample_lake.lake, RUN_ID, planned(sample_lake), {"problems": []}, CLUSTER | {"instances": [{}]}, receipt_of()
    )
    record = sample_lake.lake.read_json(run_key(RUN_ID))
    assert record["receipt"] == receipt_of()
    assert "instances" not in record["cluster"]
    texts = Page(page_of(sample_lake)).texts
    for name, value in {
        "Minutes": "60.0, planned 10.0",
        "Euros": "0.12 EUR, planned 0.15 EUR",
        "Euros for 1,000 images": "2.9070, planned 3.4884",
        "Hours of spot m5.xlarge": "1.00",
        "Images a second a vCPU": "28.5",
        "Planned with": "30.0, assumed",
        "Not ended when read": "j-1",
    }.items():
        assert texts[texts.index(name) + 1] == value


@pytest.mark.slow
def test_a_measured_speed_is_kept_for_the_next_plan(sample_lake: SampleLake) -> None:
    publish_report(sample_lake.lake, RUN_ID, planned(sample_lake), {"problems": []}, CLUSTER, receipt_of())
    assert MeasuredSpeed.from_record(sample_lake.lake.read_json(measured_speed_key())) == SPEED
    publish_report(sample_lake.lake, RUN_ID, planned(sample_lake), {"problems": []}, CLUSTER, receipt_of(measured=None))
    assert MeasuredSpeed.from_record(sample_lake.lake.read_json(measured_speed_key())) == SPEED
    assert "not measured" in Page(page_of(sample_lake)).texts


@pytest.mark.slow
def test_a_report_without_a_receipt_says_nothing_of_it(sample_lake: SampleLake, published: dict[str, Any]) -> None:
    assert "Receipt" not in Page(page_of(sample_lake)).texts
    assert sample_lake.lake.read_json(run_key(RUN_ID))["receipt"] is None
    assert sample_lake.lake.read_json_if_there(measured_speed_key()) is None


def test_a_run_that_did_not_come_to_its_report_has_a_record_of_what_it_cost(sample_lake: SampleLake) -> None:
    run = planned(sample_lake, ["Kiwi"])
    assert record_of_unfinished(RUN_ID, run, receipt_of()) == {
        "schema_version": 1,
        "run_id": RUN_ID,
        "state": "unfinished",
        "ingest_dates": [DAY],
        "categories": ["Kiwi"],
        "release": "r1",
        "plan": run["plan"],
        "receipt": receipt_of(),
    }


def test_a_step_without_its_summary_fails_the_report(sample_lake: SampleLake) -> None:
    with pytest.raises(MissingObjectError, match=r"runs/_steps/other_run/extract_features\.json"):
        publish_report(sample_lake.lake, "other run", planned(sample_lake), {}, CLUSTER)


def test_a_date_without_a_pca_still_gets_its_report(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("pca/")
    publish_report(sample_lake.lake, RUN_ID, planned(sample_lake), {"problems": []}, CLUSTER)
    assert "img" not in Page(page_of(sample_lake)).names


@pytest.mark.slow
def test_a_run_that_waits_for_the_switch_to_its_embedder_gets_its_report(
    sample_lake: SampleLake, after_listing: datetime
) -> None:
    """Readers' version is of another embedder: the plots are of that one, and it is said how much is left to do."""
    key = step_summary_key(RUN_ID, "refresh_pca")
    waiting = {
        "action": "waiting",
        "reason": "90 images of 1,000",
        "pca_version": None,
        "k": None,
        "variance_kept": None,
    }
    sample_lake.lake.write_json(key, sample_lake.lake.read_json(key) | waiting)
    checks = check_run(sample_lake.lake, RUN_ID, [DAY], [], after_listing).as_dict()
    assert (checks["problems"], checks["pca_version"]) == ([], None)
    run = planned(sample_lake)
    run["plan"] |= {"migration": {"images": 1_234, "n_ingest_dates": 2}, "refit": {"reason": "the embedder changes"}}
    publish_report(sample_lake.lake, RUN_ID, run, checks, CLUSTER)
    texts = Page(page_of(sample_lake)).texts
    assert texts[texts.index("This run") + 1] == "waiting: 90 images of 1,000"
    assert (
        texts[texts.index("Features of the former embedder alone") + 1]
        == "1,234 images of 2 dates, when this was planned"
    )
    assert texts[texts.index("New PCA foreseen") + 1] == "the embedder changes"
    assert sample_lake.lake.read_json(run_key(RUN_ID))["pca"]["pca_version"] is None


@pytest.mark.slow
def test_only_files_that_the_commit_names_are_drawn(sample_lake: SampleLake) -> None:
    sample_lake.put_image(projections_file_key(VERSION, features_key("Kiwi").replace("-0.", "-1.")), b"half a file")
    sample_lake.put_image(projections_file_key(VERSION, features_key("Ghost")), b"half a file")
    publish_report(sample_lake.lake, RUN_ID, planned(sample_lake), {"problems": []}, CLUSTER)
    assert Page(page_of(sample_lake)).names.count("img") == 2


@pytest.mark.slow
def test_a_date_without_a_commit_has_no_points(sample_lake: SampleLake) -> None:
    sample_lake.delete_below("ledger/")
    publish_report(sample_lake.lake, RUN_ID, planned(sample_lake), {"problems": []}, CLUSTER)
    assert Page(page_of(sample_lake)).names.count("img") == 1


def page_with(name: str, detail: str, run_id: str) -> Page:
    """Returns the report of a run in which every text from outside is one of these."""
    extract: Any = {
        "by_category": {DAY: {name: {"listed": 1, "featurised": 0, "rejected": 1}}},
        "rejects": [{"image_key": f"raw/ingest_date={DAY}/{name}", "reason": detail, "detail": detail}],
        "rejected_by_reason": {detail: 1},
        "rejected_by_reason_by_date": {DAY: {detail: 1}},
        "images_computed": 1,
        "images_per_second": None,
        "embedder_id": run_id,
        "engine": name,
        "timings_seconds": {detail: 1.0},
    }
    refresh: Any = {
        "action": name,
        "reason": detail,
        "pca_version": run_id,
        "retained_variance_by_date": {name: 0.5},
        "timings_seconds": {},
    }
    planned_run: Any = {"ingest_dates": [DAY], "categories": [name], "release": run_id, "plan": plan_of_a_day()}
    planned_run["plan"]["refit"] = {"reason": detail}
    odd = receipt_of(run_id, detail, MeasuredSpeed(1.0, name, detail, run_id))
    odd["planned"]["speed"] = detail
    record = run_record(
        run_id, planned_run, extract, refresh, {"problems": [detail]}, CLUSTER | {"id": run_id}, {DAY: ""}, odd
    )
    return Page(report_page(record, DAY, [(name, detail, PNG)]))


@pytest.mark.slow
@given(st.text(min_size=1), st.text(), st.text())
def test_no_text_from_outside_becomes_markup(category: str, detail: str, run_id: str) -> None:
    assert page_with(category, detail, run_id).shape == page_with("x", "x", "x").shape


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_name_becomes_a_part_of_the_page(name: str) -> None:
    shown, plain = page_with(name, name, name), page_with("x", "x", "x")
    assert shown.shape == plain.shape
    assert shown.text == plain.text.replace(" x", f" {name}").replace("/x", f"/{name}")
    assert shown.attributes("img")[0]["alt"] == f"{name}. {name}"


def test_one_image_is_called_one_image() -> None:
    assert "1 image listed" in page_with("x", "x", "x").text


@pytest.mark.slow
def test_every_date_of_a_run_has_a_page_with_what_is_its_own(sample_lake: SampleLake) -> None:
    other = NEXT_DAY
    key = step_summary_key(RUN_ID, "extract_features")
    summary = sample_lake.lake.read_json(key)
    counts = {"listed": 2, "new": 1, "unchanged": 0, "reused": 1, "removed": 3, "featurised": 1, "rejected": 1}
    summary["by_category"][other] = {"Only on the second day": counts}
    summary["rejects"].append(
        {"image_key": f"raw/ingest_date={other}/Kiwi/late.jpg", "reason": "empty", "detail": "no bytes"}
    )
    summary["rejected_by_reason_by_date"][other] = {"empty": 1}
    sample_lake.lake.write_json(key, summary)

    run = planned(sample_lake) | {"ingest_dates": [DAY, other]}
    published = publish_report(sample_lake.lake, RUN_ID, run, {"problems": []}, CLUSTER)

    first, second = (Page(page_of(sample_lake, day)) for day in (DAY, other))
    assert "Only on the second day" in second.texts
    assert "Only on the second day" not in first.texts
    assert f"raw/ingest_date={other}/Kiwi/late.jpg" in second.texts
    assert f"raw/ingest_date={DAY}/Kiwi/<b>broken</b>.jpg" not in second.texts
    assert "Reused" in second.texts
    assert any("One of 2 dates" in text for text in first.texts)
    record = sample_lake.lake.read_json(run_key(RUN_ID))
    assert (record["ingest_dates"], record["totals"]["listed"]) == ([DAY, other], 45)
    assert published["report_uris"] == [record["report_uris"][day] for day in (DAY, other)]


@pytest.mark.slow
def test_every_date_of_a_run_has_its_own_plots(sample_lake: SampleLake) -> None:
    sample_lake.add_date(NEXT_DAY)
    run = planned(sample_lake) | {"ingest_dates": [DAY, NEXT_DAY]}
    publish_report(sample_lake.lake, RUN_ID, run, {"problems": []}, CLUSTER)
    for day in (DAY, NEXT_DAY):
        names = [
            stored.key.rpartition("/")[2] for stored in sample_lake.lake.list_objects(f"reports/ingest_date={day}/")
        ]
        assert names == ["explained_variance.png", "first_two_components.png", "index.html"]
        html = page_of(sample_lake, day)
        assert f"Images of {day} under PCA version {VERSION}" in html
        assert f"raw/ingest_date={day}/Kiwi/&lt;b&gt;broken" in html
    record = sample_lake.lake.read_json(run_key(RUN_ID))
    assert (record["totals"]["listed"], record["rejected_by_reason"]) == (86, {"truncated": 2})


@pytest.mark.slow
def test_a_date_of_the_run_without_rejects_says_none(sample_lake: SampleLake) -> None:
    key = step_summary_key(RUN_ID, "extract_features")
    summary = sample_lake.lake.read_json(key)
    summary["by_category"][NEXT_DAY] = {"Kiwi": {"listed": 2, "new": 2, "featurised": 2, "rejected": 0}}
    sample_lake.lake.write_json(key, summary)
    run = planned(sample_lake) | {"ingest_dates": [DAY, NEXT_DAY]}
    publish_report(sample_lake.lake, RUN_ID, run, {"problems": []}, CLUSTER)
    assert "None." in Page(page_of(sample_lake, NEXT_DAY)).texts
    assert "truncated" not in page_of(sample_lake, NEXT_DAY)


def test_a_long_run_names_its_last_reports_and_its_record_all_of_them(sample_lake: SampleLake) -> None:
    days = [f"2026-{month}-{day:02}" for month in ("09", "10") for day in range(1, 21)]
    sample_lake.delete_below("pca/")
    published = publish_report(
        sample_lake.lake, RUN_ID, planned(sample_lake) | {"ingest_dates": days}, {"problems": []}, CLUSTER
    )
    record = sample_lake.lake.read_json(run_key(RUN_ID))
    assert list(record["report_uris"]) == days
    assert record["ingest_date"] == days[-1]
    assert published["report_uris"] == list(record["report_uris"].values())[-32:]
    assert published["record_uri"] == f"s3://fruits-test/{run_key(RUN_ID)}"


@pytest.mark.slow
def test_the_drift_of_the_new_day_is_on_its_page(sample_lake: SampleLake, published: dict[str, Any]) -> None:
    page = Page(page_of(sample_lake))
    assert f"Kept of {DAY} alone" in page.texts
    assert "95.120%" in page.texts


def record_of_the_lake(sample: SampleLake, **pca: Any) -> dict[str, Any]:
    """Returns the record of the lake's run, with these facts of its PCA step changed."""
    extract, refresh = (
        sample.lake.read_json(step_summary_key(RUN_ID, step)) for step in ("extract_features", "refresh_pca")
    )
    return dict(
        run_record(RUN_ID, planned(sample), extract, refresh | pca, {"problems": []}, CLUSTER, {DAY: ""})  # type: ignore[arg-type]
    )


def shown(record: dict[str, Any], ingest_date: str = DAY) -> list[str]:
    return Page(report_page(record, ingest_date, [])).texts


@pytest.mark.parametrize("kept", [None, 1.0])
def test_no_share_of_a_single_images_variance_is_shown(sample_lake: SampleLake, kept: float | None) -> None:
    title = "Kept of all images now"
    assert title in shown(record_of_the_lake(sample_lake, n_samples=2))
    assert title not in shown(record_of_the_lake(sample_lake, n_samples=1, retained_variance=kept))


def test_a_run_without_a_version_says_nothing_of_one(sample_lake: SampleLake) -> None:
    nothing = dict.fromkeys(("pca_version", "k", "n_samples_fitted", "variance_kept", "retained_variance"))
    texts = shown(record_of_the_lake(sample_lake, **nothing, target_reached=False, n_samples=10_000))
    for title in ("Version", "Images behind it", "Kept", "Kept of all images now", "Target reached"):
        assert texts[texts.index(title) + 1] == "none yet"
    for title in ("components (k)", "variance kept"):
        assert texts[texts.index(title) - 1] == "none yet"
    assert texts[texts.index("Images now") + 1] == "10,000"


def test_the_pages_own_date_comes_first_in_the_drift(sample_lake: SampleLake) -> None:
    days = [f"2026-11-{number:02}" for number in range(1, 17)]
    record = record_of_the_lake(sample_lake, retained_variance_by_date=dict.fromkeys(days, 0.9))
    for day, expected in ((days[0], [days[0], *days[-7:]]), (days[-1], [days[-1], *days[-8:-1]]), (DAY, days[-8:])):
        alone = [text.split()[2] for text in shown(record, day) if text.startswith("Kept of 2026-")]
        assert alone == expected


def test_what_is_the_whole_runs_is_called_so(sample_lake: SampleLake) -> None:
    record = record_of_the_lake(sample_lake)
    assert any(text.startswith("Output checked:") for text in shown(record))
    several = shown(record | {"ingest_dates": [DAY, NEXT_DAY]})
    assert any(text.startswith("Output of the whole run checked:") for text in several)


@pytest.mark.slow
def test_a_date_without_features_of_the_current_versions_embedder_says_so(sample_lake: SampleLake) -> None:
    commit = sample_lake.commit()
    sample_lake.put_commit(replace(commit, embedders={"other": commit.embedders[EMBEDDER]}))
    key = step_summary_key(RUN_ID, "refresh_pca")
    sample_lake.lake.write_json(key, sample_lake.lake.read_json(key) | {"pca_version": None})
    publish_report(sample_lake.lake, RUN_ID, planned(sample_lake), {"problems": []}, CLUSTER)
    page = Page(page_of(sample_lake))
    assert page.names.count("img") == 1
    assert f"No image of {DAY} has features of embedder {EMBEDDER}, which the current PCA version" in page.text
    assert f"This is PCA version {VERSION}, which is the current one and not this run's." in page.text


def test_a_run_that_found_nothing_has_its_record_too(sample_lake: SampleLake) -> None:
    run = planned(sample_lake, ["Kiwi"])
    record = record_of_nothing(RUN_ID, run)
    assert record == {
        "schema_version": 1,
        "run_id": RUN_ID,
        "ingest_dates": [],
        "categories": ["Kiwi"],
        "release": "r1",
        "plan": run["plan"],
    }


def test_a_run_that_is_cleared_and_finds_nothing_to_do_keeps_the_record_of_what_it_did(sample_lake: SampleLake) -> None:
    run = planned(sample_lake)
    nothing, unfinished = record_of_nothing(RUN_ID, run), record_of_unfinished(RUN_ID, run, receipt_of())
    address = f"s3://fruits-test/{run_key(RUN_ID)}"
    for record, kept in ((nothing, nothing), (unfinished, unfinished), (nothing, unfinished)):
        assert write_record(sample_lake.lake, record) == address
        assert sample_lake.lake.read_json(run_key(RUN_ID)) == kept


def test_the_same_six_categories_are_chosen_for_every_run_of_a_date() -> None:
    categories = [f"category {n}" for n in range(50)]
    assert chosen_categories(categories, DAY) == chosen_categories(categories[::-1], DAY)
    assert len(set(chosen_categories(categories, DAY))) == 6
    assert len({tuple(chosen_categories(categories, f"2026-11-{day:02}")) for day in range(1, 21)}) > 10
    assert chosen_categories(["b", "a"], DAY) == ["a", "b"]


@pytest.mark.slow
@pytest.mark.parametrize(("k", "target"), [(1, 0.95), (640, 0.95), (1280, 1.0)])
def test_draws_the_variance_for_any_k(k: int, target: float) -> None:
    assert explained_variance_png([1 / 1280] * 1280, k, target, 10).startswith(PNG)


@pytest.mark.slow
@pytest.mark.parametrize("category", ["柿", "កខ", "$\\frac{1}$", "^_{", "x" * 300, "a\tb"])
def test_draws_any_category_name_without_a_warning(category: str) -> None:
    points = np.linspace(-1, 1, 5, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert two_components_png([Projections(category, points, points)], [0.2]).startswith(PNG)


def test_totals_add_all_dates_and_categories() -> None:
    counted = totals(
        {
            "2026-11-21": {"a": {"listed": 2, "rejected": 1}},
            DAY: {"a": {"listed": 3}, "b": {"listed": 5, "featurised": 5}},
        }
    )
    assert (counted["listed"], counted["rejected"], counted["featurised"], counted["new"]) == (10, 1, 5, 0)


def test_cluster_minutes_run_from_the_request_to_the_last_steps_end() -> None:
    def at(minute: int) -> datetime:
        return datetime(2026, 11, 22, 8, minute, tzinfo=UTC)

    def step(name: str, start: int, end: int) -> dict[str, Any]:
        return {
            "Id": name,
            "Name": name,
            "Status": {"State": "COMPLETED", "Timeline": {"StartDateTime": at(start), "EndDateTime": at(end)}},
        }

    cluster = {
        "Id": "j-1",
        "ReleaseLabel": "emr-7.14.0",
        "Status": {"State": "WAITING", "Timeline": {"CreationDateTime": at(0), "ReadyDateTime": at(6)}},
    }
    facts = cluster_facts(cluster, [step("refresh_pca", 15, 18), step("extract_features", 7, 15)])
    assert facts["minutes"] == 18.0
    assert [(one["name"], one["minutes"]) for one in facts["steps"]] == [
        ("extract_features", 8.0),
        ("refresh_pca", 3.0),
    ]
    pending = cluster_facts(
        {"Id": "j-1", "Status": {"State": "STARTING"}}, [{"Id": "s", "Name": "s", "Status": {"State": "PENDING"}}]
    )
    assert pending["minutes"] is None
