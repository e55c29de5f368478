from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from fruit_cli.commands.demo import check_promise
from fruit_cli.demo.batches import BrokenFile
from fruit_cli.demo.home import empty_lake, is_the_demos, lake_folder, record_path, write_record
from fruit_cli.demo.results_table import results_table
from fruit_cli.demo.run_results import book_problems, cluster_minutes_of, read_result, report_files
from fruit_cli.errors import CommandError
from fruit_contract import lake
from fruit_contract.tables import IMAGE_KEY, N_FEATURES, REASON, STATUS, VECTOR

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

BUCKET = "fruits-lake"
DATE = "2026-11-22"
RUN_ID = "manual__2026-11-22T08:00:00+00:00"


def put(home: Path, key: str, content: bytes = b"x") -> Path:
    path = lake_folder(home, BUCKET) / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def image(number: int, category: str = "Kiwi") -> str:
    return lake.image_key(DATE, category, f"{number}.jpg")


def test_an_empty_lake_is_the_demos(tmp_path: Path) -> None:
    assert is_the_demos(tmp_path, BUCKET)
    assert not empty_lake(tmp_path, BUCKET)


def test_empties_the_lake_of_an_earlier_demo_but_for_its_releases(tmp_path: Path) -> None:
    write_record(tmp_path, {DATE: 2})
    put(tmp_path, image(1))
    put(tmp_path, lake.success_marker_key(DATE))
    put(tmp_path, "ledger/ingest_date=2026-11-22/part-0.parquet")
    kept = put(tmp_path, lake.CURRENT_RELEASE_KEY)
    assert empty_lake(tmp_path, BUCKET)
    assert [path for path in lake_folder(tmp_path, BUCKET).rglob("*") if path.is_file()] == [kept]
    assert not record_path(tmp_path).exists()


@pytest.mark.parametrize("what", ["no record", "another date", "more images", "a damaged record"])
def test_never_empties_a_lake_that_holds_more_than_the_demos_images(tmp_path: Path, what: str) -> None:
    if what != "no record":
        write_record(tmp_path, {DATE: 2})
    if what == "a damaged record":
        record_path(tmp_path).write_text("{", encoding="utf-8")
    keys = [image(1), image(2)]
    keys += {"another date": [lake.image_key("2026-11-21", "Kiwi", "1.jpg")], "more images": [image(3)]}.get(what, [])
    paths = [put(tmp_path, key) for key in keys]
    with pytest.raises(CommandError, match=r"no demo delivered.*FRUITS_LOCAL_HOME=.* make demo"):
        empty_lake(tmp_path, BUCKET)
    assert all(path.exists() for path in paths)


def test_never_empties_a_lake_that_holds_only_results(tmp_path: Path) -> None:
    put(tmp_path, lake.CURRENT_PCA_KEY)
    with pytest.raises(CommandError, match="no demo delivered"):
        empty_lake(tmp_path, BUCKET)


def lake_of_a_run(home: Path, statuses: dict[str, str | None], *, feature_rows: list[str] | None = None) -> Path:
    """Writes a ledger (reason by image key, None for featurised), its features and the steps' summaries; returns the
    lake's folder.
    """
    folder = lake_folder(home, BUCKET)
    ledger = folder / lake.date_prefix(lake.LEDGER, DATE)
    ledger.mkdir(parents=True)
    rows = [
        {IMAGE_KEY: key, STATUS: "rejected" if reason else "featurised", REASON: reason}
        for key, reason in statuses.items()
    ]
    pd.DataFrame(rows).to_parquet(ledger / "part-0.parquet")
    featurised = feature_rows if feature_rows is not None else [key for key, reason in statuses.items() if not reason]
    features = folder / lake.partition_prefix(lake.FEATURES, DATE, "Äpfel 50%")
    features.mkdir(parents=True)
    pd.DataFrame({IMAGE_KEY: featurised, VECTOR: [[0.5] * N_FEATURES for _ in featurised]}).to_parquet(
        features / "part-0.parquet"
    )
    put(home, lake.step_summary_key(RUN_ID, "extract_features"), json.dumps({"images_per_second": 123.4}).encode())
    refresh = {"k": 17, "variance_kept": 0.9512, "target_reached": True}
    put(home, lake.step_summary_key(RUN_ID, "refresh_pca"), json.dumps(refresh).encode())
    return folder


