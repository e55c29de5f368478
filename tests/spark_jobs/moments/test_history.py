"""Checks the moments of all dates: they are what ledgers say, lost ones are added up again, and differences are
reported.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fruit_contract import lake
from fruit_contract.commit import file_key
from fruit_features.lake import commit as commit_module
from fruit_features.lake.commit import Ledger, list_ledgers, put_ledger
from fruit_features.moments import history as history_module
from fruit_features.moments.algebra import Moments, moments_of
from fruit_features.moments.history import ImagesDifferError, MomentsHistory, merge_history, read_days
from tests.spark_jobs.written_dates import Files, keys_in, put_features, vectors, write_date

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_features.lake.store import Store
    from tests.spark_jobs.lake_folder import LakeFolder

DAYS = [f"2026-11-{number:02}" for number in (1, 2, 3, 4, 9)]
NAME = "category=Kiwi/w1-000000.parquet"


def images_of(day: str) -> tuple[str, ...]:
    return tuple(f"{day}-{number}.jpg" for number in range(2 + int(day[-1]) % 3))


def keys_of(days: Sequence[str]) -> list[str]:
    return [key for day in days for key in keys_in(day, NAME, images_of(day))]


@pytest.fixture
def ledgers(test_lake: LakeFolder) -> dict[str, Ledger]:
    return {day: write_date(test_lake.store, day, {NAME: images_of(day)}, with_moments=True) for day in DAYS}


@pytest.fixture
def store(test_lake: LakeFolder, ledgers: dict[str, Ledger]) -> Store:
    return test_lake.store


def read_history(store: Store, cached: dict) -> MomentsHistory:
    return history_module.read_history(store, list_ledgers(store).committed, cached)


def merge(store: Store, embedder_id: str = "m") -> history_module.MergedHistory:
    return merge_history(None, store, embedder_id, read_history(store, {}))


def assert_of(found: Moments, keys: Sequence[str]) -> None:
    expected = moments_of(vectors(keys))
    assert found.n_samples == len(keys)
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-12)
    np.testing.assert_allclose(found.scatter, expected.scatter, atol=1e-9 * np.abs(expected.scatter).max())


@pytest.mark.slow
def test_the_moments_of_all_dates_are_those_of_all_features(store: Store) -> None:
    assert_of(merge(store).moments, keys_of(DAYS))


@pytest.mark.slow
def test_what_was_merged_is_not_merged_again(store: Store) -> None:
    first = merge(store)
    first.keep()
    again = merge(store)

    # All days but the last one are one file.
    assert (first.n_read, again.n_read) == (len(DAYS), 2)
    assert_of(again.moments, keys_of(DAYS))


def test_without_a_ledger_there_is_nothing(test_lake: LakeFolder) -> None:
    history = read_history(test_lake.store, {})
    assert (history.etags, history.dates) == ({}, {})
    assert merge(test_lake.store).moments.n_samples == 0


def test_dates_are_those_of_the_embedder_alone(test_lake: LakeFolder) -> None:
    store = test_lake.store
    other = "category=Kiwi/other.parquet"
    both: dict[str, Files] = {"m": {NAME: ("1.jpg", "2.jpg")}, "other": {other: ("3.jpg",)}}
    write_date(store, DAYS[0], both, with_moments=True)
    write_date(store, DAYS[1], {"other": {other: ("4.jpg",)}}, with_moments=True)

    history = read_history(store, {})

    assert (list(history.of_embedder("m")), list(history.of_embedder("other"))) == ([DAYS[0]], DAYS[:2])
    assert history.n_images_by_date("other") == {DAYS[0]: 1, DAYS[1]: 1}
    assert_of(merge(store).moments, keys_in(DAYS[0], NAME, ("1.jpg", "2.jpg")))
    assert_of(merge(store, "other").moments, [*keys_in(DAYS[0], other, ["3.jpg"]), *keys_in(DAYS[1], other, ["4.jpg"])])


def test_what_is_remembered_of_a_ledger_counts_only_while_it_is_the_same(
    store: Store, ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = read_history(store, {}).to_json()
    write_date(store, DAYS[0], {NAME: images_of(DAYS[0])[:1]}, write="w2", before=ledgers[DAYS[0]], with_moments=True)
    cached["2026-10-01"] = cached[DAYS[1]]
    read: list[str] = []
    read_commits = commit_module.read_commits

    def noted(of: Store, some: dict) -> dict:
        read.extend(some)
        return read_commits(of, some)

    monkeypatch.setattr(history_module, "read_commits", noted)

    history = read_history(store, cached)

    # A date that is gone is not remembered either.
    assert read == [DAYS[0]]
    assert (sorted(history.etags), sorted(history.dates)) == (DAYS, DAYS)
    assert history.of_embedder("m")[DAYS[0]].n_images == 1
    assert history.to_json() == read_history(store, {}).to_json()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [None, b"", b"no parquet"])
def test_moments_that_are_lost_are_added_up_from_the_features(store: Store, ledgers, damage: bytes | None) -> None:
    for day in DAYS[1:3]:
        (key,) = ledgers[day].commit.moments_keys()
        store.delete([key]) if damage is None else store.write(key, damage)

    merged = merge(store)

    assert_of(merged.moments, keys_of(DAYS))
    merged.keep()
    assert_of(merge(store).moments, keys_of(DAYS))


@pytest.mark.slow
def test_a_block_that_is_lost_is_merged_again(store: Store) -> None:
    merge(store).keep()
    blocks = [key for key in store.list_keys(lake.compacted_moments_prefix("m")) if key.endswith(".parquet")]
    assert blocks
    store.delete(blocks)

    merged = merge(store)

    assert_of(merged.moments, keys_of(DAYS))
    merged.keep()
    assert merge(store).n_read == 2


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b"[1]", b'"x"'])
def test_an_index_of_blocks_that_cannot_be_read_is_made_anew(
    store: Store, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    merge(store).keep()
    key = f"{lake.compacted_moments_prefix('m')}index.json"
    whole = store.read_json(key)
    store.write(key, damage)

    merged = merge(store)

    assert_of(merged.moments, keys_of(DAYS))
    assert f"{store.uri(key)} can't be read: " in capsys.readouterr().out
    merged.keep()
    assert store.read_json(key) == whole


@pytest.mark.slow
def test_a_block_whose_images_are_not_as_many_is_merged_again(store: Store, ledgers) -> None:
    """A cache is never the truth, whatever has happened to it."""
    merge(store).keep()
    (block,) = (key for key in store.list_keys(lake.compacted_moments_prefix("m")) if "-first=" in key)
    (moments,) = ledgers[DAYS[0]].commit.moments_keys()
    store.write(block, bytes(store.read(moments)))

    assert_of(merge(store).moments, keys_of(DAYS))


@pytest.mark.slow
def test_moments_of_other_images_than_the_ledgers_say_are_named_by_their_dates(store: Store, ledgers) -> None:
    for day in DAYS[3:]:
        (key,) = ledgers[day].commit.moments_keys()
        (other,) = ledgers[DAYS[0]].commit.moments_keys()
        store.write(key, bytes(store.read(other)))
    n_all, n_first = len(keys_of(DAYS)), len(images_of(DAYS[0]))
    n_lost = sum(len(images_of(day)) - n_first for day in DAYS[3:])
    differing = [day for day in DAYS[3:] if len(images_of(day)) != n_first]
    assert differing

    with pytest.raises(ImagesDifferError) as raised:
        merge(store)

    message = str(raised.value)
    assert f"of {n_all - n_lost:,} images, the ledgers say that {n_all:,} have features" in message
    for day in DAYS:
        assert (f"{day} ({n_first} instead of {len(images_of(day))})" in message) == (day in differing)


@pytest.mark.slow
def test_a_date_whose_features_are_lost_too_is_an_error(store: Store, ledgers) -> None:
    (key,) = ledgers[DAYS[1]].commit.moments_keys()
    store.delete([key, file_key(DAYS[1], NAME)])
    with pytest.raises(FileNotFoundError, match=file_key(DAYS[1], NAME)):
        merge(store)


@pytest.mark.slow
def test_a_date_that_is_committed_while_the_moments_are_merged_counts_as_it_is_now(store: Store, ledgers) -> None:
    history = read_history(store, {})
    put_features(store, DAYS[1], "category=Kiwi/w2-000000.parquet", ("new.jpg",))
    now = {NAME: images_of(DAYS[1]), "category=Kiwi/w2-000000.parquet": ("new.jpg",)}
    after = write_date(store, DAYS[1], now, write="w2", before=ledgers[DAYS[1]], with_moments=True)
    store.delete(list(ledgers[DAYS[1]].commit.moments_keys()))

    merged = merge_history(None, store, "m", history)

    assert_of(merged.moments, [*keys_of(DAYS), *keys_in(DAYS[1], NAME, ["new.jpg"])])
    # Who projects the date afterwards is told which commit it was.
    assert history.etags[DAYS[1]] == after.etag


@pytest.mark.slow
def test_a_date_that_has_been_emptied_meanwhile_counts_no_more(store: Store, ledgers) -> None:
    history = read_history(store, {})
    before = ledgers[DAYS[1]]
    put_ledger(store, before, before.rows.slice(0, 0), replace(before.commit, write="w2", n_images=0, embedders={}))
    store.delete(list(before.commit.moments_keys()))

    assert_of(merge_history(None, store, "m", history).moments, keys_of([DAYS[0], *DAYS[2:]]))


@pytest.mark.slow
def test_a_date_whose_ledger_is_gone_since_it_was_listed_counts_no_more(store: Store) -> None:
    listed = list_ledgers(store).committed
    store.delete([lake.ledger_key(DAYS[1])])

    history = history_module.read_history(store, listed, {})

    staying = [DAYS[0], *DAYS[2:]]
    assert sorted(history.etags) == sorted(history.dates) == sorted(history.to_json()) == staying
    assert_of(merge_history(None, store, "m", history).moments, keys_of(staying))


@pytest.mark.slow
def test_a_date_that_is_gone_while_the_moments_are_merged_counts_no_more(store: Store, ledgers) -> None:
    history = read_history(store, {})
    store.delete([lake.ledger_key(DAYS[1]), *ledgers[DAYS[1]].commit.moments_keys()])

    merged = merge_history(None, store, "m", history)

    assert_of(merged.moments, keys_of([DAYS[0], *DAYS[2:]]))
    assert DAYS[1] not in history.to_json()


@pytest.mark.slow
def test_the_moments_of_single_days_leave_out_what_is_not_there(store: Store, ledgers) -> None:
    store.delete(list(ledgers[DAYS[1]].commit.moments_keys()))

    found = read_days(store, read_history(store, {}), "m", [*DAYS[:3], "2026-12-01"])

    assert sorted(found) == [DAYS[0], DAYS[2]]
    assert_of(found[DAYS[2]], keys_of([DAYS[2]]))


@pytest.mark.spark
def test_workers_add_up_what_is_lost(spark, store: Store, ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
    from fruit_features.lake import files

    monkeypatch.setattr(files, "ROWS_READ_BY_DRIVER", 0)
    store.delete(list(ledgers[DAYS[2]].commit.moments_keys()))

    merged = merge_history(lambda: spark, store, "m", read_history(store, {}))

    assert_of(merged.moments, keys_of(DAYS))
    assert store.list_keys(f"{lake.MOMENTS}/_parts/") == []
