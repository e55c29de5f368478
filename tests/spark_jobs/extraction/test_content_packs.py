"""Content indexes are looked through in few requests, and a pack of them is never believed more than they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract import lake
from fruit_features.extraction import content_packs
from fruit_features.extraction.content_hashes import to_bytes
from fruit_features.extraction.content_packs import Packed, find_hashes, pack_from_bytes, pack_to_bytes
from fruit_features.lake.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.spark_jobs.lake_folder import LakeFolder

WANTED = np.array([1, 5, 9], dtype=np.uint64)
DAYS = [f"2026-{month:02}-{day:02}" for month in (9, 10, 11) for day in range(1, 13)]


def index(store: Store, day: str, hashes: Sequence[int]) -> None:
    store.write(lake.content_index_key("m", day), to_bytes(np.array(sorted(hashes), dtype=np.uint64)))


def look(store: Store) -> dict[str, list[int]]:
    return {day: hashes.tolist() for day, hashes in find_hashes(store, "m", WANTED).items()}


def packs(store: Store) -> set[str]:
    return {key.rpartition("/")[2] for key in store.list_keys(lake.content_index_prefix("m")) if key.endswith(".pack")}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    find = Store.find_with_etag

    def noted(store: Store, key: str) -> object:
        found.append(key.rpartition("/")[2])
        return find(store, key)

    monkeypatch.setattr(Store, "find_with_etag", noted)
    return found


@pytest.fixture
def history(test_lake: LakeFolder) -> Store:
    for number, day in enumerate(DAYS):
        index(test_lake.store, day, [number, 100 + number])
    return test_lake.store


EXPECTED = {day: [number] if number in WANTED else [] for number, day in enumerate(DAYS)}


def test_a_history_is_a_file_a_month_once_it_was_looked_through(history: Store, reads: list[str]) -> None:
    assert look(history) == EXPECTED
    assert len(reads) == len(DAYS)
    assert packs(history) == {"2026-09.pack", "2026-10.pack", "2026-11.pack"}

    reads.clear()
    assert look(history) == EXPECTED
    assert sorted(reads) == ["2026-09.pack", "2026-10.pack", "2026-11.pack"]


def test_what_has_come_or_changed_since_is_read_by_itself(history: Store, reads: list[str]) -> None:
    look(history)
    index(history, "2026-11-13", [5])
    index(history, DAYS[-1], [9])
    index(history, DAYS[0], [1, 5])
    reads.clear()

    expected = EXPECTED | {"2026-11-13": [5], DAYS[-1]: [9], DAYS[0]: [1, 5]}
    assert look(history) == expected
    assert sorted(reads) == [
        "2026-09-01.bin",
        "2026-09.pack",
        "2026-10.pack",
        "2026-11-12.bin",
        "2026-11-13.bin",
        "2026-11.pack",
    ]
    # A month that is over is packed anew at once, the latest one when it is worth it.
    reads.clear()
    assert look(history) == expected
    assert sorted(reads) == ["2026-09.pack", "2026-10.pack", "2026-11-12.bin", "2026-11-13.bin", "2026-11.pack"]
    index(history, "2026-11-14", [])
    index(history, "2026-11-15", [])
    look(history)
    reads.clear()
    assert look(history) == expected | {"2026-11-14": [], "2026-11-15": []}
    assert len(reads) == 3


def test_a_date_that_is_gone_leaves_its_pack(history: Store) -> None:
    look(history)
    history.delete([lake.content_index_key("m", day) for day in DAYS[:13]])

    assert look(history) == {day: EXPECTED[day] for day in DAYS[13:]}
    assert packs(history) == {"2026-10.pack", "2026-11.pack"}
    packed = pack_from_bytes(history.find(lake.content_pack_key("m", "2026-10")))
    assert sorted(packed) == DAYS[13:24]


@pytest.mark.parametrize("damage", [b"", b"no pack", b"\x02" + b"\0" * 7 + b"[]", b"\xff" * 40])
def test_a_damaged_pack_is_made_anew(history: Store, damage: bytes) -> None:
    look(history)
    key = lake.content_pack_key("m", "2026-10")
    whole = bytes(history.read(key))
    history.write(key, damage)

    assert look(history) == EXPECTED
    assert bytes(history.read(key)) == whole


@pytest.mark.parametrize("is_packed", [True, False])
def test_an_index_that_was_cut_off_is_named_and_points_to_nothing(
    history: Store, is_packed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if is_packed:
        look(history)
    key = lake.content_index_key("m", DAYS[5])
    whole = bytes(history.read(key))
    history.write(key, whole[:-3])

    assert look(history) == EXPECTED | {DAYS[5]: []}
    assert f"{history.uri(key)} is not as it was written" in capsys.readouterr().out
    history.write(key, whole)
    assert look(history) == EXPECTED


def test_large_indexes_are_not_copied(history: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    look(history)
    monkeypatch.setattr(content_packs, "_MOST_BYTES", 12 * 16)
    index(history, DAYS[0], range(10))
    assert look(history) == EXPECTED | {DAYS[0]: [1, 5, 9]}
    assert packs(history) == {"2026-10.pack", "2026-11.pack"}


@given(
    st.dictionaries(st.dates().map(str), st.tuples(st.text(max_size=5), st.binary(max_size=24)), max_size=5),
    st.integers(1, 30),
)
def test_a_pack_holds_its_indexes_and_nothing_of_it_is_believed_if_it_is_cut(
    indexes: dict[str, tuple[str, bytes]], cut: int
) -> None:
    packed = {day: Packed(etag, memoryview(content)) for day, (etag, content) in indexes.items()}
    content = pack_to_bytes(packed)
    assert pack_from_bytes(content) == packed
    assert pack_from_bytes(content[:-cut]) == {}
