"""Listing through the fast store and through boto3, from an S3 API that holds any key."""

from __future__ import annotations

import logging
import secrets
from functools import cache
from typing import TYPE_CHECKING

import pytest
from moto.server import ThreadedMotoServer

from fruit_features.lake import store as object_store
from fruit_features.lake.store import ListedObject, list_folder, list_objects

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "raw/ingest_date=2026-11-22/"
PLAIN = ("Kiwi/1.jpg", "Kiwi/a b%41+é.jpg", "Äpfel 50%/~^\\.jpg", "Kiwi/e\u0301.jpg", "Kiwi/deep/er/2.jpg", "_SUCCESS")
# Not nameable for the fast store: empty path segments, control characters, dots.
ODD = ("Kiwi//x.jpg", "Kiwi/\x01.jpg", "Kiwi/./x.jpg")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    # Not the process's own clients, which know another server.
    monkeypatch.setattr(object_store, "s3_client", cache(object_store.s3_client.__wrapped__))
    monkeypatch.setattr(object_store, "image_store", cache(object_store.image_store.__wrapped__))
    location = {"LocationConstraint": "eu-west-1"}
    # All of moto's servers in a process hold the same buckets.
    name = f"fruits-{secrets.token_hex(6)}"
    object_store.s3_client().create_bucket(Bucket=name, CreateBucketConfiguration=location)
    yield name
    server.stop()


def put(bucket: str, names: tuple[str, ...], content: bytes = b"x") -> None:
    for name in names:
        object_store.write_object(bucket, PREFIX + name, content)


def names_of(listed: list[ListedObject]) -> set[str]:
    return {entry.key.removeprefix(PREFIX) for entry in listed}


def test_the_fast_listing_is_the_exact_one(bucket: str) -> None:
    put(bucket, PLAIN)

    listed = list_folder(bucket, PREFIX)

    assert listed == sorted(list_objects(bucket, PREFIX), key=lambda entry: entry.key)
    assert names_of(listed) == set(PLAIN)


def test_a_folder_of_several_pages_is_listed_whole(bucket: str) -> None:
    put(bucket, tuple(f"Kiwi/{number}.jpg" for number in range(1_050)))

    assert len(list_folder(bucket, PREFIX)) == 1_050


@pytest.mark.parametrize("odd", ODD)
def test_keys_that_the_fast_store_cannot_name_are_listed_all_the_same(bucket: str, odd: str) -> None:
    put(bucket, (*PLAIN, odd))

    assert names_of(list_folder(bucket, PREFIX)) == {*PLAIN, odd}


def test_a_folders_placeholder_is_not_taken_for_an_image(bucket: str) -> None:
    put(bucket, PLAIN)
    put(bucket, ("Kiwi/empty/",), b"")

    assert "Kiwi/empty/" in names_of(list_folder(bucket, PREFIX))
    assert "Kiwi/empty" not in names_of(list_folder(bucket, PREFIX))


def test_an_empty_image_is_listed(bucket: str) -> None:
    put(bucket, ("Kiwi/empty.jpg",), b"")

    (entry,) = list_folder(bucket, PREFIX)

    assert (entry.key, entry.size_bytes) == (PREFIX + "Kiwi/empty.jpg", 0)


def test_a_folder_that_is_not_there_is_empty(bucket: str) -> None:
    assert list_folder(bucket, PREFIX) == []
