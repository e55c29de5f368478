from __future__ import annotations

import json
import logging
import os
import secrets
import threading
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import obstore
import pytest
from moto.s3.models import FakeKey
from moto.server import ThreadedMotoServer

from fruit_cli.lake import delivery as deliver_module
from fruit_cli.lake.connection import LakeConnection, s3_client
from fruit_cli.lake.delivery import (
    DeliveryNotVerifiedError,
    RemoteObject,
    deliver,
    in_parallel,
    is_already_there,
    verify,
)
from fruit_cli.lake.delivery_plan import DeliveryPlan, DeliveryRefusedError, PlannedImage
from fruit_cli.lake.store import LakeUnreachableError, missing_keys
from fruit_contract import lake
from local_cloud.project import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

DATE = "2026-11-22"
LocalS3 = tuple[LakeConnection, Path]


def delivered(bucket: Path) -> dict[str, bytes]:
    folder = bucket / "raw" / f"ingest_date={DATE}"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Puts:
    """Counts the PUTs by key, and can let them fail from the n-th on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[str] = []
        self.fail_from: int | None = None
        self.error: BaseException = KeyboardInterrupt()
        self._put = obstore.put
        self._lock = threading.Lock()
        monkeypatch.setattr(obstore, "put", self)

    def __call__(self, store: Any, key: str, content: Any, **options: Any) -> object:
        with self._lock:
            self.keys.append(key)
            if self.fail_from is not None and len(self.keys) >= self.fail_from:
                raise self.error
        return self._put(store, key, content, **options)


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> Puts:
    return Puts(monkeypatch)


def test_delivers_byte_for_byte_with_the_marker_last(
    local_s3: LocalS3, fruit_folder: Path, puts: Puts, console: Console
) -> None:
    connection, bucket = local_s3
    receipt = deliver(connection, fruit_folder, DATE, console=console)
    found = delivered(bucket)
    assert json.loads(found.pop("_SUCCESS")) == {"images": 5, "bytes": receipt.total_bytes}
    assert found == content_of(fruit_folder)
    assert puts.keys[-1] == f"raw/ingest_date={DATE}/_SUCCESS"
    assert receipt.address == f"s3://fruits-lake/raw/ingest_date={DATE}/"
    assert (receipt.images, receipt.sent_images, receipt.kept_images) == (5, 5, 0)
    assert "Delivered 5 images" in console.export_text()


def test_a_bucket_that_is_not_of_the_account_it_must_be_of_gets_no_marker(
    local_s3: LocalS3, fruit_folder: Path, console: Console
) -> None:
    connection, bucket = local_s3
    with pytest.raises(
        LakeUnreachableError, match=r"_SUCCESS could not be written.*AccessDenied.*account 210987654321"
    ):
        deliver(replace(connection, owner="210987654321"), fruit_folder, DATE, console=console)
    assert lake.SUCCESS_MARKER not in delivered(bucket)
    deliver(replace(connection, owner=ACCOUNT), fruit_folder, DATE, console=console)
    assert lake.SUCCESS_MARKER in delivered(bucket)


def test_a_second_delivery_sends_only_what_differs(
    local_s3: LocalS3, fruit_folder: Path, puts: Puts, console: Console
) -> None:
    connection, bucket = local_s3
    deliver(connection, fruit_folder, DATE, console=console)
    puts.keys.clear()
    (fruit_folder / "Kiwi" / "left" / "1.jpg").write_bytes(b"KIWI 1")
    (fruit_folder / "Kiwi" / "3.jpg").write_bytes(b"new")
    receipt = deliver(connection, fruit_folder, DATE, console=console)
    names = {key.removeprefix(f"raw/ingest_date={DATE}/") for key in puts.keys}
    assert names == {"Kiwi/left/1.jpg", "Kiwi/3.jpg", "_SUCCESS"}
    assert delivered(bucket)["Kiwi/left/1.jpg"] == b"KIWI 1"
    assert (receipt.images, receipt.sent_images) == (6, 2)


def test_a_delivery_of_the_same_only_rewrites_the_marker(
    local_s3: LocalS3, fruit_folder: Path, puts: Puts, console: Console
) -> None:
    connection, _ = local_s3
    deliver(connection, fruit_folder, DATE, console=console)
    puts.keys.clear()
    assert deliver(connection, fruit_folder, DATE, console=console).sent_images == 0
    assert puts.keys == [f"raw/ingest_date={DATE}/_SUCCESS"]


def test_an_interrupted_delivery_has_no_marker_and_resumes(
    local_s3: LocalS3, fruit_folder: Path, puts: Puts, console: Console
) -> None:
    connection, bucket = local_s3
    puts.fail_from = 4
    with pytest.raises(KeyboardInterrupt):
        deliver(connection, fruit_folder, DATE, console=console)
    left = delivered(bucket)
    assert "_SUCCESS" not in left
    assert len(left) == 3
    assert "The same command resumes it" in console.export_text()
    puts.fail_from = None
    assert deliver(connection, fruit_folder, DATE, console=console).sent_images == 2
    found = delivered(bucket)
    assert found.pop("_SUCCESS")
    assert found == content_of(fruit_folder)


def test_an_interrupted_redelivery_takes_the_marker_away(
    local_s3: LocalS3, fruit_folder: Path, puts: Puts, console: Console
) -> None:
    connection, bucket = local_s3
    deliver(connection, fruit_folder, DATE, console=console)
    (fruit_folder / "Kiwi" / "2.jpg").write_bytes(b"changed")
    puts.fail_from, puts.error = 1, KeyboardInterrupt()
    puts.keys.clear()
    with pytest.raises(KeyboardInterrupt):
        deliver(connection, fruit_folder, DATE, console=console)
    assert "_SUCCESS" not in delivered(bucket)


def test_keeps_and_counts_images_of_an_earlier_delivery(
    local_s3: LocalS3, fruit_folder: Path, tmp_path: Path, console: Console
) -> None:
    connection, bucket = local_s3
    deliver(connection, fruit_folder, DATE, console=console)
    late = tmp_path / "late"
    (late / "Lemon").mkdir(parents=True)
    (late / "Lemon" / "1.jpg").write_bytes(b"lemon")
    receipt = deliver(connection, late, DATE, console=console)
    assert (receipt.images, receipt.kept_images) == (1, 5)
    assert json.loads(delivered(bucket)["_SUCCESS"])["images"] == 6


def test_sends_the_manifest_before_the_marker(
    local_s3: LocalS3, fruit_folder: Path, puts: Puts, console: Console
) -> None:
    connection, bucket = local_s3
    manifest = b"file,subject_id\nKiwi/2.jpg,s-17\n"
    (fruit_folder / "_manifest.csv").write_bytes(manifest)
    deliver(connection, fruit_folder, DATE, console=console)
    assert delivered(bucket)["_manifest.csv"] == manifest
    assert json.loads(delivered(bucket)["_SUCCESS"])["images"] == 5
    assert puts.keys[-1].endswith("_SUCCESS")


def test_refuses_a_manifest_that_forgets_whose_images_are_there(
    local_s3: LocalS3, fruit_folder: Path, console: Console
) -> None:
    connection, bucket = local_s3
    (fruit_folder / "_manifest.csv").write_bytes(b"file,subject_id\nKiwi/2.jpg,s-17\n")
    deliver(connection, fruit_folder, DATE, console=console)
    (fruit_folder / "_manifest.csv").write_bytes(b"file,subject_id\nApple Red 1/0_100.jpg,s-2\n")
    with pytest.raises(DeliveryRefusedError, match=r"doesn't name.*'Kiwi/2\.jpg'"):
        deliver(connection, fruit_folder, DATE, console=console)
    assert b"s-17" in delivered(bucket)["_manifest.csv"]


def test_sends_large_files_in_parts(
    local_s3: LocalS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    connection, bucket = local_s3
    monkeypatch.setattr(deliver_module, "_STREAMED_FROM_BYTES", 1024)
    content = os.urandom(12_000_000)
    (tmp_path / "large" / "Kiwi").mkdir(parents=True)
    (tmp_path / "large" / "Kiwi" / "raw.tif").write_bytes(content)
    deliver(connection, tmp_path / "large", DATE, console=console)
    assert delivered(bucket)["Kiwi/raw.tif"] == content
    assert deliver(connection, tmp_path / "large", DATE, console=console).sent_images == 0


LOOK_ALIKES = (
    "\xe9",
    "e\u0301",
    "\u201b",
    "'",
    "a／b",
    "a∕b",
    "Kiwi",
    "kiwi",
    " Kiwi",
    "Kiwi ",
    "Kiwi.",
    "CON",
    "a:b",
    "50%",
    "50%25",
    "+",
    "~",
    '#?&*\\"<>|',
)


def test_names_are_kept_byte_for_byte_whatever_they_look_like(
    local_s3: LocalS3, tmp_path: Path, puts: Puts, console: Console
) -> None:
    connection, bucket = local_s3
    for name in LOOK_ALIKES:
        (tmp_path / "odd" / name).mkdir(parents=True)
        for file_name in (f"{name}.jpg", f"_{name}", "1.jpg"):
            (tmp_path / "odd" / name / file_name).write_bytes(f"{name}/{file_name}".encode())
    receipt = deliver(connection, tmp_path / "odd", DATE, console=console)
    found = delivered(bucket)
    assert json.loads(found.pop("_SUCCESS"))["images"] == receipt.images == 3 * len(LOOK_ALIKES)
    assert found == content_of(tmp_path / "odd")
    puts.keys.clear()
    assert deliver(connection, tmp_path / "odd", DATE, console=console).sent_images == 0


class MergingStore:
    """Takes names that look the same for one name, as `rclone serve s3` does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, one_for: Callable[[str], str]) -> None:
        self.one_for = one_for
        self._put = obstore.put
        monkeypatch.setattr(obstore, "put", self.put)

    def put(self, store: Any, key: str, content: Any, **options: Any) -> object:
        return self._put(store, self.one_for(key), content, **options)


