"""The PCA step against a real S3 API and real Spark."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from fruit_contract import lake
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.lake.store import LostPlaceError, Store
from fruit_features.moments.history import ImagesDifferError
from fruit_features.pca import projecting
from fruit_features.pca import step as refresh_step
from fruit_features.pca.policy import PolicySettings, RefreshPolicy
from fruit_features.pca.projecting import FeaturesGoneError
from fruit_features.pca.step import RefreshRequest, refresh_pca
from fruit_features.pca.versions import load_version
from tests.spark_jobs.conftest import publish_network
from tests.spark_jobs.lake_folder import EMBEDDER_ID, RELEASE, LakeFolder, jpeg

pytestmark = pytest.mark.spark


OTHER_RELEASE = "otherrelease"
OTHER_EMBEDDER = "mobilenetv2-other-p1"


def extract(spark, published: LakeFolder, *days: str, release: str = RELEASE) -> None:
    extract_features(spark, ExtractionRequest(published.bucket, release, "run-1", days, (), "onnxruntime"))


def refresh(
    spark,
    published: LakeFolder,
    policy: RefreshPolicy = RefreshPolicy.ALWAYS,
    target: float = 0.95,
    dates: tuple[str, ...] = (),
    keep_versions: int = 3,
    release: str = RELEASE,
    **more: Any,
) -> dict:
    settings = PolicySettings(policy, target)
    request = RefreshRequest(published.bucket, release, "run-1", settings, dates, keep_versions, grace_seconds=more.pop("grace", 0), **more)
    return refresh_pca(spark, request)


def projected(published: LakeFolder, version: str) -> list[str]:
    folder = published.folder / lake.projections_prefix(version)
    return sorted(key for file in folder.rglob("*.parquet") for key in pd.read_parquet(file)["image_key"])


def featurised(published: LakeFolder, embedder_id: str = EMBEDDER_ID) -> list[str]:
    features = pd.read_parquet(published.folder / "features")
    return sorted(features[features["embedder_id"] == embedder_id]["image_key"])


def deliver(published: LakeFolder, day: str, n_images: int, *categories: str) -> None:
    published.deliver(
        day, {f"{category}/{index}.jpg": jpeg(hash((day, category, index)) % 2**32) for category in categories for index in range(n_images)}
    )


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
    assert summary["variance_kept"] == pytest.approx(reference.explained_variance_ratio_[:k].sum(), abs=1e-9)
    projections = pd.read_parquet(published.folder / f"projections/pca_version={summary['pca_version']}").sort_values("image_key")
    assert projections["image_key"].to_list() == features["image_key"].to_list()
    ours = np.stack(projections["components"].to_list())
    assert ours.dtype == np.float32
    theirs = reference.transform(standardised)[:, :k]
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=2e-5)


def test_projections_lie_in_the_partitions_of_their_features_whatever_the_category_is_called(spark, published: LakeFolder) -> None:
    categories = ("Äpfel 50%", "007", "a=b", "C:'[x]*?", "Kiwi#1", "~ \\ ^")
    deliver(published, "2026-11-22", 2, *categories)
    extract(spark, published, "2026-11-22")

    summary = refresh(spark, published)

    folder = published.folder / f"projections/pca_version={summary['pca_version']}"
    features, projections = (pd.read_parquet(place) for place in (published.folder / "features", folder))
    columns = ["image_key", "ingest_date", "category"]
    assert sorted(projections[columns].astype(str).to_numpy().tolist()) == sorted(features[columns].astype(str).to_numpy().tolist())
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
    assert (pointer["version"], pointer["k"], pointer["embedder_id"]) == (summary["pca_version"], summary["k"], EMBEDDER_ID)
    model, provenance = load_version(published.store, pointer["version"])
    assert model.components.shape == (summary["k"], 1280)
    assert provenance.ingest_dates == ("2026-11-22",)
    assert provenance.n_samples == 24
    assert provenance.target_reached
    assert pointer["version"].endswith(model.digest())


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
    assert projections.groupby("pca_version", observed=True).size().to_dict() == {first["pca_version"]: 24, second["pca_version"]: 24}


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


def test_auto_keeps_the_version_and_shows_how_well_it_fits_the_new_day(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-20", 20, "Kiwi", "Lemon")
    extract(spark, published, "2026-11-20")
    first = refresh(spark, published, RefreshPolicy.AUTO)
    deliver(published, "2026-11-21", 1, "Kiwi")
    extract(spark, published, "2026-11-21")
    kept = PolicySettings(RefreshPolicy.AUTO, margin=0.5, always_below=0)

    second = refresh_pca(spark, RefreshRequest(published.bucket, RELEASE, "run-2", kept, ("2026-11-20", "2026-11-21")))

    assert first["action"] == "fitted"
    assert (second["action"], second["pca_version"]) == ("kept", first["pca_version"])
    assert (second["n_samples"], second["n_samples_fitted"]) == (41, 40)
    assert second["projected_ingest_dates"] == ["2026-11-21"]
    assert second["retained_variance_by_date"]["2026-11-20"] == pytest.approx(first["variance_kept"])
    # A day of one image has no variance to lose.
    assert second["retained_variance_by_date"]["2026-11-21"] == 1.0
    assert second["retained_variance"] < first["variance_kept"]


def test_a_set_number_of_versions_stays(spark, published: LakeFolder) -> None:
    summaries = []
    for number in range(4):
        day = f"2026-11-{number + 1:02}"
        deliver(published, day, 6, "Kiwi")
        extract(spark, published, day)
        summaries.append(refresh(spark, published, keep_versions=2))

    assert [summary["removed_versions"] for summary in summaries[2:]] == [[summaries[0]["pca_version"]], [summaries[1]["pca_version"]]]
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


def test_reads_few_moments_of_a_long_history_and_none_of_the_images(spark, published: LakeFolder) -> None:
    days = [f"2026-10-{number:02}" for number in range(1, 17)]
    for day in days:
        deliver(published, day, 1, "Kiwi")
    extract_features(spark, ExtractionRequest(published.bucket, RELEASE, "run-1", tuple(days), (), "onnxruntime"))
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


def test_new_projections_are_there_before_the_ones_they_replace_go(spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_lost_moments_are_added_up_again_from_the_features(spark, published: LakeFolder, capsys: pytest.CaptureFixture[str]) -> None:
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

    with pytest.raises(ImagesDifferError, match=r"of 12 images, the ledgers say that 15 .* 2026-11-21 \(3 instead of 6\)"):
        refresh(spark, published)
    assert not published.store.list_keys("pca/")


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


@pytest.fixture
def two_releases(published: LakeFolder, other_network: bytes) -> LakeFolder:
    """A lake with a second release, of other weights."""
    return publish_network(published, other_network, OTHER_RELEASE, OTHER_EMBEDDER)


def test_readers_stay_on_the_old_embedder_until_the_new_one_covers_its_images(spark, two_releases: LakeFolder) -> None:
    for day in ("2026-11-20", "2026-11-21", "2026-11-22"):
        deliver(two_releases, day, 4, "Kiwi", "Lemon")
    extract(spark, two_releases, "2026-11-20", "2026-11-21", "2026-11-22")
    old = refresh(spark, two_releases)["pca_version"]
    deliver(two_releases, "2026-11-23", 4, "Kiwi")

    # A daily run of the new release looks at some dates only.
    extract(spark, two_releases, "2026-11-22", "2026-11-23", release=OTHER_RELEASE)
    waiting = refresh(spark, two_releases, release=OTHER_RELEASE)

    assert (waiting["action"], waiting["pca_version"]) == ("nothing", None)
    assert "16 images of 2 dates (2026-11-20 to 2026-11-21)" in waiting["reason"]
    assert two_releases.store.read_json(lake.CURRENT_PCA_KEY)["version"] == old
    # Readers of the old version miss nothing.
    assert len(projected(two_releases, old)) == 24
    erased = f"{lake.raw_prefix('2026-11-22')}Kiwi/0.jpg"
    two_releases.delete(erased)
    extract(spark, two_releases, "2026-11-22", release=OTHER_RELEASE)
    assert erased not in projected(two_releases, old)
    assert len(projected(two_releases, old)) == 23

    extract(spark, two_releases, "2026-11-20", "2026-11-21", release=OTHER_RELEASE)
    covered = refresh(spark, two_releases, RefreshPolicy.AUTO, release=OTHER_RELEASE)

    assert covered["action"] == "fitted"
    assert projected(two_releases, covered["pca_version"]) == featurised(two_releases, OTHER_EMBEDDER)
    assert len(featurised(two_releases, OTHER_EMBEDDER)) == 27
    # However many versions come after it, the last one of the old embedder stays.
    for number in range(3):
        deliver(two_releases, f"2026-11-{24 + number}", 3, "Plum")
        extract(spark, two_releases, f"2026-11-{24 + number}", release=OTHER_RELEASE)
        refresh(spark, two_releases, release=OTHER_RELEASE, keep_versions=1)
    assert len(projected(two_releases, old)) == 23


def test_a_switch_to_the_new_embedder_can_be_asked_for(spark, two_releases: LakeFolder) -> None:
    for day in ("2026-11-21", "2026-11-22"):
        deliver(two_releases, day, 4, "Kiwi")
    extract(spark, two_releases, "2026-11-21", "2026-11-22")
    refresh(spark, two_releases)
    extract(spark, two_releases, "2026-11-22", release=OTHER_RELEASE)

    summary = refresh(spark, two_releases, RefreshPolicy.AUTO, release=OTHER_RELEASE, switch_embedder=True)

    assert summary["action"] == "fitted"
    assert "asked for" in summary["reason"]
    assert two_releases.store.read_json(lake.CURRENT_PCA_KEY)["embedder_id"] == OTHER_EMBEDDER
    assert len(projected(two_releases, summary["pca_version"])) == 4


def test_a_fit_that_a_step_could_not_finish_is_gone_on_with(spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
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

    summary = refresh_pca(spark, RefreshRequest(published.bucket, RELEASE, "run-2", settings))

    assert (summary["action"], summary["pca_version"]) == ("kept", begun)
    assert published.store.read_json(lake.CURRENT_PCA_KEY)["version"] == begun
    assert projected(published, begun) == featurised(published)


def test_what_dead_steps_have_left_of_versions_is_swept(spark, published: LakeFolder) -> None:
    deliver(published, "2026-11-22", 6, "Kiwi")
    extract(spark, published, "2026-11-22")
    published.put("pca/version=20200101T000000Z-000000000000/model.parquet", b"half a version")
    published.put(f"{lake.projections_date_prefix('20200101T000000Z-111111111111', '2026-11-22')}category=Kiwi/x.parquet", b"x")

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


def test_a_step_that_only_seemed_dead_does_not_flip_the_pointer_back(spark, published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(published, "2026-11-21", 6, "Kiwi")
    extract(spark, published, "2026-11-21")
    flip = refresh_step.flip_pointer

    def late(*arguments: Any) -> None:
        monkeypatch.setattr(refresh_step, "flip_pointer", flip)
        deliver(published, "2026-11-22", 6, "Kiwi")
        extract(spark, published, "2026-11-22")
        refresh(spark, published)
        flip(*arguments)

    monkeypatch.setattr(refresh_step, "flip_pointer", late)
    with pytest.raises(LostPlaceError):
        refresh(spark, published)

    current = published.store.read_json(lake.CURRENT_PCA_KEY)["version"]
    assert load_version(published.store, current)[1].n_samples == 12
    assert projected(published, current) == featurised(published)


@pytest.mark.parametrize("left", [0, 1])
def test_what_vanished_leaves_the_projections_though_too_few_images_are_left_to_fit(spark, published: LakeFolder, left: int) -> None:
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


def test_keeping_a_version_of_another_embedder_leaves_its_projections_alone(spark, published: LakeFolder) -> None:
    day = "2026-11-22"
    deliver(published, day, 6, "Kiwi", "Lemon")
    extract(spark, published, day)
    first = refresh(spark, published)
    manifest_key = lake.release_prefix(RELEASE) + "embedder/manifest.json"
    manifest = published.store.read_json(manifest_key)
    published.store.write_json(manifest_key, manifest | {"embedder_id": "mobilenetv2-other-p1"})
    extract(spark, published, day)

    summary = refresh(spark, published, RefreshPolicy.NEVER)

    assert summary["action"] == "nothing"
    assert "is of embedder mobilenetv2-test-p1" in summary["reason"]
    assert len(pd.read_parquet(published.folder / lake.projections_prefix(first["pca_version"]))) == 12
