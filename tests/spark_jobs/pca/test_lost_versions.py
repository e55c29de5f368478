"""Checks what a PCA step makes of versions that are lost, damaged or unfinished. Its tasks run in this process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from fruit_contract import lake
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.lake.files import DamagedFileError
from fruit_features.pca import projecting
from fruit_features.pca import step as refresh_step
from fruit_features.pca.projecting import project_dates
from fruit_features.pca.step import RefreshRequest, refresh_pca
from fruit_features.pca.versions import load_version, version_folders
from tests.spark_jobs.lake_folder import RELEASE, jpeg
from tests.spark_jobs.pca.steps import featurised, projected
from tests.spark_jobs.without_spark import NoSpark, deal_in_this_process
from tests.spark_jobs.written_dates import damage

if TYPE_CHECKING:
    from collections.abc import Callable

    from fruit_contract.summaries import RefreshSummary
    from tests.spark_jobs.lake_folder import LakeFolder

DAY = "2026-11-22"
AUTO, ALWAYS, NEVER = RefreshPolicy.AUTO, RefreshPolicy.ALWAYS, RefreshPolicy.NEVER


@pytest.fixture
def filled(published: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> LakeFolder:
    """Returns a lake with a date of six images that have features."""
    deal_in_this_process(monkeypatch)
    deliver(published, *range(6))
    return published


def deliver(filled: LakeFolder, *numbers: int) -> None:
    filled.deliver(DAY, {f"Kiwi/{number}.jpg": jpeg(number) for number in numbers})
    extract_features(NoSpark(), ExtractionRequest(filled.bucket, RELEASE, "run", (DAY,), (), "litert", task_slots=2))  # type: ignore[arg-type]


def refresh(
    filled: LakeFolder,
    policy: RefreshPolicy = AUTO,
    target: float = 0.95,
    keep_versions: int = 3,
    grace_seconds: float = 0.0,
) -> RefreshSummary:
    """Runs a PCA step that remembers no model, like one in a process of its own. `auto` fits only if there is no
    version, or because of growth.
    """
    projecting._projector.cache_clear()
    settings = PolicySettings(policy, target, always_below=0, growth=1.5, margin=1)
    request = RefreshRequest(
        filled.bucket, RELEASE, "run", settings, (DAY,), keep_versions, grace_seconds, task_slots=2
    )
    return refresh_pca(NoSpark, request)  # type: ignore[arg-type]


def begin_a_fit(filled: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a fit whose step dies before it has projected anything; returns its version."""
    before = version_folders(filled.store)

    def die(*_: Any) -> Any:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(refresh_step, "project_dates", die)
        with pytest.raises(TimeoutError):
            refresh(filled, ALWAYS)
    (begun,) = version_folders(filled.store) - before
    return begun


def lose(filled: LakeFolder, version: str, how: str) -> None:
    key = f"{lake.pca_prefix(version)}model.parquet"
    if how == "gone":
        filled.delete(key)
    elif how == "cut off":
        filled.put(key, bytes(filled.store.read(key))[:5000])
    else:
        damage(filled.store, key)


def current(filled: LakeFolder) -> str:
    return str(filled.store.read_json(lake.CURRENT_PCA_KEY)["version"])


def assert_sound(filled: LakeFolder, version: str) -> None:
    load_version(filled.store, version)
    assert projected(filled, version) == featurised(filled)


def assert_complete(filled: LakeFolder, version: str) -> None:
    """Checks that readers who begin at the pointer find this version, its model and the projections of all images."""
    assert current(filled) == version
    assert_sound(filled, version)


@pytest.mark.parametrize("how", ["gone", "cut off", "a bit has changed"])
@pytest.mark.parametrize("policy", [AUTO, ALWAYS])
def test_a_model_that_is_lost_is_written_again_by_a_fit_of_the_same_images(
    filled: LakeFolder, policy: RefreshPolicy, how: str
) -> None:
    version = refresh(filled)["pca_version"]
    lose(filled, version, how)

    summary = refresh(filled, policy)

    assert (summary["action"], summary["pca_version"], summary["projected_ingest_dates"]) == ("fitted", version, [])
    assert_complete(filled, version)


