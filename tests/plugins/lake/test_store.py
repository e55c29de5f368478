"""The lake over boto3's own client, against moto's S3."""

from __future__ import annotations

import io
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from botocore.utils import parse_timestamp

from fruit_pipeline.errors import MissingObjectError, ReplacedMeanwhileError
from fruit_pipeline.lake.store import Lake, _times_as_seconds, spare_time_parsing

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
        client: Any = boto3.client("s3", region_name="eu-west-1", aws_access_key_id="testing", aws_secret_access_key="testing")
        client.create_bucket(Bucket="fruits-test", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        yield Lake(client, "fruits-test")


@pytest.mark.slow
def test_lists_names_byte_for_byte_and_etags_without_quotes(lake: Lake) -> None:
    assert lake.write(KEY, b"12345", "image/jpeg") == f"s3://fruits-test/{KEY}"
    (stored,) = lake.list_objects("raw/")
    assert (stored.key, stored.size_bytes) == (KEY, 5)
    assert stored.etag == "827ccb0eea8a706c4c34a16891f84e7b"
    assert stored.modified_at.tzinfo is not None


def test_the_times_of_a_listing_are_the_stores_own(lake: Lake) -> None:
    names = [KEY, "raw/<LastModified>2020-01-01T00:00:00Z<", "raw/x"]
    for name in names:
        lake.write(name, b"12345", "image/jpeg")
    slowly = list(lake.list_objects("raw/"))

    spare_time_parsing(lake.client)

    quickly = list(lake.list_objects("raw/"))
    assert quickly == slowly
    assert {stored.key for stored in quickly} == set(names)
    assert [stored.modified_at.utcoffset() for stored in quickly] == [timedelta(0)] * 3


@pytest.mark.parametrize("text", ["2026-11-22T01:02:03.456Z", "2026-11-22T01:02:03Z", "1999-12-31T23:59:59.999999Z"])
def test_a_time_is_read_as_botocore_would_read_it(text: str) -> None:
    answer: dict[str, Any] = {"status_code": 200, "body": f"<Key>a</Key><LastModified>{text}</LastModified>".encode()}
    _times_as_seconds(answer)
    seconds = answer["body"].decode().partition("<LastModified>")[2].partition("<")[0]
    assert parse_timestamp(seconds) == pytest.approx(parse_timestamp(text), abs=timedelta(milliseconds=1))


def test_an_error_and_times_of_another_form_are_left_to_botocore() -> None:
    for answer in (
        {"status_code": 404, "body": b"<LastModified>2026-11-22T01:02:03Z<"},
        {"status_code": 200, "body": b"<LastModified>Sun<"},
    ):
        before = dict(answer)
        _times_as_seconds(answer)
        assert answer == before


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