def test_reads_what_a_run_left_in_the_lake(tmp_path: Path, console: Console) -> None:
    statuses = {image(1): None, image(2): None, image(3): "truncated"}
    result = read_result(lake_of_a_run(tmp_path, statuses), DATE, RUN_ID, set(statuses), 2.5)
    assert result.problems == ()
    assert (result.listed, result.featurised, result.rejected) == (3, 2, 1)
    assert result.rejects == {image(3): "truncated"}
    console.print(results_table([result, result]))
    text = console.export_text()
    for part in ("2026-11-22", "1 (1 truncated)", "2 (2 truncated)", "17", "95.12 %", "123.4", "2.5", "5.0"):
        assert part in text


def test_finds_features_that_do_not_match_the_ledger(tmp_path: Path) -> None:
    statuses: dict[str, str | None] = {image(1): None, image(2): None}
    folder = lake_of_a_run(tmp_path, statuses, feature_rows=[image(1), image(1)])
    result = read_result(folder, DATE, RUN_ID, set(statuses), None)
    assert result.problems == ("2 rows of features (1 images) for 2 featurised images",)


def test_balanced_books_have_no_problems() -> None:
    assert book_problems([image(1), image(2)], 1, 1, {image(1), image(2)}) == []


@pytest.mark.parametrize(
    ("ledger", "featurised", "rejected", "problem"),
    [
        ([image(1)], 1, 0, "1 delivered images are not in the ledger"),
        ([image(1), image(2), image(2)], 3, 0, "1 images stand in the ledger twice"),
        ([image(1), image(2), image(3)], 3, 0, "1 images of the ledger were never delivered"),
        ([image(1), image(2)], 1, 0, "2 listed is not 1 featurised + 0 rejected"),
    ],
)
def test_unbalanced_books_are_named(ledger: list[str], featurised: int, rejected: int, problem: str) -> None:
    (found,) = book_problems(ledger, featurised, rejected, {image(1), image(2)})
    assert found.startswith(problem)


def test_the_promise_includes_the_broken_files(tmp_path: Path) -> None:
    statuses = {image(1): None, image(2): "truncated"}
    result = read_result(lake_of_a_run(tmp_path, statuses), DATE, RUN_ID, set(statuses), None)
    assert check_promise([result], [BrokenFile(image(2), "half a file")]) == []
    assert check_promise([result], [BrokenFile(image(1), "text")]) == [
        f"{image(1)} is broken on purpose, and was not rejected"
    ]


class FakeEmr:
    def __init__(self, timeline: dict[str, datetime]) -> None:
        self.timeline = timeline

    def describe_cluster(self, ClusterId: str) -> dict[str, Any]:  # noqa: N803 - AWS's spelling
        return {"Cluster": {"Id": ClusterId, "Status": {"Timeline": self.timeline}}}


def test_counts_a_clusters_minutes_from_request_to_end() -> None:
    start = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
    assert (
        cluster_minutes_of(FakeEmr({"CreationDateTime": start, "EndDateTime": start + timedelta(seconds=90)}), "j-1")
        == 1.5
    )
    assert cluster_minutes_of(FakeEmr({"CreationDateTime": start}), "j-1") is None


def test_names_the_report_then_its_plots(tmp_path: Path) -> None:
    for name in ("b.png", "index.html", "a.png"):
        put(tmp_path, lake.report_prefix(DATE) + name)
    assert [path.name for path in report_files(lake_folder(tmp_path, BUCKET), DATE)] == ["index.html", "a.png", "b.png"]
