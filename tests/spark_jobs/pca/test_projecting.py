"""A date is projected under a version exactly if its files of features and of projections have the same names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fruit_contract import lake
from fruit_contract.commit import file_key
from fruit_contract.pca_files import Provenance
from fruit_features.lake import files
from fruit_features.lake.commit import read_ledger
from fruit_features.lake.store import Store
from fruit_features.lake.vectors import to_matrix
from fruit_features.pca import projecting
from fruit_features.pca.fit import PcaModel, project
from fruit_features.pca.projecting import FeaturesGoneError, Projected, ProjectionTask, project_dates, project_rows
from fruit_features.pca.versions import load_version, save_version, version_name
from tests.spark_jobs.written_dates import Files, damage, features_rows, keys_in, put_features, vector, write_date

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.spark_jobs.lake_folder import LakeFolder

DAY, LATER = "2026-11-21", "2026-11-22"
KIWI, LEMON = "category=Kiwi/w1-000000.parquet", "category=Lemon/w1-000000.parquet"
ODD = "category=Äpfel 50%25/w1-000000.parquet"


def save_model(store: Store, seed: int = 0, embedder_id: str = "m") -> str:
    """Saves a version of drawn numbers and returns its name. Other tests check the fitting."""
    draw = np.random.default_rng(seed)
    ratios = np.array([0.5, 0.3, 0.1])
    model = PcaModel(
        draw.normal(3, 1, 1280),
        draw.uniform(1, 2, 1280),
        draw.normal(size=(3, 1280)),
        ratios * 9.0,
        ratios,
        np.full(1280, 1 / 1280),
    )
    version = version_name(model, datetime(2026, 11, 1 + seed, tzinfo=UTC))
    save_version(
        store,
        model,
        Provenance(version, embedder_id, 12, (), 0.9, model.k, 0.9, True, "r", "2026-11-01T00:00:00+00:00"),
    )
    return version


def names_of(store: Store, version: str, *days: str) -> set[str]:
    """Returns the names of the projections below the version's prefix, which are those of features below theirs."""
    prefix = lake.projections_prefix(version)
    return {
        key.removeprefix(prefix) for day in days for key in store.list_keys(lake.projections_date_prefix(version, day))
    }


def expected_names(day: str, named: Files) -> set[str]:
    return {file_key(day, name).removeprefix(f"{lake.FEATURES}/") for name in named}


def project_in_driver(store: Store, embedders: dict[str, str], *days: str) -> Projected:
    return project_dates(None, store, embedders, days, 2)


def assert_rows(store: Store, version: str, key: str, keys: Sequence[str]) -> None:
    """Checks that the file holds the projections of these images, in order."""
    model, _ = load_version(store, version)
    rows = files.read_rows(key, store.read(lake.projections_file_key(version, key)), files.PROJECTIONS.names)
    assert rows.column("image_key").to_pylist() == list(keys)
    found = to_matrix(rows.column("components").combine_chunks(), model.k)
    np.testing.assert_array_equal(found, project(model, np.stack([vector(key) for key in keys])))


def test_every_file_of_features_has_one_of_projections_of_its_name(test_lake: LakeFolder) -> None:
    store = test_lake.store
    first, second = save_model(store, 0), save_model(store, 1)
    named = {KIWI: ("1.jpg", "2.jpg"), LEMON: ("1.jpg",), ODD: ("ü.jpg",)}
    ledger = write_date(store, DAY, named)
    write_date(store, LATER, {KIWI: ("9.jpg",)})

    projected = project_in_driver(store, {first: "m", second: "m"}, DAY, LATER)

    assert (projected.etags[DAY], projected.ingest_dates, projected.unsettled) == (ledger.etag, {DAY, LATER}, set())
    for version in (first, second):
        assert names_of(store, version, DAY) == expected_names(DAY, named)
        for name, images in named.items():
            assert_rows(store, version, file_key(DAY, name), keys_in(DAY, name, images))


