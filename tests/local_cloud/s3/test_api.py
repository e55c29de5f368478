"""The local S3 answers boto3 and obstore as S3 does, names are exact to the byte, and what it can't do it refuses."""

from __future__ import annotations

import dataclasses
import io
import os
import random
import secrets
from typing import TYPE_CHECKING, Any

import obstore
import pytest
from botocore.exceptions import ClientError
from obstore.exceptions import AlreadyExistsError, PreconditionError

from local_cloud.project import ACCOUNT
from tests.local_cloud.running_s3 import running_s3
from tests.local_cloud.s3_requests import BUCKET, client, connect, md5, signed_head, status_of, store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.local_cloud.running_s3 import RunningS3


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningS3]:
    with running_s3(tmp_path_factory.mktemp("s3"), buckets=[BUCKET]) as running:
        yield running


@pytest.fixture(scope="module")
def through(s3: RunningS3) -> Any:
    return client(s3)


@pytest.fixture
def bucket(through: Any) -> str:
    """Creates a bucket for one test."""
    name = f"bucket-{secrets.token_hex(6)}"
    through.create_bucket(Bucket=name)
    return name


def put_all(through: Any, bucket: str, keys: list[str]) -> None:
    for key in keys:
        through.put_object(Bucket=bucket, Key=key, Body=key.encode())


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"], error.value.response["Error"]["Code"]


def test_a_bucket_of_another_owner_than_the_request_names_is_refused(through: Any, bucket: str) -> None:
    through.put_object(Bucket=bucket, Key="a", Body=b"a", ExpectedBucketOwner=ACCOUNT)
    for ask in (through.get_object, through.put_object, through.delete_object):
        with pytest.raises(ClientError) as error:
            ask(Bucket=bucket, Key="a", ExpectedBucketOwner="210987654321")
        assert code_of(error) == (403, "AccessDenied")
    assert through.get_object(Bucket=bucket, Key="a", ExpectedBucketOwner=ACCOUNT)["Body"].read() == b"a"


# --- names ---

NAMES = [
    *("caf\u00e9", "cafe\u0301", "a\u201bb", "\u201b", "\u2024\u2024", "\uff0f", "A", "a", "\U0001f347", "\ufffd"),
    *(
        "with space",
        "plus+plus",
        "50%",
        "%2F",
        "%",
        "a&b<c>\"d'",
        "new\nline",
        "tab\t",
        "\x01",
        ":*?|\\",
        "~",
        "=;,@!$()",
    ),
    *(".hidden", "_x", "-", ".rclone_temp_put_x", "name.partial", "..x", "x..", "  ", "e" * 255),
]


def test_names_are_exact_to_the_byte(s3: RunningS3, through: Any, bucket: str) -> None:
    keys = [f"n/{name}" for name in NAMES]
    put_all(through, bucket, keys)
    assert sorted(os.fsencode(path.name) for path in (s3.root / bucket / "n").iterdir()) == sorted(
        name.encode() for name in NAMES
    )
    assert [entry["Key"] for entry in through.list_objects_v2(Bucket=bucket)["Contents"]] == sorted(
        keys, key=str.encode
    )
    for key in keys:
        assert through.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
        assert through.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(key.encode())
    for key in keys:
        through.delete_object(Bucket=bucket, Key=key)
    assert list((s3.root / bucket).iterdir()) == []


def test_obstore_lists_what_boto3_lists(s3: RunningS3, through: Any) -> None:
    keys = [f"obstore/{name}/x" for name in ("caf\u00e9", "cafe\u0301", "a b", "a+b", "50%", "a&b<c>", "a=b")]
    put_all(through, BUCKET, keys)
    listed = [entry["path"] for page in obstore.list(store(s3), "obstore") for entry in page]
    assert listed == sorted(keys, key=str.encode)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["a/", "/a", "a//b", "a/../b", "..", ".", "a/./b", "e" * 256, "e/" * 512 + "e", "a\0b"])
