"""Runs the PCA step against a real S3 API and real Spark."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from fruit_contract import lake
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_contract.summaries import RefreshSummary
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.lake.store import Store
from fruit_features.moments.history import ImagesDifferError
from fruit_features.pca import projecting
from fruit_features.pca.projecting import FeaturesGoneError
from fruit_features.pca.step import RefreshRequest, _read_cache, refresh_pca
from fruit_features.pca.versions import load_version
from tests.spark_jobs.lake_folder import EMBEDDER_ID, RELEASE, LakeFolder, jpeg
from tests.spark_jobs.pca.steps import deliver, extract, featurised, projected, refresh
from tests.spark_jobs.written_dates import damage

pytestmark = pytest.mark.spark


def test_standardises_and_projects_as_scikit_learn_does(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-21", 20, "Kiwi", "Lemon")
    deliver(published, "2026-11-22", 10, "Kiwi")
    extract(spark, published, "2026-11-21")
    extract(spark, published, "2026-11-22")

    summary = refresh(spark, published)

    features = pd.read_parquet(published.folder / "features").sort_values("image_key")
    standardised = np.stack(features["features"].to_list()).astype(np.float64)
    scaler = StandardScaler().fit(standardised)
    # scikit-learn divides by n, Spark ML (and so the product) by n - 1.
    n = len(standardised)
    standardised = scaler.transform(standardised) * np.sqrt((n - 1) / n)
    reference = PCA(svd_solver="full").fit(standardised)
    k = int(np.argmax(np.cumsum(reference.explained_variance_ratio_) >= 0.95)) + 1
    assert summary["k"] == k
    assert summary["n_samples"] == 50
    assert summary.keys() == RefreshSummary.__required_keys__
    assert summary["variance_kept"] == pytest.approx(reference.explained_variance_ratio_[:k].sum(), abs=1e-9)
    projections = pd.read_parquet(published.folder / f"projections/pca_version={summary['pca_version']}").sort_values(
        "image_key"
    )
    assert projections["image_key"].to_list() == features["image_key"].to_list()
    ours = np.stack(projections["components"].to_list())
    assert ours.dtype == np.float32
    theirs = reference.transform(standardised)[:, :k]
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=2e-5)


def test_projections_lie_in_the_partitions_of_their_features_whatever_the_category_is_called(
    spark, published: LakeFolder
) -> None:
    categories = ("Äpfel 50%", "007", "a=b", "C:'[x]*?", "Kiwi#1", "~ \\ ^")
    deliver(published, "2026-11-22", 2, *categories)
    extract(spark, published, "2026-11-22")

    summary = refresh(spark, published)

    folder = published.folder / f"projections/pca_version={summary['pca_version']}"
    features, projections = (pd.read_parquet(place) for place in (published.folder / "features", folder))
    columns = ["image_key", "ingest_date", "category"]
    assert sorted(projections[columns].astype(str).to_numpy().tolist()) == sorted(
        features[columns].astype(str).to_numpy().tolist()
    )
    assert set(projections["category"].astype(str)) == set(categories)


def test_a_date_that_is_featurised_anew_is_projected_anew_without_a_row_twice(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-22", 10, "Kiwi", "Lemon")
    extract(spark, published, "2026-11-22")
    first = refresh(spark, published)
    folder = published.folder / f"projections/pca_version={first['pca_version']}"
    # As another code release might have named it.
    kiwi = next((folder / "ingest_date=2026-11-22/category=Kiwi").glob("*.parquet"))
    kiwi.rename(kiwi.with_name("part-00000-other.snappy.parquet"))
    published.put("raw/ingest_date=2026-11-22/Kiwi/late.jpg", jpeg(99))
    published.delete("raw/ingest_date=2026-11-22/Lemon/0.jpg")
    extract(spark, published, "2026-11-22")

    refresh(spark, published, RefreshPolicy.NEVER)

    keys = pd.read_parquet(folder)["image_key"].to_list()
    assert len(keys) == len(set(keys)) == 20
    assert "raw/ingest_date=2026-11-22/Kiwi/late.jpg" in keys


def test_the_pointer_names_a_version_that_readers_can_load(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-22", 12, "Kiwi", "Lemon")
    extract(spark, published, "2026-11-22")

    summary = refresh(spark, published)

    pointer = published.store.read_json(lake.CURRENT_PCA_KEY)
    assert (pointer["version"], pointer["k"], pointer["embedder_id"]) == (
        summary["pca_version"],
        summary["k"],
        EMBEDDER_ID,
    )
    model, provenance = load_version(published.store, pointer["version"])
    assert model.components.shape == (summary["k"], 1280)
    assert provenance.ingest_dates == ("2026-11-22",)
    assert provenance.n_samples == 24
    assert provenance.target_reached
    assert pointer["version"].endswith(model.digest())


def test_a_kept_version_projects_only_what_changed(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-21", 12, "Kiwi", "Lemon")
    extract(spark, published, "2026-11-21")
    first = refresh(spark, published)
    deliver(published, "2026-11-22", 2, "Lemon")
    extract(spark, published, "2026-11-22")

    second = refresh(spark, published, RefreshPolicy.NEVER)
    third = refresh(spark, published, RefreshPolicy.NEVER)
    for index in range(12):
        published.delete(f"{lake.raw_prefix('2026-11-21')}Kiwi/{index}.jpg")
    extract(spark, published, "2026-11-21")
    fourth = refresh(spark, published, RefreshPolicy.NEVER)

    assert (second["action"], second["pca_version"]) == ("kept", first["pca_version"])
    assert second["projected_ingest_dates"] == ["2026-11-22"]
    assert third["projected_ingest_dates"] == []
    # What has vanished left the projections with its features.
    assert fourth["projected_ingest_dates"] == []
    projections = pd.read_parquet(published.folder / "projections")
    assert projections.groupby(["ingest_date", "category"], observed=True).size().to_dict() == {
        ("2026-11-21", "Lemon"): 12, ("2026-11-22", "Lemon"): 2,
    }  # fmt: skip


def test_work_that_the_driver_does_itself_starts_no_session(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-22", 12, "Kiwi", "Lemon")
    extract(spark, published, "2026-11-22")
    request = RefreshRequest(published.bucket, RELEASE, "run-1", PolicySettings(RefreshPolicy.ALWAYS))

    summary = refresh_pca(lambda: pytest.fail("a session was asked for"), request)

    assert summary["action"] == "fitted"
    assert projected(published, str(summary["pca_version"])) == featurised(published)


def test_auto_keeps_the_version_and_shows_how_well_it_fits_the_new_day(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-20", 20, "Kiwi", "Lemon")
    extract(spark, published, "2026-11-20")
    first = refresh(spark, published, RefreshPolicy.AUTO)
    deliver(published, "2026-11-21", 1, "Kiwi")
    extract(spark, published, "2026-11-21")
    kept = PolicySettings(RefreshPolicy.AUTO, margin=0.5, always_below=0)

    second = refresh_pca(
        lambda: spark, RefreshRequest(published.bucket, RELEASE, "run-2", kept, ("2026-11-20", "2026-11-21"))
    )

    assert first["action"] == "fitted"
    assert (second["action"], second["pca_version"]) == ("kept", first["pca_version"])
    assert (second["n_samples"], second["n_samples_fitted"]) == (41, 40)
    assert second["projected_ingest_dates"] == ["2026-11-21"]
    assert second["retained_variance_by_date"]["2026-11-20"] == pytest.approx(first["variance_kept"])
    # A day of one image has no variance to lose.
    assert second["retained_variance_by_date"]["2026-11-21"] == 1.0
    assert second["retained_variance"] < first["variance_kept"]


def test_reads_few_moments_of_a_long_history_and_none_of_the_images(spark, published: LakeFolder) -> None:
    days = [f"2026-10-{number:02}" for number in range(1, 17)]
    for day in days:
        deliver(published, day, 1, "Kiwi")
    extract_features(spark, ExtractionRequest(published.bucket, RELEASE, "run-1", tuple(days), (), "litert"))
    first = refresh(spark, published)
    deliver(published, "2026-10-17", 1, "Kiwi")
    extract(spark, published, "2026-10-17")

    second = refresh(spark, published, RefreshPolicy.NEVER)

    assert first["moments_read"] == 16
    assert second["moments_read"] <= 7
    assert second["n_samples"] == 17


def test_a_date_that_is_committed_while_it_is_projected_is_projected_as_it_is_then(
    spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = "2026-11-22"
    deliver(published, day, 12, "Kiwi")
    extract(spark, published, day)
    project = projecting._project

    def while_another_run_commits(*arguments: Any) -> Any:
        monkeypatch.setattr(projecting, "_project", project)
        published.delete(f"{lake.raw_prefix(day)}Kiwi/0.jpg")
        published.put(f"{lake.raw_prefix(day)}Kiwi/late.jpg", jpeg(5))
        extract(spark, published, day)
        return project(*arguments)

    monkeypatch.setattr(projecting, "_project", while_another_run_commits)
    summary = refresh(spark, published)

    assert summary["unsettled_ingest_dates"] == []
    assert projected(published, summary["pca_version"]) == featurised(published)
    assert len(featurised(published)) == 12


def test_new_projections_are_there_before_the_ones_they_replace_go(
    spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(published, "2026-11-22", 6, "Kiwi")
    extract(spark, published, "2026-11-22")
    version = refresh(spark, published)["pca_version"]
    # A projection that lost its counterpart, and features that have none yet.
    prefix = f"{lake.projections_date_prefix(version, '2026-11-22')}category=Kiwi/"
    (key,) = published.store.list_keys(prefix)
    published.put(f"{prefix}other.parquet", bytes(published.store.read(key)))
    published.store.delete([key])
    published.store.delete([lake.pca_cache_key()])
    seen: list[int] = []
    delete = Store.delete

    def deleting(store: Store, keys: Any) -> None:
        seen.append(len(published.store.list_keys(prefix)))
        delete(store, keys)

    monkeypatch.setattr(Store, "delete", deleting)
    refresh(spark, published, RefreshPolicy.NEVER)

    assert max(seen) == 2
    assert published.store.list_keys(prefix) == [key]


@pytest.mark.parametrize("content", [b'{"commits', b"[1]", b'"x"', b"{}"])
def test_a_cache_that_cannot_be_read_is_none(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(Store, "find", lambda *_: content)
    assert _read_cache(Store("fruits-test"))["commits"] == {}


def test_features_that_are_gone_fail_the_step_and_are_named(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-22", 6, "Kiwi")
    extract(spark, published, "2026-11-22")
    key = published.store.list_keys("features/")[0]
    published.store.delete([key])

    with pytest.raises(FeaturesGoneError, match=key):
        refresh(spark, published)
    extract(spark, published, "2026-11-22")
    summary = refresh(spark, published)

    assert projected(published, summary["pca_version"]) == featurised(published)


def test_projections_that_are_lost_are_made_again_by_a_run_of_their_date(spark, published: LakeFolder) -> None:
    for day in ("2026-11-21", "2026-11-22"):
        deliver(published, day, 6, "Kiwi")
    extract(spark, published, "2026-11-21", "2026-11-22")
    first = refresh(spark, published)
    published.store.delete_below(f"projections/pca_version={first['pca_version']}/ingest_date=2026-11-21/")

    second = refresh(spark, published, RefreshPolicy.NEVER, dates=("2026-11-21",))

    assert second["projected_ingest_dates"] == ["2026-11-21"]
    assert projected(published, first["pca_version"]) == featurised(published)


def test_features_in_which_a_bit_has_changed_fail_the_step_are_named_and_can_be_made_anew(
    spark, published: LakeFolder
) -> None:
    deliver(published, "2026-11-22", 6, "Kiwi")
    extract(spark, published, "2026-11-22")
    key = published.store.list_keys("features/")[0]
    damage(published.store, key)

    with pytest.raises(Exception, match=f"{key} is not as it was written"):
        refresh(spark, published)
    published.store.delete([key])
    extract(spark, published, "2026-11-22")
    summary = refresh(spark, published)

    assert projected(published, summary["pca_version"]) == featurised(published)


def test_lost_moments_are_added_up_again_from_the_features(
    spark, published: LakeFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in ("2026-11-21", "2026-11-22"):
        deliver(published, day, 6, "Kiwi")
    extract(spark, published, "2026-11-21", "2026-11-22")
    first = refresh(spark, published)
    (key,) = published.store.list_keys("moments/ingest_date=2026-11-21/")
    published.store.write(key, b"not Parquet")
    published.store.delete_below("moments/_compacted/")

    second = refresh(spark, published)

    assert "moments of 2026-11-21 are gone" in capsys.readouterr().out
    assert (second["n_samples"], second["k"]) == (12, first["k"])


def test_moments_of_other_images_than_the_ledgers_say_fit_nothing(spark, published: LakeFolder) -> None:
    for day in ("2026-11-21", "2026-11-22"):
        deliver(published, day, 6, "Kiwi")
    deliver(published, "2026-11-20", 3, "Kiwi")
    extract(spark, published, "2026-11-20", "2026-11-21", "2026-11-22")
    (few,) = published.store.list_keys("moments/ingest_date=2026-11-20/")
    (many,) = published.store.list_keys("moments/ingest_date=2026-11-21/")
    published.store.write(many, bytes(published.store.read(few)))

    with pytest.raises(
        ImagesDifferError, match=r"of 12 images, the ledgers say that 15 .* 2026-11-21 \(3 instead of 6\)"
    ):
        refresh(spark, published)
    assert not published.store.list_keys("pca/")


@pytest.mark.parametrize("left", [0, 1])
def test_what_vanished_leaves_the_projections_though_too_few_images_are_left_to_fit(
    spark, published: LakeFolder, left: int
) -> None:
    day = "2026-11-22"
    deliver(published, day, 3, "Kiwi", "Lemon")
    extract(spark, published, day)
    first = refresh(spark, published, RefreshPolicy.AUTO)
    keys = [f"{lake.raw_prefix(day)}{category}/{index}.jpg" for category in ("Kiwi", "Lemon") for index in range(3)]
    for key in keys[left:]:
        published.delete(key)
    extract(spark, published, day)

    second = refresh(spark, published, RefreshPolicy.AUTO)

    assert (second["action"], second["pca_version"]) == ("kept", first["pca_version"])
    assert "at least 2 images" in second["reason"]
    files = list((published.folder / "projections").rglob("*.parquet"))
    assert len(files) == left
    assert all(pd.read_parquet(file)["image_key"].to_list() == keys[:1] for file in files)


def test_one_image_is_too_few_and_is_said(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-22", 1, "Kiwi")
    extract(spark, published, "2026-11-22")

    summary = refresh(spark, published)

    assert summary["action"] == "nothing"
    assert "at least 2 images" in summary["reason"]
    assert summary.keys() == RefreshSummary.__required_keys__
    assert not summary["target_reached"]
    assert not (published.folder / lake.CURRENT_PCA_KEY).exists()


def test_an_image_that_moves_without_changing_is_projected_under_its_new_key(spark, published: LakeFolder) -> None:
    day = "2026-11-22"
    deliver(published, day, 6, "Kiwi", "Lemon")
    extract(spark, published, day)
    refresh(spark, published)
    content = (published.folder / lake.raw_prefix(day) / "Kiwi/0.jpg").read_bytes()
    published.delete(f"{lake.raw_prefix(day)}Kiwi/0.jpg")
    published.put(f"{lake.raw_prefix(day)}Kiwi/moved.jpg", content)
    extract(spark, published, day)

    summary = refresh(spark, published, RefreshPolicy.NEVER)

    assert summary["projected_ingest_dates"] == [day]
    projections = pd.read_parquet(published.folder / "projections")
    assert sorted(projections["image_key"]) == sorted(pd.read_parquet(published.folder / "features")["image_key"])