@pytest.mark.parametrize("is_gone", [True, False])
def test_under_a_version_that_cannot_be_read_nothing_is_projected_and_it_is_said(
    test_lake: LakeFolder, is_gone: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    store = test_lake.store
    lost, sound = save_model(store, 0), save_model(store, 1)
    ledger = write_date(store, DAY, {KIWI: ("1.jpg",)})
    test_lake.put(lake.projections_file_key(lost, file_key(DAY, LEMON)), b"stale")
    key = f"{lake.pca_prefix(lost)}model.parquet"
    test_lake.delete(key) if is_gone else damage(store, key)

    projected = project_in_driver(store, {lost: "m", sound: "m"}, DAY)

    assert (projected.unreadable, projected.ingest_dates, projected.etags) == ({lost}, {DAY}, {DAY: ledger.etag})
    assert names_of(store, sound, DAY) == expected_names(DAY, {KIWI: ()})
    # What vanished leaves it all the same.
    assert names_of(store, lost, DAY) == set()
    said = capsys.readouterr().out
    assert store.uri(key) in said
    assert f"Nothing is projected under PCA version {lost}" in said


def test_what_is_projected_is_left_alone(test_lake: LakeFolder) -> None:
    store = test_lake.store
    version = save_model(store)
    ledger = write_date(store, DAY, {KIWI: ("1.jpg",)})
    project_in_driver(store, {version: "m"}, DAY)
    write_date(store, DAY, {KIWI: ("1.jpg",), LEMON: ("2.jpg",)}, write="w2", before=ledger)
    path = test_lake.folder / lake.projections_file_key(version, file_key(DAY, KIWI))
    before = path.stat().st_mtime_ns

    assert project_in_driver(store, {version: "m"}, DAY).ingest_dates == {DAY}
    assert project_in_driver(store, {version: "m"}, DAY).ingest_dates == set()

    assert path.stat().st_mtime_ns == before
    assert names_of(store, version, DAY) == expected_names(DAY, {KIWI: (), LEMON: ()})


def test_projections_without_features_go_from_every_version_also_of_a_date_without_a_ledger(
    test_lake: LakeFolder,
) -> None:
    store = test_lake.store
    first, second = save_model(store, 0), save_model(store, 1)
    write_date(store, DAY, {KIWI: ("1.jpg",)})
    for version in (first, second):
        for day in (DAY, LATER):
            test_lake.put(lake.projections_file_key(version, file_key(day, LEMON)), b"stale")

    project_in_driver(store, {first: "m", second: "m"}, DAY, LATER)

    for version in (first, second):
        assert names_of(store, version, DAY, LATER) == expected_names(DAY, {KIWI: ()})


def test_a_version_has_the_features_of_its_own_embedder_alone(test_lake: LakeFolder) -> None:
    store = test_lake.store
    first, second = save_model(store, 0, "former"), save_model(store, 1, "m")
    write_date(store, DAY, {"m": {KIWI: ("1.jpg",)}, "former": {LEMON: ("2.jpg",)}})

    project_in_driver(store, {first: "former", second: "m"}, DAY)

    assert names_of(store, first, DAY) == expected_names(DAY, {LEMON: ()})
    assert names_of(store, second, DAY) == expected_names(DAY, {KIWI: ()})


def test_nothing_is_removed_before_its_successor_is_there(
    test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = test_lake.store
    version = save_model(store)
    ledger = write_date(store, DAY, {KIWI: ("1.jpg", "2.jpg")})
    project_in_driver(store, {version: "m"}, DAY)
    write_date(store, DAY, {"category=Kiwi/w2-r.parquet": ("1.jpg",)}, write="w2", before=ledger)
    done: list[str] = []
    record(monkeypatch, "write", lambda key: done.append(f"write {key}") if key.startswith(lake.PROJECTIONS) else None)
    record(monkeypatch, "delete", lambda keys: done.extend(f"delete {key}" for key in keys))

    project_in_driver(store, {version: "m"}, DAY)

    prefix = lake.projections_date_prefix(version, DAY)
    assert done == [f"write {prefix}category=Kiwi/w2-r.parquet", f"delete {prefix}{KIWI}"]


def record(monkeypatch: pytest.MonkeyPatch, method: str, note: Callable[[Any], None]) -> None:
    original = getattr(Store, method)

    def noted(self: Store, what: Any, *rest: Any) -> Any:
        note(what)
        return original(self, what, *rest)

    monkeypatch.setattr(Store, method, noted)


def test_a_date_that_is_committed_meanwhile_is_done_again(
    test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = test_lake.store
    version = save_model(store)
    before = write_date(store, DAY, {KIWI: ("1.jpg", "2.jpg")})
    commits_left = [1]

    def commit_meanwhile(key: str) -> None:
        if key.startswith(lake.PROJECTIONS) and commits_left:
            commits_left.pop()
            write_date(store, DAY, {LEMON: ("3.jpg",)}, write="w2", before=before)
            store.delete([file_key(DAY, KIWI)])

    record(monkeypatch, "write", commit_meanwhile)

    projected = project_in_driver(store, {version: "m"}, DAY)

    assert projected.unsettled == set()
    assert projected.etags[DAY] == read_ledger(store, DAY).etag
    assert names_of(store, version, DAY) == expected_names(DAY, {LEMON: ()})


def test_a_file_that_a_commit_takes_away_while_it_is_read_is_not_lost(
    test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = test_lake.store
    version = save_model(store)
    before = write_date(store, DAY, {KIWI: ("1.jpg",), LEMON: ("2.jpg",)})
    commits_left = [1]

    def commit_meanwhile(key: str) -> None:
        if key == file_key(DAY, KIWI) and commits_left:
            commits_left.pop()
            write_date(store, DAY, {LEMON: ("2.jpg",), ODD: ("3.jpg",)}, write="w2", before=before)
            store.delete([file_key(DAY, KIWI)])

    record(monkeypatch, "find", commit_meanwhile)

    projected = project_in_driver(store, {version: "m"}, DAY)

    assert (projected.unsettled, projected.ingest_dates) == (set(), {DAY})
    assert names_of(store, version, DAY) == expected_names(DAY, {LEMON: (), ODD: ()})


def test_a_date_that_is_committed_all_the_while_is_left_unsettled(
    test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = test_lake.store
    version = save_model(store)
    ledgers = [write_date(store, DAY, {f"{KIWI}-0": ("1.jpg",)})]

    def commit_meanwhile(key: str) -> None:
        if key.startswith(lake.projections_date_prefix(version, DAY)):
            ledgers.append(
                write_date(
                    store, DAY, {f"{KIWI}-{len(ledgers)}": ("1.jpg",)}, write=f"w{len(ledgers) + 1}", before=ledgers[-1]
                )
            )

    record(monkeypatch, "write", commit_meanwhile)
    write_date(store, LATER, {KIWI: ("1.jpg",)})

    projected = project_in_driver(store, {version: "m"}, DAY, LATER)

    assert projected.unsettled == {DAY}
    assert names_of(store, version, LATER) == expected_names(LATER, {KIWI: ()})


def test_a_file_that_is_gone_though_the_ledger_names_it_is_said(test_lake: LakeFolder) -> None:
    store = test_lake.store
    version = save_model(store)
    write_date(store, DAY, {KIWI: ("1.jpg",), LEMON: ("2.jpg",), ODD: ("3.jpg",)})
    store.delete([file_key(DAY, LEMON)])

    with pytest.raises(FeaturesGoneError, match=rf"gone: s3://[^,]*{LEMON}\. Run {DAY} again"):
        project_in_driver(store, {version: "m"}, DAY)

    # The others need not be projected again.
    assert names_of(store, version, DAY) == expected_names(DAY, {KIWI: (), ODD: ()})


def test_gone_files_are_named_wherever_they_stand_among_the_others(test_lake: LakeFolder) -> None:
    store = test_lake.store
    version = save_model(store)
    names = [f"category=Kiwi/w1-{number:06d}.parquet" for number in range(5)]
    for name in names[1:4:2]:
        put_features(store, DAY, name, ("1.jpg",))
    due = [projecting._Due(file_key(DAY, name), 5200, (version,)) for name in names]

    gone = ProjectionTask(store, {version: "m"}).run(due)

    assert gone == [file_key(DAY, names[number]) for number in (0, 2, 4)]
    assert names_of(store, version, DAY) == expected_names(DAY, dict.fromkeys(names[1:4:2], ()))


def test_an_empty_due_list_asks_nothing_of_the_lake(test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projecting, "find_ledgers", None)
    assert project_in_driver(test_lake.store, {}) == Projected()


def test_rows_of_another_embedder_in_a_file_are_left_out(test_lake: LakeFolder) -> None:
    version = save_model(test_lake.store)
    rows = features_rows(["a", "b"])
    others = features_rows(["c"], "other")
    batches: list[Any] = [files.features_to_parquet(rows.take([0])), files.features_to_parquet(others)]
    mixed: Any = files.features_to_parquet(pa.concat_tables([others, rows]))

    assert project_rows(test_lake.store, "mixed", mixed, version, "m").column("image_key").to_pylist() == ["a", "b"]
    assert [project_rows(test_lake.store, "one", one, version, "m").num_rows for one in batches] == [1, 0]


@pytest.mark.spark
def test_workers_give_what_the_driver_gives(spark, test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    store = test_lake.store
    first, second = save_model(store, 0), save_model(store, 1)
    named = {
        f"category=Kiwi/w1-{number:06d}.parquet": tuple(f"{number}-{image}.jpg" for image in range(3))
        for number in range(9)
    }
    write_date(store, DAY, named)
    write_date(store, LATER, {ODD: ("ü.jpg",)})
    project_in_driver(store, {first: "m"}, DAY, LATER)
    monkeypatch.setattr(files, "ROWS_READ_BY_DRIVER", 0)

    projected = project_dates(lambda: spark, store, {first: "m", second: "m"}, (DAY, LATER), 2)

    assert (projected.ingest_dates, projected.unsettled) == ({DAY, LATER}, set())
    for version in (first, second):
        assert names_of(store, version, DAY, LATER) == expected_names(DAY, named) | expected_names(LATER, {ODD: ()})
    for name, images in named.items():
        assert_rows(store, second, file_key(DAY, name), keys_in(DAY, name, images))


@pytest.mark.spark
def test_workers_tell_the_driver_what_was_gone(spark, test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    store = test_lake.store
    version = save_model(store)
    write_date(store, DAY, {KIWI: ("1.jpg",), LEMON: ("2.jpg",)})
    store.delete([file_key(DAY, LEMON)])
    monkeypatch.setattr(files, "ROWS_READ_BY_DRIVER", 0)

    with pytest.raises(FeaturesGoneError, match="Lemon"):
        project_dates(lambda: spark, store, {version: "m"}, (DAY,), 2)


def test_projections_are_read_by_anyone_as_float32_lists(test_lake: LakeFolder) -> None:
    version = save_model(test_lake.store)
    write_date(test_lake.store, DAY, {KIWI: ("1.jpg",)})
    project_in_driver(test_lake.store, {version: "m"}, DAY)

    table = pq.read_table(test_lake.folder / lake.projections_prefix(version))

    assert table.column_names == ["image_key", "components", "ingest_date", "category"]
    assert str(table.schema.field("components").type) == "list<element: float>"