def test_a_key_that_no_file_can_have_is_refused_and_is_never_there(s3: RunningS3, through: Any, key: str) -> None:
    before = list(s3.root.parent.rglob("*"))
    with pytest.raises(ClientError) as refused:
        through.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    assert code_of(refused) in {(400, "InvalidArgument"), (400, "KeyTooLongError")}
    with pytest.raises(ClientError) as missing:
        through.get_object(Bucket=BUCKET, Key=key)
    assert code_of(missing) == (404, "NoSuchKey")
    through.delete_object(Bucket=BUCKET, Key=key)
    assert list(s3.root.parent.rglob("*")) == before


def test_a_key_is_not_both_an_object_and_the_beginning_of_others(through: Any, bucket: str) -> None:
    put_all(through, bucket, ["a", "b/c"])
    for key in ("a/x", "b"):
        with pytest.raises(ClientError) as refused:
            through.put_object(Bucket=bucket, Key=key, Body=b"x")
        assert code_of(refused) == (400, "InvalidArgument")
    assert [entry["Key"] for entry in through.list_objects_v2(Bucket=bucket)["Contents"]] == ["a", "b/c"]


def test_folders_come_and_go_with_their_objects(s3: RunningS3, through: Any, bucket: str) -> None:
    put_all(through, bucket, ["a/b/c", "a/d"])
    through.delete_object(Bucket=bucket, Key="a/b/c")
    assert sorted(path.name for path in (s3.root / bucket).rglob("*")) == ["a", "d"]
    through.delete_object(Bucket=bucket, Key="a/d")
    through.delete_object(Bucket=bucket, Key="a/d")
    assert list((s3.root / bucket).iterdir()) == []
    (s3.root / bucket / "e" / "f").mkdir(parents=True)  # as Spark may leave them
    assert "Contents" not in through.list_objects_v2(Bucket=bucket)
    through.put_object(Bucket=bucket, Key="e/f", Body=b"x")


# --- what others write into the folder ---


def test_what_is_written_into_the_folder_is_there_at_once(s3: RunningS3, through: Any, bucket: str) -> None:
    file = s3.root / bucket / "part.parquet"
    for content in (b"one", b"two", b"three"):
        file.write_bytes(content)
        etag = f'"{md5(content)}"'
        (listed,) = through.list_objects_v2(Bucket=bucket)["Contents"]
        answer = through.get_object(Bucket=bucket, Key="part.parquet")
        assert (answer["Body"].read(), answer["ETag"], listed["ETag"], listed["Size"]) == (
            content,
            etag,
            etag,
            len(content),
        )
    file.unlink()
    assert "Contents" not in through.list_objects_v2(Bucket=bucket)
    with pytest.raises(ClientError, match="404"):
        through.head_object(Bucket=bucket, Key="part.parquet")


def test_a_file_whose_name_is_no_text_is_left_out(s3: RunningS3, through: Any, bucket: str) -> None:
    (s3.root / bucket / os.fsdecode(b"\xff")).write_bytes(b"x")
    assert "Contents" not in through.list_objects_v2(Bucket=bucket)


# --- listings ---


def drawn_keys(draw: random.Random, n: int) -> list[str]:
    """Returns keys of few letters, so that names are beginnings of others; no key is both an object and a folder of
    others.
    """
    keys: set[str] = set()
    for _ in range(n):
        key = "/".join("".join(draw.choices("ab-.0", k=draw.randint(1, 2))) for _ in range(draw.randint(1, 4)))
        folders = {key[:place] for place, letter in enumerate(key) if letter == "/"}
        steps = key.split("/")
        if (
            not {".", ".."}.intersection(steps)
            and not folders & keys
            and not any(other.startswith(f"{key}/") for other in keys)
        ):
            keys.add(key)
    return sorted(keys)


def s3_listing(keys: list[str], prefix: str, delimiter: str, after: str) -> tuple[list[str], list[str]]:
    """Returns the objects and common prefixes that a listing holds by S3's documentation."""
    objects, prefixes = [], []
    for key in keys:
        if not key.startswith(prefix) or key <= after:
            continue
        begin, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        common = prefix + begin + found
        if not found:
            objects.append(key)
        elif common not in prefixes:
            prefixes.append(common)
    return objects, prefixes


