"""Counts a date's ledger while its rows pass by, and says what is wrong with them.

No row is kept. Sets of images are compared by their digests (`fruit_contract.commit`), which takes as little memory for
millions of images as for ten.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from fruit_contract.commit import file_key, image_digest
from fruit_contract.tables import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fruit_contract.commit import Commit

EXAMPLES_NAMED: Final = 5


class LedgerRow(NamedTuple):
    """Holds one image's row of the ledger, as far as the checks need it."""

    image_key: str
    etag: str
    category: str
    content_sha256: str | None
    status: str
    reason: str | None
    detail: str | None
    embedder_id: str | None
    file: str | None


@dataclass
class Images:
    """Counts the images that share a problem, and holds the first few by name."""

    n: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, image_key: str) -> None:
        self.n += 1
        if len(self.named) < EXAMPLES_NAMED:
            self.named.append(image_key)

    def problem(self, sentence: str) -> list[str]:
        """Returns a list of one sentence, with the number of images and the first few names; an empty list if there are
        none.
        """
        if not self.n:
            return []
        return [f"{sentence}: {self.n:,} ({', '.join(self.named)}{', ...' if self.n > len(self.named) else ''})"]

    def __add__(self, other: Images) -> Images:
        return Images(self.n + other.n, sorted(self.named + other.named)[:EXAMPLES_NAMED])

    @classmethod
    def of(cls, image_keys: Iterable[str]) -> Images:
        found = cls()
        for image_key in sorted(image_keys):
            found.add(image_key)
        return found


@dataclass
class RowsOfFile:
    """Says what the ledger's rows tell of one file of features/: how many name it, the digest of their images, and
    their embedders.
    """

    n: int = 0
    digest: int = 0
    embedder_ids: set[str | None] = field(default_factory=set)


@dataclass
class ListingDifferences:
    """Holds the images in which the ledger and the listing differ: listed and not in the ledger (`unknown`), in the
    ledger and not listed (`gone`), listed with another ETag (`replaced`).
    """

    unknown: Images = field(default_factory=Images)
    gone: Images = field(default_factory=Images)
    replaced: Images = field(default_factory=Images)

    def __add__(self, other: ListingDifferences) -> ListingDifferences:
        return ListingDifferences(self.unknown + other.unknown, self.gone + other.gone, self.replaced + other.replaced)

    def problems(self, *, is_as_step_listed: bool) -> list[str]:
        """Returns the differences as problems: the ledger must hold every listed image as it is, and nothing else.

        If it holds just as many images as the step listed, those that are gone were removed after that, which is no
        fault of the run.
        """
        return [
            *self.unknown.problem("listed but not in the ledger"),
            *([] if is_as_step_listed else self.gone.problem("in the ledger but no longer listed")),
            *self.replaced.problem("in the ledger with another ETag than the image has"),
        ]


class LedgerTally:
    """Counts a ledger's rows while they pass by.

    If a file holds rows that the ledger does not name (its images were featurised by another embedder since), sums
    can't be compared. Then 8 bytes an image are kept: `digests` of all images, and in `named` the digests of those
    whose rows name such a file.
    """

    def __init__(self, commit: Commit, categories: Sequence[str] = ()) -> None:
        self._commit = commit
        self._chosen = frozenset(categories)
        self._files_with_more = {
            file_key(commit.ingest_date, name)
            for embedder in commit.embedders.values()
            if embedder.n_rows > embedder.n_images
            for name in embedder.files
        }
        self._before: str | None = None
        self._problems: defaultdict[str, Images] = defaultdict(Images)
        self.n_rows = 0
        self.n_rejected = 0
        self.rejected_digest = 0
        self.is_sorted = True
        self.featurised: Counter[str | None] = Counter()
        self.by_category: Counter[tuple[str, str]] = Counter()  # of the chosen categories, with the status
        self.files: defaultdict[str, RowsOfFile] = defaultdict(RowsOfFile)
        self.digests = array("Q")
        self.named: defaultdict[str, array[int]] = defaultdict(lambda: array("Q"))

    def add(self, row: LedgerRow) -> None:
        self.n_rows += 1
        if self._before is not None and row.image_key <= self._before:
            self.is_sorted = False
            twice = row.image_key == self._before
            self._found("in the ledger more than once" if twice else "in the ledger after a key that is greater", row)
        self._before = row.image_key
        if not self._chosen or row.category in self._chosen:
            self.by_category[row.category, row.status] += 1
        if self._files_with_more:
            self.digests.append(image_digest(row.image_key, row.content_sha256))
        if row.status == Status.FEATURISED:
            self._add_featurised(row)
        elif row.status == Status.REJECTED:
            self._add_rejected(row)
        else:
            self._found("in the ledger with a status that does not exist", row)

    def is_as_listed(self, books: Mapping[str, Mapping[str, int]]) -> bool:
        """Returns whether the ledger holds, of each chosen category, as many images as the step listed by its books of
        this date.
        """
        held: Counter[str] = Counter()
        for (category, _), n in self.by_category.items():
            held[category] += n
        return held == Counter({category: count["listed"] for category, count in books.items()})

    def _add_featurised(self, row: LedgerRow) -> None:
        self.featurised[row.embedder_id] += 1
        if not row.embedder_id:
            self._found("featurised without an embedder", row)
        if not row.file:
            self._found("featurised without a file of features", row)
            return
        digest = image_digest(row.image_key, row.content_sha256)
        rows = self.files[row.file]
        rows.n += 1
        rows.digest ^= digest
        rows.embedder_ids.add(row.embedder_id)
        if row.file in self._files_with_more:
            self.named[row.file].append(digest)

    def _add_rejected(self, row: LedgerRow) -> None:
        self.n_rejected += 1
        self.rejected_digest ^= reject_digest(row.image_key, row.category, row.content_sha256, row.reason, row.detail)
        if not row.reason:
            self._found("rejected without a reason", row)
        if row.file:
            self._found("rejected, but with a file of features", row)

    def _found(self, problem: str, row: LedgerRow) -> None:
        self._problems[problem].add(row.image_key)

    def problems(self) -> list[str]:
        """Returns the problems of the rows themselves, and where they differ from what the commit says of them."""
        commit = self._commit
        files = {
            file_key(commit.ingest_date, name): embedder_id
            for embedder_id, of in commit.embedders.items()
            for name in of.files
        }
        counted = {
            "images": (commit.n_images, self.n_rows),
            "rejected images": (commit.n_rejected, self.n_rejected),
            **{
                f"images of embedder '{embedder_id}'": (found.n_images, self.featurised[embedder_id])
                for embedder_id, found in commit.embedders.items()
            },
        }
        others = {file: rows for file, rows in self.files.items() if rows.embedder_ids != {files.get(file)}}
        return [
            *(problem for sentence, images in self._problems.items() for problem in images.problem(sentence)),
            *(
                f"ledger: its commit has {said:,} {what}, its rows are {n:,}"
                for what, (said, n) in counted.items()
                if said != n
            ),
            *Images.of(file for file in others if file not in files).problem(
                "ledger: rows name files that its commit does not name"
            ),
            *Images.of(file for file in others if file in files).problem(
                "ledger: rows name a file of another embedder than their own"
            ),
        ]


def reject_digest(*words: str | None) -> int:
    """Returns a number of 64 bits that identifies a row of `rejected/`."""
    return int.from_bytes(blake2b("\0".join(map(str, words)).encode(), digest_size=8).digest(), "little")
