"""Stores objects as files: opens, replaces and removes them.

Readers, of the folder or through S3, see either the whole of an object's version or nothing of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fruit_contract.lake import BUCKET_NAME, MOST_KEY_BYTES
from local_cloud.s3.errors import S3Error, invalid_argument, no_such_bucket, no_such_key, precondition_failed
from local_cloud.s3.etags import READ_BYTES, ETags

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# An upload lies beside the buckets until it is whole, so that neither a listing nor a reader of a bucket's folder comes
# across it. The folder's name begins with a dot, which no bucket's name does.
UPLOADS_FOLDER: Final = ".uploads"
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_FILE: Final = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO)


@dataclass(frozen=True)
class Condition:
    """Holds a request's conditions on the stored version: the values of its If-Match and If-None-Match."""

    match: str | None = None
    none_match: str | None = None

    def holds_for_writing(self, etag: str | None) -> bool:
        """Says whether a version with this ETag (None: no version) may be replaced."""
        if self.match is not None and (etag is None or not names_etag(self.match, etag)):
            return False
        return self.none_match is None or etag is None or not names_etag(self.none_match, etag)


def names_etag(condition: str, etag: str) -> bool:
    """Says whether the value of If-Match or If-None-Match names this ETag."""
    return any(named.strip().removeprefix("W/").strip('"') in ("*", etag) for named in condition.split(","))


@dataclass(frozen=True)
class Version:
    """Holds one version of an object, open for reading. It does not change when its key is replaced or removed."""

    descriptor: int
    status: os.stat_result

    @property
    def size(self) -> int:
        return self.status.st_size

    @property
    def modified(self) -> float:
        return self.status.st_mtime

    def close(self) -> None:
        os.close(self.descriptor)


class Upload:
    """Takes in content that is arriving. It becomes an object all at once, or leaves nothing behind."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / uuid.uuid4().hex
        self._file = self.path.open("xb", buffering=0)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0

    @property
    def etag(self) -> str:
        return self._md5.hexdigest()

    def write(self, content: bytes) -> None:
        self._md5.update(content)
        self.size += len(content)
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]

    def copy(self, version: Version) -> None:
        """Writes the content of another object's version."""
        copied = 0
        while content := os.pread(version.descriptor, READ_BYTES, copied):
            self.write(content)
            copied += len(content)

    def join(self, parts: Iterable[Upload]) -> None:
        """Writes the content of other uploads, one after the other."""
        for part in parts:
            with part.path.open("rb", buffering=0) as source:
                while content := source.read(READ_BYTES):
                    self.write(content)

    def finish(self) -> None:
        """Closes the file, because nothing more will be written."""
        self._file.close()

    def discard(self) -> None:
        """Removes what has arrived, unless it has become an object."""
        self.finish()
        self.path.unlink(missing_ok=True)