@pytest.mark.parametrize(
    ("names", "one_for", "problem"),
    [
        (("\xe9", "e\u0301"), lambda key: unicodedata.normalize("NFC", key), "'raw/.*/e\u0301/1\\.jpg' is not listed"),
        (("\u201b", "Kiwi"), lambda key: key.replace("\u201b", "\u201b\u201b"), r"'raw/.*/‛/1\.jpg' is not listed"),
    ],
    ids=["one normal form", "doubled"],
)
def test_a_batch_that_the_bucket_does_not_list_by_its_names_gets_no_marker(
    local_s3: LocalS3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    console: Console,
    names: tuple[str, ...],
    one_for: Callable[[str], str],
    problem: str,
) -> None:
    connection, bucket = local_s3
    for name in names:
        (tmp_path / "odd" / name).mkdir(parents=True)
        (tmp_path / "odd" / name / "1.jpg").write_bytes(b"the same")
    MergingStore(monkeypatch, one_for)
    with pytest.raises(DeliveryNotVerifiedError, match=f"1 of 2 images are not in .*no _SUCCESS marker: {problem}"):
        deliver(connection, tmp_path / "odd", DATE, console=console)
    assert "_SUCCESS" not in delivered(bucket)


def test_a_file_that_changes_while_it_is_delivered_is_told(
    local_s3: LocalS3, fruit_folder: Path, monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    connection, bucket = local_s3
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(path) + (b"more" if path.name == "1_100.jpg" else b""))
    with pytest.raises(
        DeliveryNotVerifiedError,
        match=r"'raw/.*/1_100\.jpg' has 11 bytes there, and the file had 7.*type the same command",
    ):
        deliver(connection, fruit_folder, DATE, console=console)
    assert "_SUCCESS" not in delivered(bucket)


