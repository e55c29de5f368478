"""Checks fetching from a real S3 API."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from fruit_features.embedding import fetching
from fruit_features.embedding.fetching import fetch_images
from fruit_features.lake import store as store_module

if TYPE_CHECKING:
    from fruit_features.lake.store import Store
    from tests.spark_jobs.lake_folder import LakeFolder

PREFIX = "raw/ingest_date=2026-11-22/"
ODD_NAMES = (
    "Äpfel 50%/a b.jpg",
    "a#b?c/1 +2&.jpg",
    "x~y{z}/[q]^.jpg",
    "%41bc/x.jpg",
    "e\u0301/x.jpg",
    "tab\there/x.jpg",
    "k/<>|\"'.jpg",
)


def fill(test_lake: LakeFolder, contents: dict[str, bytes]) -> list[tuple[str, str, int]]:
    for name, content in contents.items():
        test_lake.put(PREFIX + name, content)
    return list(zip(*test_lake.store.list_images(PREFIX).to_pydict().values(), strict=True))


@pytest.mark.slow
def test_every_image_arrives_whole_with_the_listings_etag(test_lake: LakeFolder) -> None:
    contents = {f"Kiwi/{index}.jpg": bytes([index % 256]) * (index + 1) for index in range(300)}
    listed = fill(test_lake, contents)

    images = {image.image_key: image for image in fetch_images(test_lake.store, listed)}

    assert {key.removeprefix(PREFIX): image.content for key, image in images.items()} == contents
    assert {(key, image.etag, image.size_bytes) for key, image in images.items()} == set(listed)


def test_names_with_odd_characters_arrive(test_lake: LakeFolder) -> None:
    listed = fill(test_lake, {name: name.encode() for name in ODD_NAMES})

    images = {image.image_key.removeprefix(PREFIX): image.content for image in fetch_images(test_lake.store, listed)}

    assert images == {name: name.encode() for name in ODD_NAMES}


def test_an_image_that_is_gone_is_named(test_lake: LakeFolder) -> None:
    fill(test_lake, {"Kiwi/1.jpg": b"x"})

    (image,) = fetch_images(test_lake.store, [(PREFIX + "Kiwi/gone.jpg", "e", 3)])

    assert (image.content, image.missing) == (None, "vanished")


def test_what_is_far_too_large_is_not_fetched(test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_FILE_BYTES", 10)
    listed = fill(test_lake, {"Kiwi/big.jpg": b"x" * 11, "Kiwi/small.jpg": b"y" * 10})

    found = {image.image_key.removeprefix(PREFIX): image.missing for image in fetch_images(test_lake.store, listed)}

    assert found == {"Kiwi/big.jpg": "too_large", "Kiwi/small.jpg": None}


def test_a_burst_is_fetched_while_the_one_before_it_is_decoded_and_no_more(
    test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "BURST_IMAGES", 5)
    monkeypatch.setattr(fetching, "FIRST_BURST_IMAGES", 5)
    listed = fill(test_lake, {f"Kiwi/{index}.jpg": b"x" for index in range(42)})
    gets: list[str] = []
    get = fetching._get

    def counted(store: Store, key: str, etag: str, size: int) -> fetching.FetchedImage:
        gets.append(key)
        return get(store, key, etag, size)

    monkeypatch.setattr(fetching, "_get", counted)
    taken = 0
    for _ in fetch_images(test_lake.store, listed):
        assert len(gets) <= (taken // 5 + 2) * 5
        taken += 1

    assert taken == len(gets) == 42


def test_bursts_are_cut_by_bytes_and_one_image_larger_than_that_still_passes(
    test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "BURST_BYTES", 10)
    listed = fill(test_lake, {f"Kiwi/{index}.jpg": b"x" * size for index, size in enumerate([4, 4, 4, 99, 1, 9, 9])})

    bursts = [[size for _, _, size in burst] for burst in fetching._bursts(listed)]

    assert bursts == [[4, 4], [4], [99], [1, 9], [9]]
    assert [image.size_bytes for image in fetch_images(test_lake.store, listed)] == [4, 4, 4, 99, 1, 9, 9]


def test_the_first_burst_is_small_for_nothing_is_decoded_beside_it() -> None:
    sizes = [len(burst) for burst in fetching._bursts([("k", "e", 1)] * 500)]

    assert sizes == [8, 32, 128, 128, 128, 76]


def test_nothing_to_fetch_gives_nothing(test_lake: LakeFolder) -> None:
    assert list(fetch_images(test_lake.store, [])) == []


@pytest.mark.timeout(30)
def test_a_get_that_fails_ends_the_fetch(test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "BURST_IMAGES", 4)
    monkeypatch.setattr(fetching, "FIRST_BURST_IMAGES", 4)
    listed = fill(test_lake, {f"Kiwi/{index}.jpg": b"x" * 9 for index in range(40)})
    gets: list[str] = []

    def failing(store: Store, key: str, etag: str, size: int) -> fetching.FetchedImage:
        gets.append(key)
        raise PermissionError("403 Forbidden")

    monkeypatch.setattr(fetching, "_get", failing)

    with pytest.raises(PermissionError, match="403"):
        list(fetch_images(test_lake.store, listed))

    assert len(gets) <= 8


def test_a_consumer_that_stops_early_leaves_no_thread(test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "BURST_IMAGES", 3)
    listed = fill(test_lake, {f"Kiwi/{index}.jpg": b"x" for index in range(30)})

    images: Any = fetch_images(test_lake.store, listed)
    next(images)
    images.close()

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch-images")]


def test_wrong_credentials_fail_the_task_and_reject_nothing(
    test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = fill(test_lake, {"Kiwi/1.jpg": b"x"})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "wrong")

    with pytest.raises(Exception, match=r"403|Forbidden|SignatureDoesNotMatch"):
        list(fetch_images(test_lake.store, listed))


def test_the_stores_library_is_loaded_before_threads_could_do_so_at_the_same_moment(
    test_lake: LakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = fill(test_lake, {f"Kiwi/{index}.jpg": b"x" for index in range(20)})
    load, connect, done = store_module.load_library, store_module._connect, []

    def note_load() -> None:
        done.append(("load", threading.current_thread()))
        load()

    def note_connect(bucket: str) -> object:
        done.append(("connect", threading.current_thread()))
        return connect(bucket)

    monkeypatch.setattr(fetching, "load_library", note_load)
    monkeypatch.setattr(store_module, "_connect", note_connect)
    assert len(list(fetch_images(test_lake.store, listed))) == 20
    assert done[0] == ("load", threading.current_thread())
    assert len({thread for what, thread in done if what == "connect"}) > 1