class BucketFolders:
    """Holds the buckets of a folder. Its methods wait for nothing but the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etags = ETags()
        self.uploads = root / UPLOADS_FOLDER
        self.uploads.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def buckets(self) -> list[tuple[str, float]]:
        """Returns the name of every bucket and when it was changed (seconds since 1970), sorted by name."""
        with os.scandir(self.root) as entries:
            return sorted((entry.name, entry.stat().st_mtime) for entry in entries if is_bucket(entry))

    def bucket(self, name: str) -> Path:
        """Returns the folder of a bucket. Raises S3Error if there is no such bucket."""
        folder = self.root / name
        if name.startswith(".") or "/" in name or "\0" in name or not folder.is_dir():
            raise no_such_bucket(name)
        return folder

    def create_bucket(self, name: str) -> None:
        if not BUCKET_NAME.fullmatch(name):
            raise S3Error(400, "InvalidBucketName", f"{name} is no name for a bucket.")
        try:
            (self.root / name).mkdir()
        except FileExistsError:
            raise S3Error(409, "BucketAlreadyOwnedByYou", f"The bucket {name} is there already.") from None

    def remove_bucket(self, name: str) -> None:
        try:
            self.bucket(name).rmdir()
        except OSError:
            raise S3Error(409, "BucketNotEmpty", f"The bucket {name} is not empty.") from None

    def open(self, bucket: str, key: str) -> Version:
        """Opens the version that a key has now, which the caller must close. Raises S3Error if there is none."""
        path = self._path(bucket, key)
        try:
            # The server must not wait for a pipe that someone has put into the folder.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise _no_object(key, error) from error
        version = Version(descriptor, os.fstat(descriptor))
        if stat.S_ISREG(version.status.st_mode):
            return version
        version.close()
        raise no_such_key(key)

    def check(self, bucket: str, key: str) -> None:
        """Raises S3Error if no object can be stored under the key in this bucket."""
        if len(key.encode()) > MOST_KEY_BYTES:
            raise S3Error(400, "KeyTooLongError", f"A key has {MOST_KEY_BYTES:,} bytes at most.")
        self._path(bucket, key)

    def begin_upload(self) -> Upload:
        return Upload(self.uploads)

    @contextlib.contextmanager
    def upload(self) -> Iterator[Upload]:
        """Opens an upload that leaves nothing behind if it isn't stored by the end of the context."""
        upload = self.begin_upload()
        try:
            yield upload
        finally:
            upload.discard()

    def store(self, upload: Upload, bucket: str, key: str, condition: Condition | None = None) -> None:
        """Stores an upload under the key, in place of what is there.

        Raises S3Error if the condition does not hold, and then changes nothing. It must run in the thread of the
        server's loop, so that no other request comes between checking the condition and replacing the object.
        """
        path = self._path(bucket, key)
        if condition and not condition.holds_for_writing(self._etag(bucket, key)):
            raise precondition_failed()
        upload.finish()
        self.etags.remember(upload.path.stat(), upload.etag)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                path.rmdir()  # an empty folder is no part of any key
            upload.path.replace(path)
        except OSError as error:
            raise _not_storable(key, error) from error

    def remove(self, bucket: str, key: str) -> None:
        """Removes an object, if there is one, and the folders that held nothing else."""
        folder = self.bucket(bucket)
        path = self._path(bucket, key)
        try:
            path.unlink()
        except OSError as error:
            if error.errno in _NO_FILE:
                return
            raise _no_object(key, error) from error
        for parent in path.parents:
            if parent == folder:
                return
            try:
                parent.rmdir()
            except OSError:
                return

    def _etag(self, bucket: str, key: str) -> str | None:
        try:
            with contextlib.closing(self.open(bucket, key)) as version:
                return self.etags.of(version.descriptor, version.status)
        except S3Error:
            return None

    def _path(self, bucket: str, key: str) -> Path:
        folder = self.bucket(bucket)
        if not is_path(key):
            raise invalid_argument(f"The key {key!r} is no path of a file, and this local S3 stores objects as files.")
        return folder / key

    def _sweep(self) -> None:
        """Removes the uploads that a killed server of this folder has left, unless another server uses it now."""
        # The descriptor stays open, so the lock lasts as long as the process.
        self._lock = os.open(self.uploads, os.O_RDONLY)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in self.uploads.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        fcntl.flock(self._lock, fcntl.LOCK_SH)


def is_bucket(entry: os.DirEntry[str] | Path) -> bool:
    """Says whether an entry of the folder of all buckets is a bucket."""
    return entry.is_dir() and not entry.name.startswith(".")


def is_path(key: str) -> bool:
    """Says whether a key names exactly one file: it has no empty part, and none that is `.` or `..`."""
    return "\0" not in key and not any(step in ("", ".", "..") for step in key.split("/"))


def _no_object(key: str, error: OSError) -> S3Error:
    if error.errno in _NO_FILE:
        return no_such_key(key)
    return S3Error(500, "InternalError", f"{key!r} can't be read: {error.strerror}.")


def no_space(error: BaseException) -> S3Error | None:
    """Returns the answer if an error says that nothing more can be stored here; None if it says something else.

    It is no error of the server's kind, which clients would ask again about for minutes.
    """
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return S3Error(400, "NoSpaceLeft", f"The disk of the local S3 has no room: {error.strerror}.")
    return None


def _not_storable(key: str, error: OSError) -> S3Error:
    if full := no_space(error):
        return full
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY):
        return invalid_argument(
            f"{key!r} can't be stored: on this local S3 no key may be both an object and the beginning of other keys."
        )
    if error.errno == errno.ENAMETOOLONG:
        return S3Error(400, "KeyTooLongError", f"{key!r} can't be stored: a step of it is too long for a file's name.")
    return S3Error(500, "InternalError", f"{key!r} can't be stored: {error.strerror}.")
