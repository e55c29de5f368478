"""Checks the lake over boto3's own client, against moto's S3."""

from __future__ import annotations

import io
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from fruit_pipeline.errors import DamagedFileError, MissingObjectError, ReplacedMeanwhileError
from fruit_pipeline.lake.listing_page import read_listings_fast
from fruit_pipeline.lake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "raw/ingest_date=2026-11-22/Äpfel 50% + more=1/ä?.jpg"


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    import boto3
    from moto import mock_aws

    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    with mock_aws():
        client: Any = boto3.client(
            "s3", region_name="eu-west-1", aws_access_key_id="testing", aws_secret_access_key="testing"
        )
        client.create_bucket(Bucket="fruits-test", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        yield Lake(client, "fruits-test")


@pytest.mark.slow
def test_lists_names_byte_for_byte_and_etags_without_quotes(lake: Lake) -> None:
    assert lake.write(KEY, b"12345", "image/jpeg") == f"s3://fruits-test/{KEY}"
    (stored,) = lake.list_objects("raw/")
    assert (stored.key, stored.size_bytes) == (KEY, 5)
    assert stored.etag == "827ccb0eea8a706c4c34a16891f84e7b"
    assert stored.modified_at.tzinfo is not None


def test_a_listing_that_is_read_fast_is_botocores(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [KEY, "raw/<LastModified>2020-01-01T00:00:00Z<", "raw/a\tb&amp;<Key>\x01", "raw/柿 ÿ+%2F//", "raw/x"]
    for name in names:
        lake.write(name, b"12345", "image/jpeg")
    slowly = list(lake.list_objects("raw/"))

    read_listings_fast(lake.client)
    monkeypatch.setattr("fruit_pipeline.lake.listing_page._columns_of", None)

    quickly = list(lake.list_objects("raw/"))
    assert quickly == slowly
    assert {stored.key for stored in quickly} == set(names)
    assert [stored.modified_at.utcoffset() for stored in quickly] == [timedelta(0)] * 5


def test_botocore_reads_no_more_of_a_fast_listing_than_its_head(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of its handlers reads each answer a second time."""
    lake.write(KEY, b"12345", "image/jpeg")
    read_listings_fast(lake.client)
    seen: list[bytes] = []
    monkeypatch.setattr("botocore.handlers._looks_like_special_case_error", lambda _, body: seen.append(body))
    assert len(list(lake.list_objects("raw/"))) == 1
    assert len(seen) == 1
    assert b"<Contents>" not in seen[0]


def test_lists_what_comes_after_a_key(lake: Lake) -> None:
    for name in ("raw/a", "raw/b", "raw/ä", "raw/柿"):
        lake.write(name, b"", "text/plain")
    assert [page.keys for page in lake.list_pages("raw/", "raw/b")] == [["raw/ä", "raw/柿"]]
    assert [page.keys for page in lake.list_pages("raw/", "raw/柿")] == [[]]


@pytest.mark.slow
def test_lists_beyond_the_thousand_keys_of_one_page(lake: Lake) -> None:
    for number in range(1001):
        lake.write(f"raw/{number:04}", b"", "text/plain")
    assert len(list(lake.list_objects("raw/"))) == 1001


def test_lists_the_folders_right_below_a_prefix(lake: Lake) -> None:
    for key in ("p/v=1/a/1", "p/v=1/b/1", "p/v=2/1", "p/loose"):
        lake.write(key, b"", "text/plain")
    assert list(lake.list_folders("p/")) == ["p/v=1/", "p/v=2/"]
    assert list(lake.list_folders("q/")) == []


@pytest.mark.slow
def test_a_missing_object_is_named(lake: Lake) -> None:
    with pytest.raises(MissingObjectError, match=r"s3://fruits-test/runs/x\.json is not there"):
        lake.read_json("runs/x.json")
    assert lake.read_json_if_there("runs/x.json") is None


def test_json_that_was_cut_off_is_named_and_it_is_said_what_to_do(lake: Lake) -> None:
    lake.write("pca/current.json", b'{"version', "application/json")
    with pytest.raises(
        DamagedFileError, match=r"s3://fruits-test/pca/current\.json is not as it was written: .* Below pca/: "
    ):
        lake.read_json_if_there("pca/current.json")


@pytest.mark.parametrize(("content", "why"), [(b'{"claims', "Unterminated"), (b"[1]", "it is JSON, but no object")])
def test_a_book_that_was_cut_off_or_is_no_object_is_named_too(lake: Lake, content: bytes, why: str) -> None:
    lake.write("runs/_claims/x.json", content, "application/json")
    for read in (lake.read_json, lake.read_json_with_etag):
        with pytest.raises(DamagedFileError, match=rf"s3://fruits-test/runs/_claims/x\.json .*: {why}.* Below runs/: "):
            read("runs/_claims/x.json")


def test_json_keeps_any_letter(lake: Lake) -> None:
    lake.write_json("runs/x.json", {"Äpfel": "柿"})
    assert lake.read_json("runs/x.json") == {"Äpfel": "柿"}
    assert "柿".encode() in lake.read_bytes("runs/x.json")


def test_a_stream_reads_any_part_of_an_object(lake: Lake) -> None:
    content = os.urandom(10_000_000)
    lake.write(KEY, content, "application/octet-stream")
    (stored,) = lake.list_objects("raw/")
    with lake.open(stored) as stream:
        assert stream.seek(-8, io.SEEK_END) == len(content) - 8
        assert stream.read() == content[-8:]
        assert stream.read(1) == b""
        stream.seek(4_000_000)
        assert stream.read(5_000_000) == content[4_000_000:9_000_000]
        stream.seek(0)
        assert stream.read() == content


def test_a_stream_of_ranges_reads_what_it_is_asked_for(lake: Lake) -> None:
    lake.write(KEY, bytes(range(200)), "application/octet-stream")
    (stored,) = lake.list_objects("raw/")
    with lake.open_ranges(stored) as stream:
        stream.seek(100)
        assert stream.read(3) == bytes([100, 101, 102])
        assert stream.tell() == 103
        stream.seek(-2, io.SEEK_END)
        assert stream.read(10) == bytes([198, 199])


def test_a_stream_notices_that_its_object_was_replaced(lake: Lake) -> None:
    from botocore.exceptions import ClientError

    lake.write(KEY, b"a" * 100, "text/plain")
    (stored,) = lake.list_objects("raw/")
    lake.write(KEY, b"b" * 100, "text/plain")
    with lake.open(stored) as stream, pytest.raises(ClientError, match=r"PreconditionFailed|pre-conditions"):
        stream.read()


def test_an_object_is_replaced_only_as_it_was_read(lake: Lake) -> None:
    assert lake.read_json_with_etag("book.json") is None
    lake.replace_json("book.json", {"n": 1}, None)
    found = lake.read_json_with_etag("book.json")
    assert found
    assert found[0] == {"n": 1}
    with pytest.raises(ReplacedMeanwhileError, match=r"s3://fruits-test/book\.json"):
        lake.replace_json("book.json", {"n": 2}, None)
    lake.replace_json("book.json", {"n": 2}, found[1])
    with pytest.raises(ReplacedMeanwhileError):
        lake.replace_json("book.json", {"n": 3}, found[1])
    assert lake.read_json("book.json") == {"n": 2}


def test_an_object_that_is_gone_is_not_replaced(lake: Lake) -> None:
    lake.replace_json("book.json", {"n": 1}, None)
    found = lake.read_json_with_etag("book.json")
    lake.delete("book.json")
    with pytest.raises(ReplacedMeanwhileError):
        lake.replace_json("book.json", {"n": 2}, found[1] if found else None)


@pytest.mark.parametrize(("code", "status"), [("NoSuchBucket", 404), ("AccessDenied", 403)])
def test_a_lake_that_refuses_is_not_taken_for_another_writer(lake: Lake, code: str, status: int) -> None:
    answer: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}

    def refuse(**_: Any) -> None:
        raise ClientError(answer, "PutObject")

    lake.client.put_object = refuse
    with pytest.raises(ClientError, match=code):
        lake.replace_json("book.json", {"n": 1}, None)
