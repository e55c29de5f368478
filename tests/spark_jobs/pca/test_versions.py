"""Checks which versions stay, what the pointer says, and that a model is read as it was written, by others too."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract import lake
from fruit_contract.pca_files import Provenance
from fruit_features.lake.files import DamagedFileError
from fruit_features.lake.store import LostPlaceError, ObjectNotFoundError, Store
from fruit_features.moments.algebra import moments_of
from fruit_features.pca.fit import PcaModel, fit_pca
from fruit_features.pca.versions import (
    Pointer,
    find_version,
    flip_pointer,
    load_version,
    model_from_parquet,
    model_to_parquet,
    read_pointer,
    read_provenances,
    remove_versions,
    save_version,
    unfinished_versions,
    version_folders,
    version_name,
    versions_to_keep,
    was_used,
)

if TYPE_CHECKING:
    from tests.spark_jobs.lake_folder import LakeFolder

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
GRACE = timedelta(hours=1)
NAMES = [f"202611{day:02}T000000Z-0" for day in range(1, 9)]


def provenance(version: str, embedder_id: str = "m") -> Provenance:
    return Provenance(version, embedder_id, 9, ("2026-11-21",), 0.95, 3, 0.96, True, "r", "2026-11-22T00:00:00+00:00")


def model(seed: int = 0, n_features: int = 12) -> PcaModel:
    return fit_pca(moments_of(np.random.default_rng(seed).normal(3, 2, (40, n_features)).astype(np.float32)), 0.9)


def pointer(version: str, former: dict[str, datetime] | None = None, since: datetime | None = NOW) -> Pointer:
    return Pointer(version, since, former or {}, "etag")


def kept(versions: dict[str, str], current: Pointer | None, pending: str | None = None, keep: int = 3) -> set[str]:
    provenances = {version: provenance(version, embedder_id) for version, embedder_id in versions.items()}
    return versions_to_keep(provenances, current, pending, keep, GRACE, NOW)


def test_of_two_versions_of_one_second_the_later_one_stays() -> None:
    earlier, later, current = "20261122T110000Z-f", "20261122T110000Z-0", "20261122T120000Z-a"
    provenances = {
        version: replace(provenance(version), created_at=f"2026-11-22T{time}+00:00")
        for version, time in ((earlier, "11:00:00.1"), (later, "11:00:00.9"), (current, "12:00:00"))
    }
    former = {version: NOW - timedelta(hours=2) for version in (earlier, later)}

    assert versions_to_keep(provenances, pointer(current, former), None, 2, GRACE, NOW) == {later, current}


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, str], Pointer | None, str | None, int]:
    """Draws versions by embedder, what the pointer says of them (also of some that are gone), a version under way, and
    how many shall stay.
    """
    there = sorted(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=8)))
    versions = {version: draw(st.sampled_from("mn")) for version in there}
    current = None
    if there and draw(st.booleans()):  # type: ignore[arg-type]  # it takes `there` for what shall be drawn
        ages = st.integers(0, 120).map(lambda minutes: NOW - timedelta(minutes=minutes))
        former = draw(st.dictionaries(st.sampled_from(NAMES), ages, max_size=6))
        version = draw(st.sampled_from(there))
        former.pop(version, None)
        # An earlier release's pointer says neither since when nor what came before.
        current = pointer(version, former) if draw(st.booleans()) else pointer(version, since=None)
    return versions, current, draw(st.sampled_from([None, *there])), draw(st.integers(1, 4))


@given(history=histories())
def test_what_stays_is_what_readers_may_need_and_nothing_else(
    history: tuple[dict[str, str], Pointer | None, str | None, int],
) -> None:
    versions, current, pending, keep = history

    found = kept(versions, current, pending, keep)

    used = [version for version in sorted(versions, reverse=True) if was_used(version, current)]
    expected = {version for version in (current.version if current else None, pending) if version is not None}
    expected |= set([version for version in used if version not in expected][: keep - 1])
    expected |= {version for version in used if current.former.get(version, NOW - GRACE) > NOW - GRACE}
    expected |= {
        max(version for version in used if versions[version] == embedder)
        for embedder in {versions[version] for version in used}
    }
    assert found == expected
    assert found <= versions.keys()
    # A version that readers never used is there for the one who is making it.
    assert all(version in used or version == pending for version in found)


@given(history=histories())
def test_keeping_more_versions_removes_none_that_fewer_would_keep(
    history: tuple[dict[str, str], Pointer | None, str | None, int],
) -> None:
    versions, current, pending, keep = history
    assert kept(versions, current, pending, keep) <= kept(versions, current, pending, keep + 1)


def test_the_newest_used_ones_stay_beside_the_current_one() -> None:
    former = dict.fromkeys(NAMES[:4], NOW - timedelta(days=1))
    assert kept(dict.fromkeys(NAMES[:5], "m"), pointer(NAMES[4], former)) == set(NAMES[2:5])


def test_what_a_reader_may_still_hold_stays_though_there_are_newer_ones() -> None:
    former = dict.fromkeys(NAMES[1:4], NOW - timedelta(days=1)) | {NAMES[0]: NOW - timedelta(minutes=59)}
    assert kept(dict.fromkeys(NAMES[:5], "m"), pointer(NAMES[4], former), keep=1) == {NAMES[0], NAMES[4]}


def test_the_last_version_of_an_embedder_stays_however_old_it_is() -> None:
    versions = {NAMES[0]: "former", NAMES[1]: "former", NAMES[2]: "m", NAMES[3]: "m"}
    former = dict.fromkeys(NAMES[:3], NOW - timedelta(days=99))
    assert kept(versions, pointer(NAMES[3], former), keep=1) == {NAMES[1], NAMES[3]}


def test_a_fit_that_was_interrupted_goes_unless_it_is_gone_on_with() -> None:
    versions = dict.fromkeys(NAMES[:3], "m")
    current = pointer(NAMES[0])
    assert kept(versions, current) == {NAMES[0]}
    assert kept(versions, current, pending=NAMES[2]) == {NAMES[0], NAMES[2]}


def test_of_a_pointer_that_does_not_say_since_when_all_older_versions_were_used() -> None:
    current = pointer(NAMES[2], since=None)
    assert [was_used(version, current) for version in NAMES[:4]] == [True, True, True, False]
    assert kept(dict.fromkeys(NAMES[:4], "m"), current) == set(NAMES[:3])


def test_before_the_first_pointer_nothing_was_used() -> None:
    assert kept(dict.fromkeys(NAMES[:3], "m"), None) == set()
    assert not was_used(NAMES[0], None)


def test_the_pointer_names_the_versions_that_came_before_and_until_when(test_lake: LakeFolder) -> None:
    store = test_lake.store
    flip_pointer(store, None, provenance(NAMES[0]), NOW - 3 * GRACE)
    flip_pointer(store, read_pointer(store), provenance(NAMES[1]), NOW - 2 * GRACE)
    flip_pointer(store, read_pointer(store), provenance(NAMES[2]), NOW - GRACE)

    found = read_pointer(store)

    assert (found.version, found.since) == (NAMES[2], NOW - GRACE)
    assert dict(found.former) == {NAMES[0]: NOW - 2 * GRACE, NAMES[1]: NOW - GRACE}
    values = store.read_json(lake.CURRENT_PCA_KEY)
    assert (values["version"], values["k"], values["embedder_id"]) == (NAMES[2], 3, "m")


def test_a_version_that_readers_come_back_to_is_former_no_more(test_lake: LakeFolder) -> None:
    store = test_lake.store
    for version in (NAMES[0], NAMES[1], NAMES[0]):
        flip_pointer(store, read_pointer(store), provenance(version), NOW)

    found = read_pointer(store)

    assert (found.version, dict(found.former)) == (NAMES[0], {NAMES[1]: NOW})


def test_versions_that_an_earlier_pointer_does_not_name_stay_used(test_lake: LakeFolder) -> None:
    store = test_lake.store
    store.write_json(lake.CURRENT_PCA_KEY, {"version": NAMES[2], "k": 3, "embedder_id": "m"})
    assert read_pointer(store).since is None

    flip_pointer(store, read_pointer(store), provenance(NAMES[3]), NOW, NAMES[:5])

    assert dict(read_pointer(store).former) == dict.fromkeys(NAMES[:3], NOW)
    assert not was_used(NAMES[4], read_pointer(store))


@pytest.mark.parametrize("is_first", [True, False])
def test_who_read_the_pointer_before_somebody_else_flipped_it_does_not_flip_it_back(
    test_lake: LakeFolder, is_first: bool
) -> None:
    store = test_lake.store
    if not is_first:
        flip_pointer(store, None, provenance(NAMES[0]), NOW)
    before = read_pointer(store)
    flip_pointer(store, before, provenance(NAMES[2]), NOW)

    with pytest.raises(LostPlaceError, match=r"pca/current\.json was replaced by another writer"):
        flip_pointer(store, before, provenance(NAMES[1]), NOW)

    assert read_pointer(store).version == NAMES[2]


@given(seed=st.integers(0, 1000), n_features=st.integers(2, 30))
def test_a_model_is_read_as_it_was_written_to_the_bit(seed: int, n_features: int) -> None:
    written = model(seed, n_features)

    found = model_from_parquet(model_to_parquet(written))

    for name in ("mean", "scale", "components", "explained_variance", "explained_variance_ratio", "spectrum"):
        np.testing.assert_array_equal(getattr(found, name), getattr(written, name), strict=True)
    assert found.digest() == written.digest()


def test_pandas_reads_a_model_as_one_row_of_lists() -> None:
    written = model()

    (row,) = pd.read_parquet(io.BytesIO(model_to_parquet(written))).to_dict("records")

    np.testing.assert_array_equal(np.stack(row["components"]), written.components)
    for name in ("mean", "scale", "explained_variance", "explained_variance_ratio", "spectrum"):
        np.testing.assert_array_equal(row[name], getattr(written, name))


def test_a_version_comes_back_from_the_lake_and_is_called_by_its_time_and_content(test_lake: LakeFolder) -> None:
    written = model()
    said = provenance(version_name(written, NOW))
    assert said.version == f"20261122T120000Z-{written.digest()}"

    save_version(test_lake.store, written, said)

    found, again = load_version(test_lake.store, said.version)
    assert again == said
    np.testing.assert_array_equal(found.components, written.components)
    assert read_provenances(test_lake.store).provenances == {said.version: said}


@pytest.fixture
def saved(test_lake: LakeFolder) -> str:
    """Returns the name of a version that lies in the lake."""
    written = model()
    version = version_name(written, NOW)
    save_version(test_lake.store, written, provenance(version))
    return version


def test_a_model_that_was_cut_off_or_in_which_a_bit_has_changed_is_named_unless_it_is_the_same(
    test_lake: LakeFolder, saved: str
) -> None:
    store, key = test_lake.store, f"{lake.pca_prefix(saved)}model.parquet"
    content = bytes(store.read(key))
    for place in range(0, len(content), len(content) // 29):
        changed = bytearray(content)
        changed[place] ^= 64
        store.write(key, bytes(changed))
        with suppress(DamagedFileError):
            assert saved.endswith(load_version(store, saved).model.digest())
        store.write(key, content[:place])
        with pytest.raises(DamagedFileError, match=f"^{store.uri(key)} is not as it was written: "):
            load_version(store, saved)


def test_a_model_of_another_digest_than_its_version_is_called_by_is_damaged(test_lake: LakeFolder, saved: str) -> None:
    store, key = test_lake.store, f"{lake.pca_prefix(saved)}model.parquet"
    store.write(key, model_to_parquet(model(1)))
    with pytest.raises(
        DamagedFileError,
        match=f"^{store.uri(key)} is not as it was written: the digest of the model is {model(1).digest()}",
    ):
        load_version(store, saved)


def test_pages_of_a_model_carry_checksums() -> None:
    content = bytearray(model_to_parquet(model(n_features=300)))
    content[len(content) // 2] ^= 64
    with pytest.raises(OSError, match="CRC"):
        model_from_parquet(content)


@pytest.mark.parametrize("name", ["model.parquet", "provenance.json"])
@pytest.mark.parametrize("is_gone", [True, False])
def test_a_version_that_cannot_be_read_counts_as_none_and_is_said(
    test_lake: LakeFolder, saved: str, name: str, is_gone: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    key = f"{lake.pca_prefix(saved)}{name}"
    assert find_version(test_lake.store, saved) is not None
    test_lake.delete(key) if is_gone else test_lake.put(key, b"{")

    assert find_version(test_lake.store, saved) is None

    said = capsys.readouterr().out
    assert said.startswith(test_lake.store.uri(key))
    assert f"PCA version {saved} counts as none" in said
    assert list(read_provenances(test_lake.store).provenances) == ([saved] if name == "model.parquet" else [])


def test_a_pointer_that_cannot_be_read_is_named(test_lake: LakeFolder) -> None:
    test_lake.put(lake.CURRENT_PCA_KEY, b"{")
    with pytest.raises(DamagedFileError, match=r"pca/current\.json is not as it was written"):
        read_pointer(test_lake.store)


def test_what_was_fitted_after_the_current_version_and_not_used_is_unfinished() -> None:
    assert unfinished_versions(NAMES[:5], pointer(NAMES[1], {NAMES[3]: NOW})) == [NAMES[4], NAMES[2]]
    assert unfinished_versions(NAMES[:2], None) == [NAMES[1], NAMES[0]]


def test_a_version_without_its_provenance_is_none_and_its_folder_is_found_all_the_same(test_lake: LakeFolder) -> None:
    save_version(test_lake.store, model(), provenance(NAMES[1]))
    test_lake.put(f"{lake.pca_prefix(NAMES[2])}model.parquet", b"half of it")
    test_lake.put(f"{lake.projections_prefix(NAMES[0])}ingest_date=2026-11-21/category=Kiwi/1.parquet", b"x")

    assert list(read_provenances(test_lake.store).provenances) == [NAMES[1]]
    assert version_folders(test_lake.store) == set(NAMES[:3])
    with pytest.raises(ObjectNotFoundError):
        load_version(test_lake.store, NAMES[0])


def test_a_version_goes_with_its_projections_and_the_others_stay(test_lake: LakeFolder) -> None:
    for version in NAMES[:2]:
        save_version(test_lake.store, model(), provenance(version))
        test_lake.put(f"{lake.projections_prefix(version)}ingest_date=2026-11-21/category=Äpfel 50%25/1.parquet", b"x")

    remove_versions(test_lake.store, [NAMES[0]])

    assert version_folders(test_lake.store) == {NAMES[1]}
    assert len(test_lake.store.list_keys(f"{lake.PROJECTIONS}/")) == 1


def test_a_removal_that_breaks_off_leaves_no_version_that_lacks_its_projections(
    test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_version(test_lake.store, model(), provenance(NAMES[0]))
    monkeypatch.setattr(Store, "delete_below", broken_off)

    with pytest.raises(KeyboardInterrupt):
        remove_versions(test_lake.store, [NAMES[0]])

    assert list(read_provenances(test_lake.store).provenances) == []
    assert version_folders(test_lake.store) == {NAMES[0]}


def broken_off(*_: object) -> None:
    raise KeyboardInterrupt
