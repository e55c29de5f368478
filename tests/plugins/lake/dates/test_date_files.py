from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract import lake
from fruit_contract.commit import Commit, EmbedderFiles, MomentsObject, file_key
from fruit_pipeline.lake.dates.date_files import (
    ListedFiles,
    lost_features,
    lost_moments,
    lost_rejects,
    unprojected_files,
    unswept_files,
)
from fruit_pipeline.lake.facts import DatedObject, is_visible_parquet

DAY = "2026-11-22"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
OLD = EmbedderFiles(0, {"category=Kiwi/a-0.parquet": 3}, MomentsObject("moments/old", 3, "00"))
NEW = EmbedderFiles(
    3, {"category=Kiwi/b-0.parquet": 2, "category=Fig/b-1.parquet": 1}, MomentsObject("moments/new", 3, "00")
)
COMMIT = Commit(DAY, "b", 4, 1, {"old": OLD, "new": NEW})


def files(keys: set[str]) -> dict[str, DatedObject]:
    return {key: DatedObject(key, "e", 1, NOW) for key in keys}


def projected(version: str, *embedders: EmbedderFiles) -> set[str]:
    return {
        lake.projections_file_key(version, file_key(DAY, name)) for embedder in embedders for name in embedder.files
    }


def listed(**more: set[str]) -> ListedFiles:
    """Returns the files of a date that is as its commit says, and `more`. `v-old` is a kept version of the old
    embedder.
    """
    tables = {
        "features": COMMIT.features_keys(),
        "moments": COMMIT.moments_keys(),
        "rejected": {lake.rejected_key(DAY, "b")},
    }
    plain = {name: files(keys | more.get(name, set())) for name, keys in tables.items()}
    projections = {"v-old": projected("v-old", OLD), "v-new": projected("v-new", NEW) | more.get("projections", set())}
    return ListedFiles(**plain, projections={version: files(keys) for version, keys in projections.items()})


def without(found: ListedFiles, key: str) -> ListedFiles:
    def rest(of: dict[str, DatedObject]) -> dict[str, DatedObject]:
        return {other: stored for other, stored in of.items() if other != key}

    projections = {version: rest(dict(of)) for version, of in found.projections.items()}
    return ListedFiles(rest(dict(found.features)), rest(dict(found.moments)), rest(dict(found.rejected)), projections)


def differences(commit: Commit | None, found: ListedFiles) -> tuple[frozenset[str], ...]:
    unprojected = (
        unprojected_files(commit, found, version, embedder)
        for version, embedder in (("v-old", "old"), ("v-new", "new"))
    )
    return lost_features(commit, found), lost_moments(commit, found), unswept_files(commit, found), *unprojected


def test_a_date_that_is_as_its_commit_says_has_no_difference() -> None:
    assert not any(differences(COMMIT, listed()))


@pytest.mark.parametrize("key", sorted(COMMIT.features_keys()))
def test_a_named_file_that_is_gone_is_lost_whatever_its_embedder(key: str) -> None:
    assert differences(COMMIT, without(listed(), key))[0] == {key}


@pytest.mark.parametrize("key", sorted(COMMIT.moments_keys()))
def test_named_moments_that_are_gone_are_lost(key: str) -> None:
    assert differences(COMMIT, without(listed(), key))[1] == {key}


@pytest.mark.parametrize(("version", "embedder", "place"), [("v-old", OLD, 3), ("v-new", NEW, 4)])
def test_a_file_without_its_projections_is_not_projected(version: str, embedder: EmbedderFiles, place: int) -> None:
    name = min(embedder.files)
    key = file_key(DAY, name)
    assert differences(COMMIT, without(listed(), lake.projections_file_key(version, key)))[place] == {key}


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("features", file_key(DAY, "category=Kiwi/c-0.parquet")),
        ("moments", lake.moments_key(DAY, "c", "new")),
        ("rejected", lake.rejected_key(DAY, "a")),
        ("projections", lake.projections_file_key("v-new", file_key(DAY, "category=Kiwi/c-0.parquet"))),
    ],
)
def test_a_file_that_no_commit_names_is_garbage(table: str, key: str) -> None:
    assert differences(COMMIT, listed(**{table: {key}}))[2] == {key}


def test_rejects_that_the_commit_calls_for_may_be_lost() -> None:
    """They are written after the ledger."""
    key = lake.rejected_key(DAY, "b")
    assert lost_rejects(COMMIT, listed()) == frozenset()
    assert lost_rejects(COMMIT, without(listed(), key)) == {key}
    assert lost_rejects(Commit(DAY, "b", 3, 0), ListedFiles()) == lost_rejects(None, ListedFiles()) == frozenset()


def test_what_only_a_step_under_way_may_have_is_garbage() -> None:
    others = {"ledger/ingest_date=2026-11-22/part-0.parquet", f"{lake.moments_parts_prefix(DAY)}p.parquet"}
    assert unswept_files(COMMIT, replace(listed(), others=files(others))) == others


def test_rejects_of_a_commit_without_any_are_garbage() -> None:
    commit = Commit(DAY, "b", 3, 0, COMMIT.embedders)
    assert unswept_files(commit, listed()) == {lake.rejected_key(DAY, "b")}


def test_without_a_commit_everything_is_garbage() -> None:
    found = listed()
    everything = {
        *found.features,
        *found.moments,
        *found.rejected,
        *(key for of in found.projections.values() for key in of),
    }
    assert differences(None, found) == (frozenset(), frozenset(), everything, frozenset(), frozenset())
    assert not any(differences(None, ListedFiles()))


def test_a_version_of_an_embedder_that_the_date_has_not_is_not_missed() -> None:
    assert unprojected_files(COMMIT, ListedFiles(), "v", "another") == frozenset()
    assert unprojected_files(COMMIT, ListedFiles(), "v", "new") == {file_key(DAY, name) for name in NEW.files}


@given(st.sets(st.sampled_from([f"category=Kiwi/{n}.parquet" for n in range(6)])), st.sets(st.integers(0, 5)))
def test_every_file_is_as_it_should_be_or_lost_or_garbage(named: set[str], there: set[int]) -> None:
    commit = Commit(DAY, "w", 0, 0, {"m": EmbedderFiles(0, dict.fromkeys(named, 1), None)})
    found = ListedFiles(files({file_key(DAY, f"category=Kiwi/{n}.parquet") for n in there}))
    lost, unswept = lost_features(commit, found), unswept_files(commit, found)
    assert commit.features_keys() - lost == found.features.keys() - unswept


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("category=Kiwi/a-0.parquet", True),
        ("a.parquet", True),
        ("_SUCCESS", False),
        (".a.parquet", False),
        ("_temporary/0/a.parquet", False),
        ("category=Kiwi/.a.parquet.crc", False),
        ("category=Kiwi/", False),
        ("notes.txt", False),
    ],
)
def test_tells_what_a_reader_of_the_table_sees(name: str, *, expected: bool) -> None:
    prefix = f"features/_odd/ingest_date={DAY}/"
    assert is_visible_parquet(f"{prefix}{name}", prefix) is expected