def test_two_files_that_became_one_are_told_though_their_sizes_are_the_same() -> None:
    images = tuple(PlannedImage("", "Kiwi", name, 3) for name in ("a.jpg", "A.jpg"))
    plan = DeliveryPlan(DATE, images)
    etags = {plan.key_of(image): f"etag-{image.file_name}" for image in images}
    there = {plan.key_of(image): RemoteObject(3, "etag-A.jpg") for image in images}
    with pytest.raises(
        DeliveryNotVerifiedError, match=r"1 of 2 images .*Kiwi/a\.jpg' holds something else than was sent"
    ):
        verify(plan, etags, there, "s3://fruits-lake/raw/")


def test_very_many_images_that_are_not_there_are_told_shortly() -> None:
    plan = DeliveryPlan(DATE, tuple(PlannedImage("", "Kiwi", f"{number}.jpg", 3) for number in range(5_000)))
    with pytest.raises(DeliveryNotVerifiedError, match=r"5,000 of 5,000 images .*; and 4,992 more") as caught:
        verify(plan, {}, {}, "s3://fruits-lake/raw/")
    assert len(str(caught.value)) < 1_000


def test_delivers_beside_keys_that_the_fast_store_can_not_name(
    local_s3: LocalS3, fruit_folder: Path, console: Console
) -> None:
    connection, _ = local_s3
    s3_client(connection).put_object(Bucket=connection.bucket, Key=f"raw/ingest_date={DATE}/Kiwi/a\tb.jpg", Body=b"x")
    receipt = deliver(connection, fruit_folder, DATE, console=console)
    assert (receipt.images, receipt.kept_images) == (5, 1)