@pytest.mark.parametrize("policy", [AUTO, ALWAYS])
def test_a_lost_model_of_other_images_makes_way_for_a_new_version(filled: LakeFolder, policy: RefreshPolicy) -> None:
    lost = refresh(filled)["pca_version"]
    deliver(filled, 6)
    lose(filled, lost, "cut off")

    summary = refresh(filled, policy, keep_versions=1)

    assert (summary["action"], summary["removed_versions"]) == ("fitted", [lost])
    assert summary["pca_version"] != lost
    assert_complete(filled, summary["pca_version"])
    assert version_folders(filled.store) == {summary["pca_version"]}
    if policy is AUTO:
        assert summary["reason"] == f"the current version {lost} can't be read"


def test_a_step_that_may_not_fit_leaves_readers_the_projections_of_a_lost_model(filled: LakeFolder) -> None:
    lost = refresh(filled)["pca_version"]
    before = projected(filled, lost)
    deliver(filled, 6)
    lose(filled, lost, "gone")

    summary = refresh(filled, NEVER)

    assert (summary["action"], summary["pca_version"], summary["removed_versions"]) == ("nothing", None, [])
    assert summary["reason"] == f"the policy is 'never', and the current version {lost} can't be read"
    assert (current(filled), projected(filled, lost)) == (lost, before)


def damage_provenance(filled: LakeFolder, version: str) -> None:
    filled.put(lake.pca_provenance_key(version), b'{"version": "2026')


@pytest.mark.parametrize("damage_it", [partial(lose, how="gone"), damage_provenance])
def test_a_former_version_that_is_damaged_stays_as_long_as_a_sound_one_would(
    filled: LakeFolder, damage_it: Callable[[LakeFolder, str], None]
) -> None:
    former = refresh(filled)["pca_version"]
    deliver(filled, 6)
    version = refresh(filled, ALWAYS)["pca_version"]
    before = projected(filled, former)
    damage_it(filled, former)
    deliver(filled, 7)

    for options in ({"keep_versions": 2}, {"keep_versions": 1, "grace_seconds": 3600.0}):
        summary = refresh(filled, NEVER, **options)
        assert (summary["removed_versions"], summary["damaged_versions"]) == ([], [former])
        # What readers have of it stays as it is.
        assert projected(filled, former) == before

    summary = refresh(filled, NEVER, keep_versions=1)
    assert (summary["removed_versions"], summary["damaged_versions"]) == ([former], [])
    assert_complete(filled, version)


def test_the_current_version_whose_provenance_is_damaged_makes_way_and_stays_for_its_readers(
    filled: LakeFolder,
) -> None:
    former = refresh(filled)["pca_version"]
    damage_provenance(filled, former)
    deliver(filled, 6)

    summary = refresh(filled, grace_seconds=3600.0, keep_versions=1)

    assert (summary["action"], summary["removed_versions"]) == ("fitted", [])
    assert_complete(filled, summary["pca_version"])
    assert projected(filled, former) != []
    assert refresh(filled, keep_versions=1)["removed_versions"] == [former]


@pytest.mark.parametrize("policy", [AUTO, ALWAYS, NEVER])
def test_without_the_pointer_the_newest_complete_version_is_the_current_one_and_the_others_stay(
    filled: LakeFolder, monkeypatch: pytest.MonkeyPatch, policy: RefreshPolicy
) -> None:
    versions = []
    for number in (6, 7, 8):
        deliver(filled, number)
        versions.append(refresh(filled, ALWAYS)["pca_version"])
    deliver(filled, 9)
    begun = begin_a_fit(filled, monkeypatch)
    filled.delete(lake.CURRENT_PCA_KEY)

    summary = refresh(filled, policy, keep_versions=1, grace_seconds=3600.0)

    if policy is NEVER:
        assert summary["pca_version"] == versions[-1]
    else:
        assert summary["pca_version"] not in versions
    assert summary["removed_versions"] in ([], [begun])
    for version in versions:
        assert_sound(filled, version)
    assert_complete(filled, summary["pca_version"])
    assert set(refresh(filled, NEVER, keep_versions=1)["removed_versions"]) >= set(versions[:2])