@pytest.mark.slow
def test_a_folder_that_was_read_before_is_listed_as_it_is_now(s3: RunningS3, through: Any, bucket: str) -> None:
    """What was read of it is remembered as long as it keeps its time."""

    def listed() -> list[str]:
        return [entry["Key"] for entry in through.list_objects_v2(Bucket=bucket).get("Contents", ())]

    put_all(through, bucket, ["a/1", "a/2"])
    for folder in (s3.root / bucket, s3.root / bucket / "a"):
        os.utime(folder, (1_000_000_000, 1_000_000_000))
    assert listed() == listed() == ["a/1", "a/2"]
    put_all(through, bucket, ["a/3", "b"])
    assert listed() == ["a/1", "a/2", "a/3", "b"]
    through.delete_object(Bucket=bucket, Key="a/1")
    assert listed() == ["a/2", "a/3", "b"]


@pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
@pytest.mark.parametrize("seed", range(3))
def test_pages_of_any_size_hold_what_s3_would_list(
    s3: RunningS3, through: Any, bucket: str, seed: int, operation: str
) -> None:
    draw = random.Random(seed)
    keys = drawn_keys(draw, 150)
    for key in keys:
        (s3.root / bucket / key).parent.mkdir(parents=True, exist_ok=True)
        (s3.root / bucket / key).write_bytes(b"")
    for _ in range(40):
        wanted = {
            "Prefix": draw.choice(["", "a", "a/", "b/a", "-", "0/", "a.", "none", "a//", "../"]),
            "Delimiter": draw.choice(["", "/", "/", "-"]),
            ("StartAfter" if operation == "list_objects_v2" else "Marker"): draw.choice(["", "", draw.choice(keys)]),
        }
        if wanted["Delimiter"] and "Marker" in wanted:
            wanted["Marker"] = ""
        pages = through.get_paginator(operation).paginate(
            Bucket=bucket, **wanted, PaginationConfig={"PageSize": draw.randint(1, 9)}
        )
        objects: list[str] = []
        prefixes: list[str] = []
        for page in pages:
            objects += [entry["Key"] for entry in page.get("Contents", [])]
            prefixes += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        after = wanted.get("StartAfter") or wanted.get("Marker") or ""
        assert (objects, prefixes) == s3_listing(keys, wanted["Prefix"], wanted["Delimiter"], after), wanted


def test_a_page_has_at_most_a_thousand_keys(s3: RunningS3, bucket: str, through: Any) -> None:
    for number in range(1001):
        (s3.root / bucket / f"k{number:04}").write_bytes(b"")
    page = through.list_objects_v2(Bucket=bucket, MaxKeys=5000)
    assert (len(page["Contents"]), page["KeyCount"], page["IsTruncated"]) == (1000, 1000, True)
    rest = through.list_objects_v2(Bucket=bucket, ContinuationToken=page["NextContinuationToken"])
    assert ([entry["Key"] for entry in rest["Contents"]], rest["IsTruncated"]) == (["k1000"], False)
    assert through.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0


# --- objects ---


def test_ranges_and_conditions_of_a_get(through: Any, bucket: str) -> None:
    etag = through.put_object(Bucket=bucket, Key="x.json", Body=b"0123456789")["ETag"]
    get = {"Bucket": bucket, "Key": "x.json"}
    for asked, content, span in (
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-100", b"89", "bytes 8-9/10"),
    ):
        answer = through.get_object(**get, Range=asked)
        assert (answer["Body"].read(), answer["ContentRange"], answer["ETag"]) == (content, span, etag)
    with pytest.raises(ClientError) as beyond:
        through.get_object(**get, Range="bytes=10-")
    assert code_of(beyond) == (416, "InvalidRange")
    assert through.get_object(**get, IfMatch=etag)["ContentType"] == "application/json"
    with pytest.raises(ClientError) as other:
        through.get_object(**get, IfMatch='"other"')
    assert code_of(other) == (412, "PreconditionFailed")
    with pytest.raises(ClientError) as same:
        through.get_object(**get, IfNoneMatch=etag)
    assert code_of(same)[0] == 304
    assert through.get_object(**get, IfNoneMatch='"other"')["Body"].read() == b"0123456789"


