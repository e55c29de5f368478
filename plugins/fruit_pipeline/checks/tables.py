"""Turns facts about a date's tables into a list of problems. An empty list is a pass; nothing is repaired here.

No row is kept: rows are counted as they pass by, and sets of images are compared by their digests
(`fruit_contract.commit`), which takes as little memory for millions of images as for ten. `parquet_facts` gathers from
the lake what is counted here. Each problem is a sentence that a person can act on.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from fruit_contract import tables
from fruit_contract.commit import digest_text, file_key, image_digest
from fruit_contract.tables import N_FEATURES, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fruit_contract.commit import Commit, EmbedderFiles

EXAMPLES_NAMED: Final = 5
N_SCATTER: Final = N_FEATURES * (N_FEATURES + 1) // 2


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


@dataclass(frozen=True)
class TableFacts:
    """Describes one file: its columns with their types, and how many rows it has."""

    columns: tuple[tuple[str, str], ...]
    n_rows: int


@dataclass(frozen=True)
class VectorFacts(TableFacts):
    """Describes a file with a column of vectors, of which only the footer was read.

    `n_numbers` counts the numbers of all vectors together. The statistics, if the file has them, tell of infinite
    numbers, and of a row group in which all are zero.
    """

    n_numbers: int
    has_infinite: bool = False
    has_zeros_only: bool = False


@dataclass(frozen=True)
class FeaturesFacts:
    """Describes a file of features/. `digest` is that of its images; `strangers` are images, or contents, that the
    ledger does not have; `n_lacking` counts the images that the file should have and has not.
    """

    vectors: VectorFacts
    digest: int
    embedder_ids: frozenset[str | None]
    strangers: Images = field(default_factory=Images)
    n_lacking: int = 0


def garbage_problems(keys: Iterable[str]) -> list[str]:
    return Images.of(keys).problem("files that no ledger names")


def features_problems(name: str, n_rows: int, embedder_id: str, named: RowsOfFile, facts: FeaturesFacts) -> list[str]:
    """Returns what is wrong with a file of features/, of which the commit says `n_rows` and `embedder_id`, and the
    ledger's rows that name it say `named`.
    """
    where = f"features/{name}"
    others = sorted(str(other) for other in facts.embedder_ids - {embedder_id})
    agrees = named.n != n_rows or named.digest == facts.digest
    return [
        *schema_problems(where, facts.vectors, tables.FEATURES_COLUMNS),
        *rows_problems(where, facts.vectors.n_rows, n_rows),
        *vector_problems(where, facts.vectors, N_FEATURES),
        *(f"{where}: it has rows of embedder '{other}', and is one of '{embedder_id}'" for other in others),
        *(
            []
            if agrees
            else [f"{where}: its images, or their contents, are not those of the ledger's rows that name it"]
        ),
        *([f"{where}: {named.n:,} of the ledger's rows name it, and it has {n_rows:,}"] if named.n > n_rows else []),
        *(
            [f"{where}: {facts.n_lacking:,} images whose rows in the ledger name it are not in it"]
            if facts.n_lacking
            else []
        ),
        *facts.strangers.problem(f"{where}: images, or contents, that the ledger does not have"),
    ]


def moments_problems(
    embedder_id: str, said: EmbedderFiles, digest: int | None, facts: MomentsFacts | None
) -> list[str]:
    """Returns what is wrong with an embedder's moments, compared with the rows of its files.

    `digest` is that of the images of these rows, None if not all files could be read. `facts` is None if the object is
    not there.
    """
    moments, where = said.moments, f"moments of embedder '{embedder_id}'"
    if moments is None:
        return [f"{where}: the commit names none, and {said.n_rows:,} rows of features"] if said.n_rows else []
    problems = (
        []
        if moments.n_samples == said.n_rows
        else [f"{where}: the commit says {moments.n_samples:,} samples of {said.n_rows:,} rows"]
    )
    if digest is not None and moments.images_digest != digest_text(digest):
        problems.append(
            f"{where}: they are of other images than the features are (digest {moments.images_digest}, not "
            f"{digest_text(digest)})"
        )
    if facts is None:
        return [*problems, f"{where}: {moments.key} is not there"]
    wanted = {tables.MEAN: N_FEATURES, tables.SCATTER: N_SCATTER}
    return [
        *problems,
        *schema_problems(where, facts.table, tables.MOMENTS_COLUMNS),
        *rows_problems(where, facts.table.n_rows, 1),
        *(
            f"{where}: '{name}' has {facts.n_numbers.get(name, 0):,} numbers, not {n:,}"
            for name, n in wanted.items()
            if facts.n_numbers.get(name) != n
        ),
        *(
            []
            if facts.has_finite_mean
            else [f"{where}: the mean holds NaN or infinity, and so do features of the date"]
        ),
        *(
            f"{where}: the file is of {n_samples:,} samples of embedder '{embedder}', the commit says "
            f"{moments.n_samples:,}"
            for embedder, n_samples in facts.samples
            if (embedder, n_samples) != (embedder_id, moments.n_samples)
        ),
    ]


@dataclass(frozen=True)
class MomentsFacts:
    """Describes a file of moments/: its rows' embedders and numbers of samples, how many numbers its vectors have, and
    whether its mean is finite.
    """

    table: TableFacts
    samples: tuple[tuple[str, int], ...]
    n_numbers: Mapping[str, int]
    has_finite_mean: bool = True


def projection_names_problems(version: str, wanted: Iterable[str], there: Iterable[str]) -> list[str]:
    """Returns which projections are missing, and which should not be there: a date is projected under a version exactly
    if its files are called like those of features/.
    """
    wanted, there = set(wanted), set(there)
    where = f"projections under PCA version {version}"
    return [
        *Images.of(wanted - there).problem(f"{where}: features that have none"),
        *Images.of(there - wanted).problem(f"{where}: files without features of its embedder"),
    ]


def projections_problems(
    version: str, name: str, n_rows: int, k: int, facts: VectorFacts, differing: Images | None
) -> list[str]:
    """Returns what is wrong with a file of projections/, which must have a row of k components for every row of its
    features. `differing` are the images that only one of the two has.
    """
    where = f"projections/pca_version={version}/{name}"
    return [
        *schema_problems(where, facts, tables.PROJECTIONS_COLUMNS),
        *rows_problems(where, facts.n_rows, n_rows),
        *vector_problems(where, facts, k),
        *(differing.problem(f"{where}: images that are not those of its features") if differing else []),
    ]


@dataclass(frozen=True)
class RejectedFacts:
    """Describes the file of rejects that the commit names: its table, and the digest of its rows."""

    table: TableFacts
    digest: int


def rejected_problems(tally: LedgerTally, key: str, facts: RejectedFacts | None) -> list[str]:
    """Returns what is wrong with the file of rejects, which must hold the ledger's rejected rows. `facts` is None if
    the file is not there.
    """
    if not tally.n_rejected:
        return []
    if facts is None:
        return [f"rejected: {key} is not there; the ledger has {tally.n_rejected:,} rejected images"]
    problems = [
        *schema_problems("rejected", facts.table, tables.REJECTED_COLUMNS),
        *rows_problems("rejected", facts.table.n_rows, tally.n_rejected),
    ]
    if not problems and facts.digest != tally.rejected_digest:
        problems.append(f"rejected: the rows of {key} are not the ledger's rejected rows")
    return problems


def reject_digest(*words: str | None) -> int:
    """Returns a number of 64 bits that identifies a row of `rejected/`."""
    return int.from_bytes(blake2b("\0".join(map(str, words)).encode(), digest_size=8).digest(), "little")


def schema_problems(where: str, facts: TableFacts, columns: Sequence[str]) -> list[str]:
    """Returns where the columns and their types are not exactly the contract's."""
    expected = {name: tables.COLUMN_TYPES[name] for name in columns}
    found = dict(facts.columns)
    return [
        *(f"{where}: column '{name}' is missing" for name in expected if name not in found),
        *(f"{where}: column '{name}' is not in the contract" for name in found if name not in expected),
        *(
            f"{where}: column '{name}' is {found[name]}, not {kind}"
            for name, kind in expected.items()
            if name in found and found[name] != kind
        ),
    ]


def rows_problems(where: str, n_rows: int, expected: int) -> list[str]:
    return [] if n_rows == expected else [f"{where}: it has {n_rows:,} rows, and should have {expected:,}"]


def vector_problems(where: str, facts: VectorFacts, length: int) -> list[str]:
    """Returns what is wrong with the vectors, as far as a footer tells. It counts a column's numbers, from which the
    lengths follow. It does not tell whether one is NaN; the moments' mean does.
    """
    problems = []
    if facts.n_numbers != facts.n_rows * length:
        problems.append(
            f"{where}: {facts.n_numbers:,} numbers in {facts.n_rows:,} vectors, which should have {length:,} each"
        )
    if facts.has_infinite:
        problems.append(f"{where}: vectors hold infinite numbers")
    if facts.has_zeros_only:
        problems.append(f"{where}: all numbers of a part of it are zero")
    return problems