def test_without_the_pointer_a_fit_that_was_never_complete_is_gone_on_with(
    filled: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = begin_a_fit(filled, monkeypatch)

    summary = refresh(filled)

    assert (summary["pca_version"], summary["removed_versions"]) == (begun, [])
    assert_complete(filled, begun)


def test_an_unfinished_fit_that_is_lost_is_begun_anew(filled: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = begin_a_fit(filled, monkeypatch)
    lose(filled, begun, "cut off")

    summary = refresh(filled)

    assert summary["pca_version"] == begun
    assert_complete(filled, begun)


@pytest.mark.parametrize("name", ["current.json", "provenance.json"])
def test_without_the_pointer_what_cannot_be_read_is_fitted_anew(filled: LakeFolder, name: str) -> None:
    version = refresh(filled)["pca_version"]
    key = lake.CURRENT_PCA_KEY if name == "current.json" else lake.pca_provenance_key(version)
    filled.put(key, b"{")
    if name == "current.json":
        with pytest.raises(DamagedFileError, match=f"^{filled.store.uri(key)} "):
            refresh(filled)
    filled.delete(lake.CURRENT_PCA_KEY)

    summary = refresh(filled, ALWAYS)

    assert_complete(filled, summary["pca_version"])
    # What may have readers stays for a while.
    assert version_folders(filled.store) == {version, summary["pca_version"]}
    refresh(filled, NEVER, keep_versions=1)
    assert version_folders(filled.store) == {summary["pca_version"]}


@pytest.mark.parametrize(("policy", "target"), [(NEVER, 0.95), (NEVER, 0.9), (AUTO, 0.95)])
def test_a_step_that_neither_fits_nor_flips_leaves_an_unfinished_fit_to_the_one_that_goes_on_with_it(
    filled: LakeFolder, monkeypatch: pytest.MonkeyPatch, policy: RefreshPolicy, target: float
) -> None:
    former = refresh(filled)["pca_version"]
    deliver(filled, 6)
    begun = begin_a_fit(filled, monkeypatch)

    summary = refresh(filled, policy, target)

    if policy is AUTO:
        assert (summary["pca_version"], summary["removed_versions"]) == (begun, [])
        return
    assert (summary["pca_version"], summary["removed_versions"]) == (former, [])
    # It is not brought up to date before somebody goes on with it.
    assert projected(filled, begun) == []
    assert refresh(filled)["pca_version"] == begun
    assert_complete(filled, begun)


def test_a_fit_takes_the_place_of_an_unfinished_one(filled: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh(filled)
    deliver(filled, 6)
    begun = begin_a_fit(filled, monkeypatch)
    deliver(filled, 7)

    summary = refresh(filled, ALWAYS)

    assert summary["removed_versions"] == [begun]
    assert_complete(filled, summary["pca_version"])


def test_a_step_that_stalled_removes_nothing_after_somebody_else_has_flipped_the_pointer(
    filled: LakeFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refresh(filled)
    deliver(filled, 6)
    others: list[str] = []

    def stall(*arguments: Any) -> Any:
        projected = project_dates(*arguments)
        monkeypatch.setattr(refresh_step, "project_dates", project_dates)
        others.append(refresh(filled, ALWAYS)["pca_version"])
        return projected

    begun = begin_a_fit(filled, monkeypatch)
    monkeypatch.setattr(refresh_step, "project_dates", stall)
    deliver(filled, 7)
    filled.put(lake.pca_prefix("20200101T000000Z-000000000000") + "model.parquet", b"half a version")

    summary = refresh(filled, NEVER)

    assert begun not in others
    assert summary["removed_versions"] == []
    assert "was replaced by another writer meanwhile: no version is removed" in capsys.readouterr().out
    assert_complete(filled, others[0])