def test_conditions_of_a_put(s3: RunningS3, through: Any, bucket: str) -> None:
    put = {"Bucket": bucket, "Key": "x"}
    etag = through.put_object(**put, Body=b"1", IfNoneMatch="*")["ETag"]
    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"other"'}, {"Key": "new", "IfMatch": etag}):
        with pytest.raises(ClientError) as refused:
            through.put_object(**(put | {"Body": b"2"} | condition))
        assert code_of(refused) == (412, "PreconditionFailed")
    assert [path.name for path in (s3.root / bucket).iterdir()] == ["x"]
    through.put_object(**put, Body=b"3", IfMatch=etag)
    assert through.get_object(**put)["Body"].read() == b"3"
    lake = store(s3)
    first = obstore.put(lake, "conditions/y", b"1", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(lake, "conditions/y", b"2", mode="create")
    obstore.put(lake, "conditions/y", b"3", mode={"e_tag": first["e_tag"]})
    with pytest.raises(PreconditionError):
        obstore.put(lake, "conditions/y", b"4", mode={"e_tag": first["e_tag"]})
    assert bytes(obstore.get(lake, "conditions/y").bytes()) == b"3"


def test_copies_and_removes_many_at_once(through: Any, bucket: str) -> None:
    put_all(through, bucket, ["from/\u00e4 50%", "c"])
    through.copy_object(Bucket=bucket, Key="to/d", CopySource={"Bucket": bucket, "Key": "from/\u00e4 50%"})
    assert through.get_object(Bucket=bucket, Key="to/d")["Body"].read() == "from/\u00e4 50%".encode()
    names = ["from/\u00e4 50%", "to/d", "none"]
    answer = through.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": name} for name in names]})
    assert [entry["Key"] for entry in answer["Deleted"]] == names
    assert [entry["Key"] for entry in through.list_objects_v2(Bucket=bucket)["Contents"]] == ["c"]


def test_large_files_go_up_in_parts_and_come_down_as_they_were(s3: RunningS3, through: Any, tmp_path: Path) -> None:
    content = random.Random(0).randbytes(20_000_000)
    (tmp_path / "large").write_bytes(content)
    through.upload_file(str(tmp_path / "large"), BUCKET, "large/boto3")
    through.download_file(BUCKET, "large/boto3", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content
    obstore.put(store(s3), "large/obstore", content)
    assert bytes(obstore.get(store(s3), "large/obstore").bytes()) == content
    digest = f'"{md5(content)}"'
    assert {entry["ETag"] for entry in through.list_objects_v2(Bucket=BUCKET, Prefix="large/")["Contents"]} == {digest}


def test_clients_that_send_checksums_are_understood(s3: RunningS3, bucket: str) -> None:
    for algorithm in ("CRC32", "SHA256"):
        eager = client(s3, request_checksum_calculation="when_supported", response_checksum_validation="when_supported")
        eager.put_object(Bucket=bucket, Key=algorithm, Body=io.BytesIO(b"content" * 1000), ChecksumAlgorithm=algorithm)
        assert (
            eager.get_object(Bucket=bucket, Key=algorithm, Range="bytes=0-6", ChecksumMode="ENABLED")["Body"].read()
            == b"content"
        )


def test_the_chunks_of_aws_own_clients_are_taken_apart(s3: RunningS3, through: Any) -> None:
    pieces = [b"a" * 70_000, b"b" * 5]
    framed = b"".join(b"%x;chunk-signature=00\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    body = framed + b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    for length, status in ((70_005, 200), (70_004, 400)):
        headers = {"x-amz-decoded-content-length": str(length)}
        head = signed_head(s3, "PUT", f"chunks/{length}", body, headers, body_hash="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        with connect(s3) as connection:
            connection.sendall(head + body)
            assert status_of(connection.recv(1000)) == status
    assert through.get_object(Bucket=BUCKET, Key="chunks/70005")["Body"].read() == b"".join(pieces)
    assert [entry["Key"] for entry in through.list_objects_v2(Bucket=BUCKET, Prefix="chunks/")["Contents"]] == [
        "chunks/70005"
    ]


def test_a_client_may_wait_to_be_asked_for_its_body(s3: RunningS3, through: Any) -> None:
    with connect(s3) as connection:
        connection.sendall(signed_head(s3, "PUT", "asked", b"content", {"Expect": "100-continue"}))
        assert status_of(connection.recv(1000)) == 100
        connection.sendall(b"content")
        assert status_of(connection.recv(1000)) == 200
        connection.sendall(signed_head(s3, "PUT", "never//asked", b"content", {"Expect": "100-continue"}))
        assert status_of(connection.recv(1000)) == 400
        assert connection.recv(1000) == b""
    assert through.get_object(Bucket=BUCKET, Key="asked")["Body"].read() == b"content"


# --- buckets, and what is refused ---


def test_buckets(s3: RunningS3, through: Any) -> None:
    through.create_bucket(Bucket="fruits-2")
    assert {"fruits-2", BUCKET} <= {bucket["Name"] for bucket in through.list_buckets()["Buckets"]}
    assert not any(bucket["Name"].startswith(".") for bucket in through.list_buckets()["Buckets"])
    assert through.head_bucket(Bucket="fruits-2")["BucketRegion"] == "eu-west-1"
    with pytest.raises(ClientError) as twice:
        through.create_bucket(Bucket="fruits-2")
    assert code_of(twice) == (409, "BucketAlreadyOwnedByYou")
    through.put_object(Bucket="fruits-2", Key="x", Body=b"")
    with pytest.raises(ClientError) as full:
        through.delete_bucket(Bucket="fruits-2")
    assert code_of(full) == (409, "BucketNotEmpty")
    through.delete_object(Bucket="fruits-2", Key="x")
    through.delete_bucket(Bucket="fruits-2")
    for ask in (through.list_objects_v2, through.head_bucket):
        with pytest.raises(ClientError, match=r"NoSuchBucket|404"):
            ask(Bucket="fruits-2")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        through.put_object(Bucket="fruits-2", Key="x", Body=b"")
    assert not (s3.root / "fruits-2").exists()


def test_what_it_does_not_know_it_refuses_and_leaves_the_object_alone(through: Any, bucket: str) -> None:
    put_all(through, bucket, ["x"])
    asked = {"Bucket": bucket, "Key": "x"}
    for refuse in (
        lambda: through.put_object_tagging(**asked, Tagging={"TagSet": []}),
        lambda: through.put_object_acl(**asked, ACL="private"),
        lambda: through.get_object(**asked, VersionId="1"),
        lambda: through.delete_object(**asked, VersionId="1"),
        lambda: through.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}),
        lambda: through.list_object_versions(Bucket=bucket),
    ):
        with pytest.raises(ClientError) as refused:
            refuse()
        assert code_of(refused)[0] == 501
    assert through.get_object(**asked)["Body"].read() == b"x"


@pytest.mark.parametrize("wrong", ["access_key_id", "secret_access_key"])
def test_who_has_not_the_keys_is_refused(s3: RunningS3, wrong: str) -> None:
    keys: dict[str, Any] = {wrong: "other"}
    stranger = client(dataclasses.replace(s3, **keys))
    for ask in (lambda: stranger.put_object(Bucket=BUCKET, Key="stranger", Body=b"x"), stranger.list_buckets):
        with pytest.raises(ClientError) as refused:
            ask()
        assert code_of(refused)[0] == 403
    assert not (s3.root / BUCKET / "stranger").exists()


def test_who_does_not_sign_is_refused(s3: RunningS3) -> None:
    for head in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT /lake/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    ):
        with connect(s3) as connection:
            connection.sendall(head)
            assert status_of(connection.recv(1000)) == 403
    with connect(s3) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert status_of(connection.recv(1000)) == 400


@pytest.mark.slow
def test_a_request_that_was_changed_on_its_way_is_refused(s3: RunningS3) -> None:
    with connect(s3) as connection:
        connection.sendall(signed_head(s3, "GET", "a").replace(b"/lake/a ", b"/lake/b "))
        assert status_of(connection.recv(1000)) == 403
