"""Checks which PCA versions stay, and what of them; against a real S3 API and real Spark."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from fruit_contract import lake
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_features.lake.store import LostPlaceError
from fruit_features.pca import step as refresh_step
from fruit_features.pca.step import RefreshRequest, refresh_pca
from fruit_features.pca.versions import flip_pointer, load_version
from tests.spark_jobs.lake_folder import RELEASE, LakeFolder
from tests.spark_jobs.pca.steps import deliver, extract, featurised, projected, refresh

pytestmark = pytest.mark.spark


def test_a_new_version_projects_every_date_again_and_old_versions_stay(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-21", 12, "Kiwi")
    extract(spark, published, "2026-11-21")
    first = refresh(spark, published)
    deliver(published, "2026-11-22", 12, "Lemon")
    extract(spark, published, "2026-11-22")

    second = refresh(spark, published)

    assert second["projected_ingest_dates"] == ["2026-11-21", "2026-11-22"]
    projections = pd.read_parquet(published.folder / "projections")
    # New images are in both: whoever reads by the older one goes on as before.
    assert projections.groupby("pca_version", observed=True).size().to_dict() == {
        first["pca_version"]: 24,
        second["pca_version"]: 24,
    }


def test_a_set_number_of_versions_stays(spark, published: LakeFolder) -> None:
    summaries = []
    for number in range(4):
        day = f"2026-11-{number + 1:02}"
        deliver(published, day, 6, "Kiwi")
        extract(spark, published, day)
        summaries.append(refresh(spark, published, keep_versions=2))

    assert [summary["removed_versions"] for summary in summaries[2:]] == [
        [summaries[0]["pca_version"]],
        [summaries[1]["pca_version"]],
    ]
    there = {summary["pca_version"] for summary in summaries[2:]}
    for table in ("pca", "projections"):
        folders = (published.folder / table).glob("*version=*")
        assert {folder.name.partition("=")[2] for folder in folders if list(folder.rglob("*.*"))} == there


def test_the_same_images_give_the_same_version_and_nothing_is_projected_twice(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-21", 12, "Kiwi")
    extract(spark, published, "2026-11-21")
    first = refresh(spark, published)

    second = refresh(spark, published)

    assert (second["action"], second["pca_version"]) == ("fitted", first["pca_version"])
    assert second["projected_ingest_dates"] == []


def test_erased_images_leave_every_version_with_their_features(spark, published: LakeFolder) -> None:
    for day in ("2026-11-21", "2026-11-22"):
        deliver(published, day, 6, "Kiwi")
        extract(spark, published, day)
        refresh(spark, published)
    versions = [name.partition("=")[2] for name in published.store.list_folders("projections/")]
    erased = f"{lake.raw_prefix('2026-11-21')}Kiwi/0.jpg"
    published.delete(erased)

    # Already by the step that commits the date: the next one may never run.
    extract(spark, published, "2026-11-21")

    assert len(versions) == 2
    for version in versions:
        assert projected(published, version) == featurised(published)
        assert erased not in projected(published, version)


def test_a_fit_that_a_step_could_not_finish_is_gone_on_with(
    spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = "2026-11-21"
    deliver(published, day, 20, "Kiwi", "Lemon")
    extract(spark, published, day)

    def time_out(*_: Any) -> Any:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(refresh_step, "project_dates", time_out)
        with pytest.raises(TimeoutError):
            refresh(spark, published)
    (begun,) = [name.partition("=")[2] for name in published.store.list_folders("pca/")]
    deliver(published, "2026-11-22", 1, "Kiwi")
    extract(spark, published, "2026-11-22")
    settings = PolicySettings(RefreshPolicy.AUTO, margin=0.5, always_below=0)

    summary = refresh_pca(lambda: spark, RefreshRequest(published.bucket, RELEASE, "run-2", settings))

    assert (summary["action"], summary["pca_version"]) == ("kept", begun)
    assert published.store.read_json(lake.CURRENT_PCA_KEY)["version"] == begun
    assert projected(published, begun) == featurised(published)


def test_what_dead_steps_have_left_of_versions_is_swept(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-22", 6, "Kiwi")
    extract(spark, published, "2026-11-22")
    published.put("pca/version=20200101T000000Z-000000000000/model.parquet", b"half a version")
    published.put(
        f"{lake.projections_date_prefix('20200101T000000Z-111111111111', '2026-11-22')}category=Kiwi/x.parquet", b"x"
    )

    summary = refresh(spark, published)

    assert published.store.list_folders("projections/") == [f"pca_version={summary['pca_version']}"]
    assert published.store.list_folders("pca/") == [f"version={summary['pca_version']}"]


def test_a_version_that_readers_may_still_hold_stays_for_a_while(spark, published: LakeFolder) -> None:
    versions = []
    for number in range(2):
        deliver(published, f"2026-11-{number + 1:02}", 6, "Kiwi")
        extract(spark, published, f"2026-11-{number + 1:02}")
        versions.append(refresh(spark, published, keep_versions=1, grace=3600)["pca_version"])
    assert published.store.list_folders("pca/") == [f"version={version}" for version in versions]

    refresh(spark, published, RefreshPolicy.NEVER, keep_versions=1, grace=0)

    assert published.store.list_folders("pca/") == [f"version={versions[1]}"]


def test_a_step_that_only_seemed_dead_does_not_flip_the_pointer_back(
    spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(published, "2026-11-21", 6, "Kiwi")
    extract(spark, published, "2026-11-21")

    def late(*arguments: Any) -> None:
        monkeypatch.setattr(refresh_step, "flip_pointer", flip_pointer)
        deliver(published, "2026-11-22", 6, "Kiwi")
        extract(spark, published, "2026-11-22")
        refresh(spark, published)
        flip_pointer(*arguments)

    monkeypatch.setattr(refresh_step, "flip_pointer", late)
    with pytest.raises(LostPlaceError):
        refresh(spark, published)

    current = published.store.read_json(lake.CURRENT_PCA_KEY)["version"]
    assert load_version(published.store, current)[1].n_samples == 12
    assert projected(published, current) == featurised(published)
