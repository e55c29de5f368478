"""Turns facts about a date's tables into a list of problems. An empty list is a pass; nothing is repaired here.

`parquet_facts` gathers the facts from the lake. Each problem is a sentence that a person can act on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fruit_contract import tables
from fruit_contract.commit import digest_text
from fruit_contract.tables import N_FEATURES
from fruit_pipeline.checks.ledger import Images

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fruit_contract.commit import EmbedderFiles
    from fruit_pipeline.checks.ledger import LedgerTally, RowsOfFile

N_SCATTER: Final = N_FEATURES * (N_FEATURES + 1) // 2


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
