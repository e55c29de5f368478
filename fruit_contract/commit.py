"""Describes the commit of an ingest date, which its ledger carries. The commit says what is true of the date.

The ledger of a date is one object, `ledger/ingest_date=<day>/ledger.parquet`, and a run replaces it with one PUT. It
has a row for every image. Its Parquet metadata hold what this module describes: which files count, by embedder. Every
other file is immutable and has a name that no other write ever has. A file that no ledger names is garbage.
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

# The metadata of the ledger's Parquet file hold the commit under this key.
METADATA_KEY: Final = "fruits.commit"
SCHEMA_VERSION: Final = 1


class CommitFormatError(ValueError):
    """Raised if this release can't read a ledger's metadata. The message names the ledger or its date and says what to
    do.
    """


@dataclass(frozen=True)
class MomentsObject:
    """Says where the moments of one embedder's features of a date lie, and which images they cover.

    `n_samples` is the number of these images, and `images_digest` their digest.
    """

    key: str
    n_samples: int
    images_digest: str

    @property
    def state(self) -> str:
        """Returns a text that differs if the set of images differs."""
        return f"{self.n_samples}-{self.images_digest}"


@dataclass(frozen=True)
class EmbedderFiles:
    """Says which files hold a date's features of one embedder.

    `files` has the number of rows of each file of `features/` that counts, by its name below the date's prefix
    (`category=Kiwi/<write>-<n>.parquet`). `n_images` is how many rows of the ledger name this embedder. It is smaller
    than the number of rows in the files if another embedder has featurised some of the images since. The files stay as
    long as there is a PCA version of this embedder.
    """

    n_images: int
    files: Mapping[str, int]
    moments: MomentsObject | None

    @property
    def n_rows(self) -> int:
        return sum(self.files.values())


@dataclass(frozen=True)
class Commit:
    """Holds what one commit says of a date. No other commit has the same name `write`."""

    ingest_date: str
    write: str
    n_images: int
    n_rejected: int
    embedders: Mapping[str, EmbedderFiles] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def files(self) -> dict[str, int]:
        """Returns the number of rows of each file, of all embedders."""
        return {name: n_rows for embedder in self.embedders.values() for name, n_rows in embedder.files.items()}

    def features_keys(self) -> set[str]:
        """Returns the keys of all files of `features/` that count."""
        return {file_key(self.ingest_date, name) for name in self.files()}

    def moments_keys(self) -> set[str]:
        """Returns the keys of the moments of all embedders."""
        return {embedder.moments.key for embedder in self.embedders.values() if embedder.moments is not None}

    def rejected_keys(self) -> set[str]:
        """Returns the key of the date's file of `rejected/`, or an empty set if the date has no rejects."""
        return {rejected_key(self.ingest_date, self.write)} if self.n_rejected else set()

    def named_keys(self) -> set[str]:
        """Returns the keys of all files that count, except projections, whose names are those of `features/`."""
        return self.features_keys() | self.moments_keys() | self.rejected_keys() | {ledger_key(self.ingest_date)}


def file_key(ingest_date: str, name: str) -> str:
    """Returns the key of a file of `features/`, given its name below the date's prefix."""
    return f"{date_prefix(FEATURES, ingest_date)}{name}"


def file_name(key: str) -> str:
    """Returns the name of a file of `features/` below its date's prefix: `category=Kiwi/<write>-<n>.parquet`."""
    return key.split("/", 2)[2]


def image_digest(image_key: str, content_sha256: str | None) -> int:
    """Returns 64 bits that stand for an image and its content."""
    return int.from_bytes(hashlib.blake2b(f"{image_key}\0{content_sha256}".encode(), digest_size=8).digest(), "little")


def images_digest(images: Iterable[tuple[str, str | None]]) -> int:
    """Returns one digest for a set of images (key and SHA-256 of the content), whatever their order.

    The digest of two sets together is the exclusive or of their digests.
    """
    return reduce(xor, (image_digest(image_key, content_sha256) for image_key, content_sha256 in images), 0)


def digest_text(digest: int) -> str:
    """Returns a digest as it is written: in 16 hexadecimal digits."""
    return f"{digest:016x}"


def commit_to_json(commit: Commit) -> str:
    """Returns the text that the ledger's metadata hold under METADATA_KEY."""
    return json.dumps(asdict(commit), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def commit_from_metadata(uri: str, metadata: Mapping[bytes, bytes] | None) -> Commit:
    """Returns the commit that the metadata of the Parquet file at `uri` hold.

    Raises CommitFormatError if they hold none, or none that this release can read.
    """
    remedy = "Remove it, and run its date again: what has no ledger is done anew."
    text = (metadata or {}).get(METADATA_KEY.encode())
    if text is None:
        raise CommitFormatError(
            f"{uri} holds no commit ('{METADATA_KEY}' in its metadata), so something else than a run wrote it. {remedy}"
        )
    try:
        return commit_from_json(text.decode())
    except CommitFormatError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CommitFormatError(
            f"{uri} holds a commit that can't be read ({type(error).__name__}: {error}). {remedy}"
        ) from error


def commit_from_json(text: str) -> Commit:
    """Returns the commit that `commit_to_json` wrote. Raises CommitFormatError if a later release wrote it."""
    values: dict[str, Any] = json.loads(text)
    if values["schema_version"] > SCHEMA_VERSION:
        raise CommitFormatError(
            f"The ledger of {values['ingest_date']} was written by a later release (schema version "
            f"{values['schema_version']}, this one reads {SCHEMA_VERSION}). Use that release, or a later one."
        )
    embedders = {
        embedder_id: EmbedderFiles(
            found["n_images"], found["files"], MomentsObject(**found["moments"]) if found["moments"] else None
        )
        for embedder_id, found in values.pop("embedders").items()
    }
    return Commit(**values, embedders=embedders)
