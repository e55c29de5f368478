"""Checks that a PUT to the local S3 is all or nothing, for those who read through S3 and those who read the folder."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.local_cloud.running_s3 import running_s3
from tests.local_cloud.s3_requests import BUCKET, client, connect, md5, signed_head, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.local_cloud.running_s3 import RunningS3

KEY = "features/ingest_date=2026-01-01/part-0.parquet"
LARGE = 50_000_000
HALF = b"n" * (LARGE // 2)
OLD = b"old" * 1000


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[RunningS3]:
    with running_s3(tmp_path / "s3", buckets=[BUCKET]) as running:
        yield running


def what_readers_see(s3: RunningS3) -> tuple[bytes, list[tuple[str, int]], list[str]]:
    """Returns the content of KEY through S3, keys and sizes of a listing, and the files below the bucket's folder."""
    through = client(s3)
    content = through.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
    listed = [(entry["Key"], entry["Size"]) for entry in through.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
    folder = s3.root / BUCKET
    files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    assert (folder / KEY).read_bytes() == content
    return content, listed, files


OLD_IS_ALL_THERE_IS = (OLD, [(KEY, len(OLD))], [KEY])


def begin_large_put(s3: RunningS3) -> Any:
    """Returns a connection on which half of a large PUT over KEY has been sent, and has reached the disk."""
    connection = connect(s3)
    connection.sendall(signed_head(s3, "PUT", KEY, HALF * 2) + HALF)
    wait_until(lambda: bytes_arriving(s3) == len(HALF))
    return connection


def bytes_arriving(s3: RunningS3) -> int:
    return sum(path.stat().st_size for path in (s3.root / ".uploads").rglob("*") if path.is_file())


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_half_a_put_is_seen_by_nobody_and_the_whole_by_all(s3: RunningS3) -> None:
    client(s3).put_object(Bucket=BUCKET, Key=KEY, Body=OLD)
    with begin_large_put(s3) as connection:
        assert what_readers_see(s3) == OLD_IS_ALL_THERE_IS
        connection.sendall(HALF)
        assert status_of(connection.recv(1000)) == 200
    assert what_readers_see(s3) == (HALF * 2, [(KEY, LARGE)], [KEY])
    assert bytes_arriving(s3) == 0


def test_a_client_that_dies_in_the_middle_leaves_the_old_object_and_nothing_else(s3: RunningS3) -> None:
    client(s3).put_object(Bucket=BUCKET, Key=KEY, Body=OLD)
    begin_large_put(s3).close()
    wait_until(lambda: bytes_arriving(s3) == 0)
    assert what_readers_see(s3) == OLD_IS_ALL_THERE_IS


@pytest.mark.slow
def test_a_server_killed_in_the_middle_leaves_the_old_object_and_the_next_one_sweeps(tmp_path: Path) -> None:
    root = tmp_path / "s3"
    with running_s3(root, buckets=[BUCKET]) as s3:
        client(s3).put_object(Bucket=BUCKET, Key=KEY, Body=OLD)
        with begin_large_put(s3):
            os.kill(s3.process_id, signal.SIGKILL)
            wait_until(lambda: connection_refused(s3))
        assert bytes_arriving(s3) == len(HALF)
        assert (root / BUCKET / KEY).read_bytes() == OLD
    with running_s3(root) as s3:
        assert bytes_arriving(s3) == 0
        assert what_readers_see(s3) == OLD_IS_ALL_THERE_IS


def connection_refused(s3: RunningS3) -> bool:
    try:
        connect(s3).close()
    except OSError:
        return True
    return False


@pytest.mark.slow
def test_a_second_server_on_the_folder_leaves_alone_what_the_first_receives(s3: RunningS3) -> None:
    client(s3).put_object(Bucket=BUCKET, Key=KEY, Body=OLD)
    with begin_large_put(s3) as connection:
        with running_s3(s3.root) as second:
            assert what_readers_see(second) == OLD_IS_ALL_THERE_IS
        connection.sendall(HALF)
        assert status_of(connection.recv(1000)) == 200
    assert what_readers_see(s3)[0] == HALF * 2


def test_a_body_that_is_not_what_was_signed_is_not_stored(s3: RunningS3) -> None:
    client(s3).put_object(Bucket=BUCKET, Key=KEY, Body=OLD)
    for sent, headers in ((b"wrong", {}), (b"right", {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})):
        with connect(s3) as connection:
            connection.sendall(signed_head(s3, "PUT", KEY, b"right", headers) + sent)
            assert status_of(connection.recv(1000)) == 400
    assert what_readers_see(s3) == OLD_IS_ALL_THERE_IS


def test_a_get_reads_on_what_it_began_to_read(s3: RunningS3) -> None:
    through = client(s3)
    through.put_object(Bucket=BUCKET, Key=KEY, Body=HALF)
    body = through.get_object(Bucket=BUCKET, Key=KEY)["Body"]
    begin = body.read(1000)
    through.put_object(Bucket=BUCKET, Key=KEY, Body=OLD)
    through.delete_object(Bucket=BUCKET, Key=KEY)
    assert begin + body.read() == HALF


def test_an_upload_in_parts_is_seen_when_it_is_complete(s3: RunningS3) -> None:
    through = client(s3)
    through.put_object(Bucket=BUCKET, Key=KEY, Body=OLD)
    upload = {
        "Bucket": BUCKET,
        "Key": KEY,
        "UploadId": through.create_multipart_upload(Bucket=BUCKET, Key=KEY)["UploadId"],
    }
    contents = [b"a" * 6_000_000, b"b" * 1000]
    etags = {
        number: through.upload_part(**upload, PartNumber=number, Body=contents[number - 1])["ETag"] for number in (2, 1)
    }
    assert what_readers_see(s3) == OLD_IS_ALL_THERE_IS
    parts = [{"PartNumber": number, "ETag": etags[number]} for number in (1, 2)]
    with pytest.raises(ClientError, match="InvalidPart"):
        through.complete_multipart_upload(
            **upload, MultipartUpload={"Parts": [*parts, {"PartNumber": 3, "ETag": etags[1]}]}
        )
    assert what_readers_see(s3) == OLD_IS_ALL_THERE_IS
    through.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    whole = b"".join(contents)
    assert what_readers_see(s3) == (whole, [(KEY, len(whole))], [KEY])
    assert bytes_arriving(s3) == 0
    abandoned = {**upload, "UploadId": through.create_multipart_upload(Bucket=BUCKET, Key=KEY)["UploadId"]}
    through.upload_part(**abandoned, PartNumber=1, Body=b"c")
    through.abort_multipart_upload(**abandoned)
    assert what_readers_see(s3) == (whole, [(KEY, len(whole))], [KEY])
    assert bytes_arriving(s3) == 0


class Trial:
    """Has several writers replace two objects again and again, while readers note any content that nobody wrote."""

    keys = ("d/a.parquet", "d/b.parquet")

    def __init__(self, s3: RunningS3, sizes: range) -> None:
        self._s3 = s3
        self._sizes = sizes
        self._written: set[str] = set()
        self._done = threading.Event()
        self.wrong: list[str] = []
        self.n_read = 0

    def run(self, n_writers: int, n_readers: int, puts: int) -> None:
        for key in self.keys:
            self._put(client(self._s3), random.Random(0), key)
        readers = [self._read_objects] * n_readers + [self._read_listing, self._read_folder]
        threads = [threading.Thread(target=self._watch, args=(read,)) for read in readers]
        writers = [threading.Thread(target=self._write, args=(number, puts)) for number in range(n_writers)]
        for thread in (*threads, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        self._done.set()
        for thread in threads:
            thread.join()

    def _write(self, number: int, puts: int) -> None:
        through, draw = client(self._s3), random.Random(number + 1)
        for _ in range(puts):
            try:
                self._put(through, draw, draw.choice(self.keys))
            except (BotoCoreError, ClientError) as error:
                self.wrong.append(f"PUT: {error}")

    def _put(self, through: Any, draw: random.Random, key: str) -> None:
        content = draw.randbytes(16) * (draw.choice(self._sizes) // 16)
        self._written.add(md5(content))
        through.put_object(Bucket=BUCKET, Key=key, Body=content)

    def _watch(self, read: Callable[[Any], None]) -> None:
        through = client(self._s3)
        while not self._done.is_set():
            try:
                read(through)
            except (BotoCoreError, ClientError, OSError) as error:
                self.wrong.append(f"{read.__name__}: {error!r}")

    def _read_objects(self, through: Any) -> None:
        for key in self.keys:
            answer = through.get_object(Bucket=BUCKET, Key=key)
            content = answer["Body"].read()
            self._check("GET", content)
            if answer["ETag"] != f'"{md5(content)}"':
                self.wrong.append("GET: the ETag is not the content's")
            self.n_read += 1

    def _read_listing(self, through: Any) -> None:
        listed = through.list_objects_v2(Bucket=BUCKET, Prefix="d/")["Contents"]
        if [entry["Key"] for entry in listed] != list(self.keys):
            self.wrong.append(f"LIST: {[entry['Key'] for entry in listed]}")
        etags = [entry["ETag"] for entry in listed] + [through.head_object(Bucket=BUCKET, Key=self.keys[0])["ETag"]]
        if not {etag.strip('"') for etag in etags} <= self._written:
            self.wrong.append("LIST or HEAD: an ETag of nothing that was written")

    def _read_folder(self, _: Any) -> None:
        for key in self.keys:
            self._check("folder", (self._s3.root / BUCKET / key).read_bytes())
        time.sleep(0.001)

    def _check(self, who: str, content: bytes) -> None:
        if md5(content) not in self._written:
            self.wrong.append(f"{who}: {len(content)} bytes that nobody wrote")


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [range(1000, 200_000), range(100_000, 100_001)], ids=["of all sizes", "of one size"])
def test_no_reader_ever_sees_anything_but_a_whole_version(s3: RunningS3, sizes: range) -> None:
    trial = Trial(s3, sizes)
    trial.run(n_writers=3, n_readers=3, puts=60)
    assert trial.wrong == []
    assert trial.n_read > 50
