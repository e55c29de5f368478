"""Checks that what a ledger says is true, and that everything else follows from the names in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract import lake, tables
from fruit_contract.commit import Commit, CommitFormatError, EmbedderFiles, MomentsObject
from fruit_features.lake import commit as commit_module
from fruit_features.lake import files
from fruit_features.lake.commit import (
    DateFiles,
    Ledger,
    find_ledgers,
    list_date,
    list_ledgers,
    no_ledger,
    projected_versions,
    put_ledger,
    put_rejected,
    read_commit,
    read_commits,
    read_ledger,
    sweep_date,
)
from fruit_features.lake.store import LostPlaceError, Store
from tests.spark_jobs.written_dates import ledger_rows, write_date

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fruit_contract.listing import ListedObject
    from tests.spark_jobs.lake_folder import LakeFolder

DAY, LATER = "2026-11-22", "2026-11-23"
KIWI, LEMON = "category=Kiwi/w1-000000.parquet", "category=Lemon/w1-000000.parquet"
ROWS = ledger_rows(DAY, {"m": {KIWI: ("1.jpg", "2.jpg")}}, {"Kiwi/cut.jpg": "truncated"})


def commit_of(named: dict[str, int], *, write: str = "w1", n_rejected: int = 0, moments: bool = True) -> Commit:
    n_rows = sum(named.values())
    place = MomentsObject(lake.moments_key(DAY, write, "m"), n_rows, "0" * 16) if moments else None
    return Commit(
        DAY, write, n_rows + n_rejected, n_rejected, {"m": EmbedderFiles(n_rows, named, place)} if named else {}
    )


def date_files(
    features: Iterable[str] = (),
    rejected: Iterable[str] = (),
    moments: Iterable[str] = (),
    ledger: Iterable[str] = (),
    projections: Iterable[str] = (),
) -> DateFiles:
    return DateFiles(
        DAY, frozenset(features), frozenset(rejected), frozenset(moments), frozenset(ledger), frozenset(projections)
    )


def listed(store: Store) -> ListedObject:
    return list_ledgers(store).committed[DAY]


def test_a_ledger_comes_back_with_its_rows_and_its_commit(test_lake: LakeFolder) -> None:
    commit = commit_of({KIWI: 2}, n_rejected=1)

    put = put_ledger(test_lake.store, no_ledger(DAY), ROWS, commit)

    found = read_ledger(test_lake.store, DAY)
    assert (found.commit, found.etag, found.ingest_date) == (commit, put.etag, DAY)
    assert found.rows.equals(ROWS)
    assert read_commit(test_lake.store, listed(test_lake.store)) == (commit, put.etag)


def test_a_date_that_nobody_has_committed_has_no_rows_and_no_commit(test_lake: LakeFolder) -> None:
    found = read_ledger(test_lake.store, DAY)
    assert (found.commit, found.etag, found.rows.num_rows, found.rows.schema) == (None, None, 0, files.LEDGER)


@pytest.mark.slow
@pytest.mark.parametrize("n_files", [0, 1, 400, 3000])
def test_a_commit_is_read_from_the_footer_however_long_that_is(
    store: Store, monkeypatch: pytest.MonkeyPatch, n_files: int
) -> None:
    commit = commit_of({f"category=Kiwi number {number:06d}/w1-000000.parquet": 1 for number in range(n_files)})
    etag = put_ledger(store, no_ledger(DAY), ROWS, commit).etag
    (entry,) = store.list_objects(lake.date_prefix(lake.LEDGER, DAY))
    monkeypatch.setattr(commit_module, "read_ledger", None)
    asked: list[int] = []
    find_end = Store.find_end

    def noted(self: Store, entry: ListedObject, n_bytes: int) -> object:
        asked.append(n_bytes)
        return find_end(self, entry, n_bytes)

    monkeypatch.setattr(Store, "find_end", noted)

    assert read_commit(store, entry) == (commit, etag)

    assert len(asked) == (2 if n_files == 3000 else 1)


def test_a_commit_that_was_replaced_since_it_was_listed_is_read_as_it_is_now(store: Store) -> None:
    first = put_ledger(store, no_ledger(DAY), ROWS, commit_of({KIWI: 2}))
    before = listed(store)
    second = put_ledger(store, first, ROWS.slice(0, 1), commit_of({LEMON: 1}, write="w2"))

    assert read_commit(store, before) == (second.commit, second.etag)
    assert read_commits(store, {DAY: before}) == {DAY: (second.commit, second.etag)}


def test_a_commit_that_is_gone_since_it_was_listed_is_none(test_lake: LakeFolder) -> None:
    put_ledger(test_lake.store, no_ledger(DAY), ROWS, commit_of({KIWI: 2}))
    before = listed(test_lake.store)
    test_lake.store.delete([before.key])

    assert read_commit(test_lake.store, before) is None
    assert read_commits(test_lake.store, {DAY: before}) == {}


def test_who_read_the_ledger_before_somebody_else_committed_overwrites_nothing(test_lake: LakeFolder) -> None:
    store = test_lake.store
    before = put_ledger(store, no_ledger(DAY), ROWS, commit_of({KIWI: 2}))
    theirs = put_ledger(store, before, ROWS, commit_of({KIWI: 2}, write="theirs"))

    for lost in (before, no_ledger(DAY)):
        with pytest.raises(LostPlaceError, match="Nothing was overwritten"):
            put_ledger(store, lost, ROWS, commit_of({KIWI: 2}, write="ours"))

    assert read_ledger(store, DAY).commit == theirs.commit
    # The one who knows how it is now goes on.
    put_ledger(store, theirs, ROWS, commit_of({KIWI: 2}, write="next"))
    assert read_ledger(store, DAY).commit.write == "next"


def test_what_a_later_release_wrote_is_refused_by_its_date(test_lake: LakeFolder) -> None:
    put_ledger(test_lake.store, no_ledger(DAY), ROWS, replace(commit_of({KIWI: 2}), schema_version=99))
    with pytest.raises(CommitFormatError, match=f"ledger of {DAY} was written by a later release"):
        read_commit(test_lake.store, listed(test_lake.store))


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-8] + b"x" * 8, lambda content: content[: len(content) // 2], lambda _: b""]
)
def test_a_ledger_that_is_not_as_it_was_written_is_named(store: Store, damage: Callable[[bytes], bytes]) -> None:
    put_ledger(store, no_ledger(DAY), ROWS, commit_of({KIWI: 2}))
    key = lake.ledger_key(DAY)
    store.write(key, damage(bytes(store.read(key))))

    for read in (lambda: read_commit(store, listed(store)), lambda: read_ledger(store, DAY)):
        with pytest.raises(files.DamagedFileError, match=f"^{store.uri(key)} is not as it was written: "):
            read()


def test_a_file_without_a_commit_in_the_ledger_s_place_is_named(store: Store) -> None:
    key = lake.ledger_key(DAY)
    store.write(key, files.rows_to_parquet(ROWS))

    for read in (lambda: read_commit(store, listed(store)), lambda: read_ledger(store, DAY)):
        with pytest.raises(CommitFormatError, match=f"^{store.uri(key)} holds no commit"):
            read()


def test_any_reader_of_parquet_reads_the_ledger(test_lake: LakeFolder) -> None:
    put_ledger(test_lake.store, no_ledger(DAY), ROWS, commit_of({KIWI: 2}))
    table = pq.read_table(test_lake.folder / lake.LEDGER)
    assert table.column_names == [*tables.LEDGER_COLUMNS, "ingest_date"]
    assert table.num_rows == 3


def test_dates_that_were_committed_and_those_of_an_earlier_release_are_told_apart(test_lake: LakeFolder) -> None:
    etag = put_ledger(test_lake.store, no_ledger(DAY), ROWS, commit_of({KIWI: 2})).etag
    for key in (
        f"ledger/ingest_date={DAY}/part-00000.snappy.parquet",
        "ledger/ingest_date=2026-11-25/part-00000.snappy.parquet",
        f"ledger/ingest_date={LATER}/part-00000.snappy.parquet",
        f"ledger/ingest_date={LATER}/part-00001.snappy.parquet",
        "ledger/ingest_date=2026-11-24/_SUCCESS",
        f"ledger/ingest_date={LATER}x/ledger.parquet",
        "ledger/_content/m/2026-11-22.bin",
        "ledger/ledger.parquet",
    ):
        test_lake.put(key, b"x")

    found = list_ledgers(test_lake.store)

    assert {day: entry.etag for day, entry in found.committed.items()} == {DAY: etag}
    assert found.earlier == [DAY, LATER, "2026-11-25"]


@pytest.mark.parametrize("listed_alone", [0, 32])
def test_the_ledgers_of_some_dates_are_those_that_are_there(
    test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch, listed_alone: int
) -> None:
    monkeypatch.setattr(commit_module, "_LISTED_ALONE", listed_alone)
    etags = {
        day: put_ledger(test_lake.store, no_ledger(day), ROWS, replace(commit_of({}), ingest_date=day)).etag
        for day in (DAY, LATER)
    }
    test_lake.put("ledger/ingest_date=2026-11-25/part-00000.snappy.parquet", b"x")

    found = find_ledgers(test_lake.store, [DAY, "2026-11-24", "2026-11-25"])

    assert {day: (entry.key, entry.etag) for day, entry in found.items()} == {DAY: (lake.ledger_key(DAY), etags[DAY])}


def test_rejected_is_written_from_the_ledger(test_lake: LakeFolder) -> None:
    put_rejected(test_lake.store, Ledger(DAY, ROWS, commit_of({KIWI: 2}, n_rejected=1), "e"))

    (row,) = pq.read_table(test_lake.folder / lake.rejected_key(DAY, "w1"), partitioning=None).to_pylist()
    assert list(row) == list(tables.REJECTED_COLUMNS)
    assert (row["image_key"], row["reason"], row["detail"]) == (
        f"raw/ingest_date={DAY}/Kiwi/cut.jpg",
        "truncated",
        "it is truncated",
    )


def test_a_date_without_rejects_has_no_file_of_them(test_lake: LakeFolder) -> None:
    put_rejected(test_lake.store, Ledger(DAY, ROWS, commit_of({KIWI: 2}), "e"))
    put_rejected(test_lake.store, no_ledger(DAY))
    assert test_lake.store.list_keys("rejected/") == []


def test_everything_of_a_date_is_listed_and_nothing_of_another(test_lake: LakeFolder) -> None:
    expected = date_files(
        features={f"features/ingest_date={DAY}/category=Äpfel 50%25/w1-000000.parquet"},
        rejected={f"rejected/ingest_date={DAY}/w1.parquet"},
        moments={f"moments/ingest_date={DAY}/w1-m.parquet", f"moments/_parts/ingest_date={DAY}/w1-000001.bin"},
        ledger={f"ledger/ingest_date={DAY}/ledger.parquet"},
        projections={f"projections/pca_version=v1/ingest_date={DAY}/category=Kiwi/w1-000000.parquet"},
    )
    for keys in (expected.features, expected.rejected, expected.moments, expected.ledger, expected.projections):
        for key in keys:
            test_lake.put(key, b"x")
            test_lake.put(key.replace(DAY, LATER), b"x")
    test_lake.put("moments/_compacted/m/index.json", b"x")
    test_lake.put(f"projections/pca_version=v2/ingest_date={LATER}/category=Kiwi/w1-000000.parquet", b"x")

    assert projected_versions(test_lake.store) == ["v1", "v2"]
    assert list_date(test_lake.store, DAY, ("v1", "v2")) == expected
    assert list_date(test_lake.store, DAY, ()) == replace(expected, projections=frozenset())


NAMES = st.sampled_from(
    [f"category={category}/{write}-{number}.parquet" for category in "KL" for write in ("w1", "w2") for number in "01"]
)
VERSIONS = ("v1", "v2")


@st.composite
def dates(draw: st.DrawFn) -> tuple[Commit | None, DateFiles]:
    """Draws a commit, or none, and files of the date: some that it names, and some that it does not."""
    named = draw(st.dictionaries(NAMES, st.integers(1, 9), max_size=6))
    commit = (
        commit_of(named, n_rejected=draw(st.integers(0, 2)), moments=draw(st.booleans()))
        if draw(st.booleans())
        else None
    )
    features = {lake.date_prefix(lake.FEATURES, DAY) + name for name in draw(st.sets(NAMES))}
    projected = draw(st.sets(st.tuples(st.sampled_from(VERSIONS), NAMES)))
    moments = {lake.moments_key(DAY, write, "m") for write in ("w1", "w2")} | {
        f"{lake.moments_parts_prefix(DAY)}w1-1.bin"
    }
    return commit, date_files(
        features,
        draw(st.sets(st.sampled_from([lake.rejected_key(DAY, "w1"), lake.rejected_key(DAY, "w2")]))),
        draw(st.sets(st.sampled_from(sorted(moments)))),
        draw(st.sets(st.sampled_from([lake.ledger_key(DAY), f"ledger/ingest_date={DAY}/part-0.parquet"]))),
        {lake.projections_date_prefix(version, DAY) + name for version, name in projected},
    )


@pytest.mark.slow
@given(date=dates())
def test_garbage_is_what_the_commit_does_not_name_and_nothing_else(date: tuple[Commit | None, DateFiles]) -> None:
    commit, there = date

    garbage = there.garbage(commit)

    assert garbage == sorted(set(garbage))
    everything = there.features | there.rejected | there.moments | there.ledger | there.projections
    assert set(garbage) <= everything
    named = keys_named_by(commit)
    staying = everything - set(garbage)
    assert staying == {
        key for key in everything if (lake.features_file_key(key) if key.startswith(lake.PROJECTIONS) else key) in named
    }


@pytest.mark.slow
@given(date=dates())
def test_when_the_garbage_is_gone_there_is_none(date: tuple[Commit | None, DateFiles]) -> None:
    commit, there = date
    garbage = frozenset(there.garbage(commit))
    after = DateFiles(
        DAY,
        *(keys - garbage for keys in (there.features, there.rejected, there.moments, there.ledger, there.projections)),
    )
    assert after.garbage(commit) == []
    assert after.has_rejected(commit) == there.has_rejected(commit)


def keys_named_by(commit: Commit | None) -> set[str]:
    if commit is None:
        return set()
    rejected = {lake.rejected_key(DAY, commit.write)} if commit.n_rejected else set()
    return commit.features_keys() | commit.moments_keys() | rejected | {lake.ledger_key(DAY)}


def test_rejects_are_missing_only_if_there_are_some() -> None:
    with_rejects = commit_of({KIWI: 2}, n_rejected=1)
    assert date_files().has_rejected(None)
    assert date_files().has_rejected(commit_of({KIWI: 2}))
    assert not date_files(rejected={lake.rejected_key(DAY, "former")}).has_rejected(with_rejects)
    assert date_files(rejected={lake.rejected_key(DAY, "w1")}).has_rejected(with_rejects)


def test_a_sweep_removes_what_no_commit_names_also_from_versions(test_lake: LakeFolder) -> None:
    store = test_lake.store
    ledger = write_date(store, DAY, {KIWI: ("1.jpg",)}, rejected={"Kiwi/cut.jpg": "truncated"}, with_moments=True)
    put_rejected(store, ledger)
    projections = [lake.projections_file_key("v1", f"features/ingest_date={DAY}/{name}") for name in (KIWI, LEMON)]
    garbage = [
        f"features/ingest_date={DAY}/{LEMON}", f"rejected/ingest_date={DAY}/w0.parquet",
        f"moments/ingest_date={DAY}/w0-m.parquet",
        f"moments/_parts/ingest_date={DAY}/w1-000001.bin", f"ledger/ingest_date={DAY}/part-0.parquet", projections[1],
    ]  # fmt: skip
    staying = [projections[0], f"features/ingest_date={LATER}/{LEMON}", "ledger/_content/m/2026-11-22.bin"]
    for key in (*garbage, *staying):
        test_lake.put(key, b"x")

    assert sweep_date(store, ledger) == len(garbage)

    there = {
        key
        for prefix in ("features/", "rejected/", "moments/", "ledger/", "projections/")
        for key in store.list_keys(prefix)
    }
    assert there == keys_named_by(ledger.commit) | set(staying)
    assert sweep_date(store, ledger) == 0
    assert pc.sum(pc.is_valid(read_ledger(store, DAY).rows.column("file"))).as_py() == 1


def test_who_was_committed_over_sweeps_nothing(test_lake: LakeFolder) -> None:
    store = test_lake.store
    former = write_date(store, DAY, {KIWI: ("1.jpg",)})
    ledger = write_date(store, DAY, {KIWI: ("1.jpg",), LEMON: ("2.jpg",)}, write="w2", before=former)

    assert sweep_date(store, former) == 0

    assert keys_named_by(ledger.commit) <= {
        key for prefix in ("features/", "ledger/") for key in store.list_keys(prefix)
    }


def test_rows_and_metadata_stand_in_one_file(test_lake: LakeFolder) -> None:
    """So that one PUT makes both true."""
    put_ledger(test_lake.store, no_ledger(DAY), pa.concat_tables([ROWS] * 1), commit_of({KIWI: 2}))
    assert test_lake.store.list_keys("") == [lake.ledger_key(DAY)]
