"""What is true of an ingest date: the commit that its ledger carries.

A date's truth is one object, `ledger/ingest_date=<day>/ledger.parquet`, and is replaced by one PUT. It has a row for every image, and, in
its Parquet metadata, what this module describes: which files count, by embedder. Every other file is immutable and has a name that no
other write ever has; one that no ledger names is garbage.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.lake import FEATURES, date_prefix, ledger_key, rejected_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Of the ledger's Parquet file.
METADATA_KEY: Final = "fruits.commit"
SCHEMA_VERSION: Final = 1


class CommitFormatError(ValueError):
    """A ledger's metadata that this release can't read. The message says which date's, and what to do."""


@dataclass(frozen=True)
class MomentsObject:
    """The moments of an embedder's features of a date: where they lie, of how many images they are, and `images_digest` of these images."""

    key: str
    n_samples: int
    images_digest: str

    @property
    def state(self) -> str:
        """What tells one set of images from another."""
        return f"{self.n_samples}-{self.images_digest}"


@dataclass(frozen=True)
class EmbedderFiles:
    """The features of one embedder.

    `files` are those of `features/` that count, with their numbers of rows, by their names below the date's prefix
    (`category=Kiwi/<write>-<n>.parquet`). `n_images` is how many rows of the ledger name this embedder: fewer than the files hold once
    images were featurised by another embedder since; the files stay as long as a PCA version of this embedder does.
    """

    n_images: int
    files: Mapping[str, int]
    moments: MomentsObject | None

    @property
    def n_rows(self) -> int:
        return sum(self.files.values())


@dataclass(frozen=True)
class Commit:
    """One commit of a date. `write` is a name that no other commit has."""

    ingest_date: str
    write: str
    n_images: int
    n_rejected: int
    embedders: Mapping[str, EmbedderFiles] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def files(self) -> dict[str, int]:
        """The files of all embedders, with their numbers of rows."""
        return {name: n_rows for embedder in self.embedders.values() for name, n_rows in embedder.files.items()}

    def features_keys(self) -> set[str]:
        """The keys of all files of `features/` that count."""
        return {file_key(self.ingest_date, name) for name in self.files()}

    def moments_keys(self) -> set[str]:
        """The keys of the moments of all embedders."""
        return {embedder.moments.key for embedder in self.embedders.values() if embedder.moments is not None}

    def rejected_keys(self) -> set[str]:
        """The key of the date's file of `rejected/`, if it has rejects."""
        return {rejected_key(self.ingest_date, self.write)} if self.n_rejected else set()

    def named_keys(self) -> set[str]:
        """The keys of all files that count, but for projections: these are called like files of `features/`."""
        return self.features_keys() | self.moments_keys() | self.rejected_keys() | {ledger_key(self.ingest_date)}


def file_key(ingest_date: str, name: str) -> str:
    """The key of a file of `features/` by its name below its date's prefix."""
    return f"{date_prefix(FEATURES, ingest_date)}{name}"


def file_name(key: str) -> str:
    """The name below its date's prefix of a file of `features/`: `category=Kiwi/<write>-<n>.parquet`."""
    return key.split("/", 2)[2]


def image_digest(image_key: str, content_sha256: str | None) -> int:
    """64 bits that name an image and its content."""
    return int.from_bytes(hashlib.blake2b(f"{image_key}\0{content_sha256}".encode(), digest_size=8).digest(), "little")


def images_digest(images: Iterable[tuple[str, str | None]]) -> int:
    """One digest for a set of images (key and SHA-256 of the content), whatever their order.

    That of two sets together is the exclusive or of theirs.
    """
    return reduce(xor, (image_digest(image_key, content_sha256) for image_key, content_sha256 in images), 0)


def digest_text(digest: int) -> str:
    """How a digest is written: 16 hexadecimal digits."""
    return f"{digest:016x}"


def commit_to_json(commit: Commit) -> str:
    """What the ledger's metadata hold under METADATA_KEY."""
    return json.dumps(asdict(commit), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def commit_from_json(text: str) -> Commit:
    """The reverse of `commit_to_json`. Raises CommitFormatError for what a later release wrote."""
    values: dict[str, Any] = json.loads(text)
    if values["schema_version"] > SCHEMA_VERSION:
        raise CommitFormatError(
            f"The ledger of {values['ingest_date']} was written by a later release (schema version {values['schema_version']}, this one "
            f"reads {SCHEMA_VERSION}). Use that release, or a later one."
        )
    embedders = {
        embedder_id: EmbedderFiles(found["n_images"], found["files"], MomentsObject(**found["moments"]) if found["moments"] else None)
        for embedder_id, found in values.pop("embedders").items()
    }
    return Commit(**values, embedders=embedders)
