"""Checks what a date's commit finds damaged, and what other runs do beside it; against a real S3 API, without a Spark
session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fruit_contract import lake
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_features.extraction import committing, rewriting
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.lake.commit import put_ledger, read_ledger
from fruit_features.moments.store import find_moments
from fruit_features.pca.step import RefreshRequest, refresh_pca
from tests.spark_jobs.extraction.steps import DAY, files_of, read
from tests.spark_jobs.lake_folder import EMBEDDER_ID, RELEASE, LakeFolder, jpeg
from tests.spark_jobs.pca.steps import projected
from tests.spark_jobs.without_spark import NoSpark, deal_in_this_process
from tests.spark_jobs.written_dates import damage

if TYPE_CHECKING:
    from fruit_contract.summaries import RefreshSummary

OTHER_DAY = "2026-11-23"
NO_SPARK: Any = NoSpark()


@pytest.fixture
def filled(published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> LakeFolder:
    deal_in_this_process(monkeypatch)
    published.deliver(DAY, files_of("Kiwi", images=4))
    extract(published)
    return published


def extract(filled: LakeFolder, *days: str) -> None:
    extract_features(
        NO_SPARK, ExtractionRequest(filled.bucket, RELEASE, "run", days or (DAY,), (), "litert", task_slots=2)
    )


def refresh(filled: LakeFolder) -> RefreshSummary:
    request = RefreshRequest(
        filled.bucket, RELEASE, "run", PolicySettings(RefreshPolicy.ALWAYS), grace_seconds=0, task_slots=2
    )
    return refresh_pca(lambda: NO_SPARK, request)


def deliver_one_more(filled: LakeFolder) -> None:
    filled.put(f"{lake.raw_prefix(DAY)}Kiwi/late.jpg", jpeg(99))


def test_moments_that_are_damaged_are_added_up_anew(filled: LakeFolder) -> None:
    damage(filled.store, read_ledger(filled.store, DAY).commit.embedders[EMBEDDER_ID].moments.key)
    deliver_one_more(filled)

    extract(filled)

    found = read_ledger(filled.store, DAY).commit.embedders[EMBEDDER_ID]
    assert (found.n_images, found.moments.n_samples) == (5, 5)
    assert find_moments(filled.store, found.moments.key).n_samples == 5
    assert len(list((filled.folder / "moments").rglob("*.parquet"))) == 1


@pytest.mark.parametrize("when", ["before the look ahead of the ledger", "after it"])
def test_a_version_that_another_run_completes_meanwhile_keeps_the_rows_that_stay(
    filled: LakeFolder, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The refit projects the date's former file, and has looked at the date for the last time when the ledger names the
    new one.
    """
    refresh(filled)
    filled.deliver(OTHER_DAY, files_of("Lemon"))
    extract(filled, OTHER_DAY)
    filled.delete(f"{lake.raw_prefix(DAY)}Kiwi/0.jpg")
    versions: list[str] = []
    seen: list[int] = []

    def n_staying() -> int:
        return sum(DAY in key for key in projected(filled, versions[0]))

    def refit() -> None:
        versions.append(refresh(filled)["pca_version"])
        assert n_staying() == 4

    def remembering(*arguments: Any) -> Any:
        if when.startswith("before"):
            refit()
        return remember(*arguments)

    def putting(*arguments: Any) -> Any:
        if when.startswith("after"):
            refit()
        seen.append(len(list((filled.folder / lake.projections_prefix(versions[0])).rglob("*-r00000.parquet"))))
        return put_ledger(*arguments)

    remember = committing.DateCommits._remember_contents
    monkeypatch.setattr(committing.DateCommits, "_remember_contents", remembering)
    monkeypatch.setattr(committing, "put_ledger", putting)
    extract(filled)

    assert n_staying() == 3
    assert seen == [1 if when.startswith("before") else 0]
    names = {path.name for path in (filled.folder / lake.projections_date_prefix(versions[0], DAY)).rglob("*.parquet")}
    assert names == {path.name for path in (filled.folder / f"features/ingest_date={DAY}").rglob("*.parquet")}


def test_small_files_are_merged_without_a_row_missing_from_the_current_version(
    filled: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "MOST_SMALL_FILES", 2)
    for number in range(3):
        filled.put(f"{lake.raw_prefix(DAY)}Kiwi/late-{number}.jpg", jpeg(100 + number))
        if number:
            version = refresh(filled)["pca_version"]
            extract(filled)
            assert len(projected(filled, version)) == 4 + number
        else:
            extract(filled)

    # Three with projections have become one; the last has none yet.
    assert len(list((filled.folder / "features").rglob("*.parquet"))) == 2


def test_a_commit_sweeps_nothing_once_another_one_has_taken_its_place(
    filled: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a run that stops for hours between its ledger and its sweep."""
    deliver_one_more(filled)

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(committing, "put_ledger", put_ledger)
        ledger = put_ledger(*arguments)
        filled.put(f"{lake.raw_prefix(DAY)}Lemon/later.jpg", jpeg(98))
        extract(filled)
        return ledger

    monkeypatch.setattr(committing, "put_ledger", late)
    extract(filled)

    commit = read_ledger(filled.store, DAY).commit
    assert commit.n_images == 6
    assert commit.named_keys() <= {
        *filled.store.list_keys("features/"),
        *filled.store.list_keys("moments/"),
        lake.ledger_key(DAY),
    }
    assert len(read(filled, "features")) == 6