def test_says_by_kind_what_was_left_out(local_s3: LocalS3, fruit_folder: Path, console: Console) -> None:
    connection, _ = local_s3
    (fruit_folder / "Kiwi" / "Icon\r").write_bytes(b"")
    (fruit_folder / ".DS_Store").write_bytes(b"x")
    (fruit_folder / "_new").mkdir()
    deliver(connection, fruit_folder, DATE, console=console)
    text = console.export_text()
    assert "Left out: 1 hidden (names that begin with '.'): '.DS_Store'\n" in text
    assert r"Left out: 1 left there by a system or a program: 'Kiwi/Icon\r'" in text
    assert "Left out: 1 folders that begin with '_': '_new/'" in text


def test_names_the_file_that_can_not_be_read(
    local_s3: LocalS3, fruit_folder: Path, monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    connection, bucket = local_s3
    real = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "1_100.jpg":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(DeliveryRefusedError, match=r"1_100\.jpg' can't be read: Permission denied"):
        deliver(connection, fruit_folder, DATE, console=console)
    monkeypatch.undo()
    assert "_SUCCESS" not in delivered(bucket)


def test_says_that_the_bucket_does_not_exist(local_s3: LocalS3, fruit_folder: Path, console: Console) -> None:
    connection, _ = local_s3
    with pytest.raises(LakeUnreachableError, match=r"s3://no-such-bucket.*doesn't exist"):
        deliver(replace(connection, bucket="no-such-bucket"), fruit_folder, DATE, console=console)


def test_says_that_the_credentials_are_refused_and_shows_none(
    local_s3: LocalS3, fruit_folder: Path, console: Console
) -> None:
    connection, _ = local_s3
    with pytest.raises(LakeUnreachableError) as error:
        deliver(replace(connection, secret_access_key="another-secret"), fruit_folder, DATE, console=console)
    assert "refuses these credentials" in str(error.value)
    assert "another-secret" not in str(error.value)


def test_finds_the_keys_that_are_missing(local_s3: LocalS3, fruit_folder: Path, console: Console) -> None:
    connection, _ = local_s3
    deliver(connection, fruit_folder, DATE, console=console)
    keys = [f"raw/ingest_date={day}/_SUCCESS" for day in (DATE, "2026-11-23")]
    assert missing_keys(connection, keys) == keys[1:]


class Heads:
    """Counts the HEADs by the last part of the key."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self._get = obstore.get
        monkeypatch.setattr(obstore, "get", self)

    def __call__(self, store: Any, key: str, *, options: Any = None) -> object:
        if (options or {}).get("head"):
            self.names.append(key.rpartition("/")[2])
        return self._get(store, key, options=options)


@pytest.fixture
def aws_s3() -> Iterator[LakeConnection]:
    """Runs an S3 that keeps metadata, and whose ETag of an object that was sent in parts is not the MD5, as with AWS.
    The local cloud's keeps none, and its ETags are MD5s.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    connection = LakeConnection(f"fruits-{secrets.token_hex(6)}", "eu-west-1", f"http://{host}:{port}", "test", "test")
    s3_client(connection).create_bucket(
        Bucket=connection.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    yield connection
    server.stop()


def encrypt_with_kms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes ETags say nothing of the content, as those of SSE-KMS do."""
    monkeypatch.setattr(FakeKey, "etag", property(lambda key: key.__dict__.setdefault("etag", f'"{uuid4().hex}"')))


@pytest.fixture
def unlike_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a folder with images that are sent in all ways: whole, in parts, and in parts as a stream."""
    monkeypatch.setattr(deliver_module, "_STREAMED_FROM_BYTES", 6_000_000)
    folder = tmp_path / "unlike" / "Kiwi"
    folder.mkdir(parents=True)
    for name, size in (("small.jpg", 7), ("photo.jpg", 5_300_000), ("raw.tif", 6_000_000)):
        (folder / name).write_bytes(b"a" * size)
    (folder.parent / "_manifest.csv").write_bytes(b"file,subject_id\nKiwi/raw.tif,s-17\n")
    return folder.parent


@pytest.mark.parametrize(
    ("encrypted", "asked_for"),
    [(False, ["photo.jpg", "raw.tif"]), (True, ["photo.jpg", "raw.tif", "small.jpg"])],
    ids=["plain", "SSE-KMS"],
)
def test_aws_gets_again_exactly_what_was_corrected_though_its_size_is_the_same(
    aws_s3: LakeConnection,
    unlike_images: Path,
    puts: Puts,
    monkeypatch: pytest.MonkeyPatch,
    console: Console,
    *,
    encrypted: bool,
    asked_for: list[str],
) -> None:
    if encrypted:
        encrypt_with_kms(monkeypatch)
    heads = Heads(monkeypatch)
    deliver(aws_s3, unlike_images, DATE, console=console)
    assert heads.names == []

    puts.keys.clear()
    assert deliver(aws_s3, unlike_images, DATE, console=console).sent_images == 0
    assert puts.keys == [f"raw/ingest_date={DATE}/_SUCCESS"]
    asked = sorted(heads.names)

    for path in sorted((unlike_images / "Kiwi").iterdir()):
        path.write_bytes(b"b" * path.stat().st_size)
        puts.keys.clear()
        assert deliver(aws_s3, unlike_images, DATE, console=console).sent_images == 1
        sent = f"raw/ingest_date={DATE}/Kiwi/{path.name}"
        assert puts.keys == [sent, f"raw/ingest_date={DATE}/_SUCCESS"]
        assert s3_client(aws_s3).get_object(Bucket=aws_s3.bucket, Key=sent)["Body"].read() == path.read_bytes()
    assert deliver(aws_s3, unlike_images, DATE, console=console).sent_images == 0
    assert asked == asked_for


def test_what_others_have_put_there_is_sent_once_if_its_etag_says_nothing(
    aws_s3: LakeConnection, unlike_images: Path, monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    encrypt_with_kms(monkeypatch)
    for path in (unlike_images / "Kiwi").iterdir():
        key = f"raw/ingest_date={DATE}/Kiwi/{path.name}"
        s3_client(aws_s3).put_object(Bucket=aws_s3.bucket, Key=key, Body=path.read_bytes())
    assert [deliver(aws_s3, unlike_images, DATE, console=console).sent_images for _ in range(2)] == [3, 0]


def test_an_object_that_is_removed_meanwhile_is_sent_again(
    aws_s3: LakeConnection, unlike_images: Path, monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    deliver(aws_s3, unlike_images, DATE, console=console)
    real, key = deliver_module.list_batch, f"raw/ingest_date={DATE}/Kiwi/photo.jpg"
    removed: list[str] = []

    def list_and_lose(*arguments: Any) -> dict[str, RemoteObject]:
        found = real(*arguments)
        if not removed:
            s3_client(aws_s3).delete_object(Bucket=aws_s3.bucket, Key=key)
            removed.append(key)
        return found

    monkeypatch.setattr(deliver_module, "list_batch", list_and_lose)
    assert deliver(aws_s3, unlike_images, DATE, console=console).sent_images == 1


MD5 = "900150983cd24fb0d6963f7d28e17f72"
OTHER_MD5 = "0" * 32


@pytest.mark.parametrize(
    ("remote", "sent_md5", "there"),
    [
        (None, MD5, False),
        (RemoteObject(3, MD5), None, True),
        (RemoteObject(4, MD5), MD5, False),
        (RemoteObject(3, OTHER_MD5), None, False),
        (RemoteObject(3, OTHER_MD5), OTHER_MD5, False),
        (RemoteObject(3, OTHER_MD5), MD5, True),
        (RemoteObject(3, f"{OTHER_MD5}-2"), None, False),
        (RemoteObject(3, f"{OTHER_MD5}-2"), OTHER_MD5, False),
        (RemoteObject(3, f"{OTHER_MD5}-2"), MD5, True),
        (RemoteObject(3, ""), None, False),
    ],
    ids=[
        "absent",
        "same",
        "other size",
        "other content, sent by others",
        "other content",
        "same, encrypted",
        "in parts, sent by others",
        "in parts, other content",
        "in parts, same",
        "without an ETag",
    ],
)
def test_knows_what_is_there_already(remote: RemoteObject | None, sent_md5: str | None, *, there: bool) -> None:
    assert is_already_there(3, lambda: MD5, remote, lambda: sent_md5) is there


def test_reads_no_file_whose_size_differs_and_asks_for_no_object_whose_etag_tells() -> None:
    def never() -> str:
        raise AssertionError("it was asked for")

    assert not is_already_there(3, never, RemoteObject(4, "x"), never)
    assert is_already_there(3, lambda: MD5, RemoteObject(3, MD5), never)


def test_works_in_parallel_in_order_and_takes_only_a_window_of_a_long_list() -> None:
    taken = 0

    def numbers() -> object:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield number

    results = in_parallel(lambda number: number * 2, numbers(), workers=4)  # type: ignore[arg-type]
    assert next(results) == 0
    assert taken <= 16
    assert list(results) == [number * 2 for number in range(1, 10_000)]


def test_an_error_in_parallel_work_reaches_the_caller_and_stops_the_rest() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        done.append(number)
        return number

    with pytest.raises(ValueError, match="five"):
        list(in_parallel(work, range(10_000), workers=2))
    assert len(done) < 100
