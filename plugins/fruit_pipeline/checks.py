"""From facts about a date's tables to a list of problems. An empty list is a pass; nothing is repaired here.

Every function takes small facts (`parquet_facts` gathers them from the lake) and returns sentences a person can act on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from fruit_contract import tables
from fruit_contract.tables import N_FEATURES, RejectReason, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from fruit_pipeline.stored_object import StoredObject

EXAMPLES_NAMED: Final = 5


class LedgerRow(NamedTuple):
    """One image's line, as far as the checks need it."""

    image_key: str
    etag: str
    category: str
    status: str
    reason: str | None
    embedder_id: str | None


@dataclass(frozen=True)
class TableFacts:
    """What was seen in all files of one table folder. `columns` of each distinct schema, name to type."""

    schemas: tuple[tuple[tuple[str, str], ...], ...]
    n_rows: int


@dataclass(frozen=True)
class VectorFacts(TableFacts):
    """Also what was seen in a column of vectors: counts of rows whose vector is not as it must be."""

    image_keys: Sequence[str] = ()
    embedder_ids: Collection[str] = frozenset()
    n_wrong_length: int = 0
    n_not_finite: int = 0
    n_all_zero: int = 0


@dataclass(frozen=True)
class MomentsFacts(TableFacts):
    """One entry a row of `moments/`."""

    n_samples_by_embedder: Mapping[str, int] = field(default_factory=dict)
    n_wrong_length: int = 0
    n_not_finite: int = 0


def ledger_problems(listing: Iterable[StoredObject], ledger: Sequence[LedgerRow], listed_before: datetime) -> list[str]:
    """The ledger must hold every listed image exactly once, and nothing else.

    `listing` holds the date's images only. Images that arrived (or changed) after `listed_before` were not yet there when
    the run was planned: they may be missing, or be known by their former ETag. An image that vanished after it was
    listed keeps its line, with the reason `vanished`.
    """
    listed = {stored.key: stored for stored in listing}
    counts = Counter(row.image_key for row in ledger)
    by_key = {row.image_key: row for row in ledger}
    settled = {key for key, stored in listed.items() if stored.modified_at < listed_before}
    return [
        *_named("listed but not in the ledger", (key for key in settled if key not in counts)),
        *_named("in the ledger more than once", (key for key, count in counts.items() if count > 1)),
        *_named(
            "in the ledger but no longer listed",
            (key for key, row in by_key.items() if key not in listed and row.reason != RejectReason.VANISHED),
        ),
        *_named(
            "in the ledger with another ETag than the image has",
            (key for key in settled if key in by_key and by_key[key].etag.strip('"') != listed[key].etag),
        ),
        *_named("in the ledger with a status that does not exist", (row.image_key for row in ledger if row.status not in set(Status))),
        *_named("rejected without a reason", (row.image_key for row in ledger if row.status == Status.REJECTED and not row.reason)),
        *_named(
            "featurised without an embedder", (row.image_key for row in ledger if row.status == Status.FEATURISED and not row.embedder_id)
        ),
    ]


def books_problems(books: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[str]:
    """Of each date and category of the step's own books: listed = new + unchanged + reused = featurised + rejected."""
    problems = []
    for ingest_date, categories in books.items():
        for category, count in categories.items():
            origins = count["new"] + count["unchanged"] + count["reused"]
            ends = count[Status.FEATURISED] + count[Status.REJECTED]
            if not count["listed"] == origins == ends:
                problems.append(
                    f"books of '{category}' of {ingest_date}: {count['listed']:,} listed, {origins:,} new, unchanged or reused, "
                    f"{ends:,} featurised or rejected"
                )
    return problems


def features_problems(category: str, ledger: Sequence[LedgerRow], facts: VectorFacts) -> list[str]:
    """One category's partition of `features/` against the ledger's featurised rows of that category."""
    expected = {row.image_key for row in ledger if row.status == Status.FEATURISED}
    where = f"features of '{category}'"
    strangers = set(facts.embedder_ids) - {row.embedder_id for row in ledger if row.embedder_id}
    return [
        *schema_problems(where, facts, tables.FEATURES_COLUMNS),
        *_key_problems(where, expected, facts.image_keys),
        *vector_problems(where, facts, N_FEATURES),
        *_counted(f"{where}: {{}} vectors are all zero", facts.n_all_zero),
        *(f"{where}: rows of embedder '{stranger}', which the ledger does not know" for stranger in sorted(strangers)),
    ]


def projections_problems(category: str, ledger: Sequence[LedgerRow], facts: VectorFacts, version: str, k: int) -> list[str]:
    """One category's partition of `projections/` under the current PCA version: a row of k components for every featurised image."""
    expected = {row.image_key for row in ledger if row.status == Status.FEATURISED}
    where = f"projections of '{category}' under PCA version {version}"
    return [
        *schema_problems(where, facts, tables.PROJECTIONS_COLUMNS),
        *_key_problems(where, expected, facts.image_keys),
        *vector_problems(where, facts, k),
    ]


def rejected_problems(ledger: Sequence[LedgerRow], facts: TableFacts, rejected: Mapping[str, str | None], n_rows: int) -> list[str]:
    """`rejected/` (image key to reason) against the ledger's rejected rows; `n_rows` counts those before keys were made unique."""
    expected = {row.image_key: row.reason for row in ledger if row.status == Status.REJECTED}
    return [
        *schema_problems("rejected", facts, tables.REJECTED_COLUMNS),
        *_counted("rejected: {} images are there more than once", n_rows - len(rejected)),
        *_named("rejected in the ledger but not in rejected/", expected.keys() - rejected.keys()),
        *_named("in rejected/ but not rejected in the ledger", rejected.keys() - expected.keys()),
        *_named(
            "rejected with one reason in the ledger and another in rejected/",
            (key for key in expected.keys() & rejected.keys() if expected[key] != rejected[key]),
        ),
    ]


def moments_problems(ledger: Sequence[LedgerRow], facts: MomentsFacts) -> list[str]:
    """The moments of a date must count exactly its featurised images, embedder by embedder. `ledger` is the date's whole ledger."""
    featurised = Counter(str(row.embedder_id) for row in ledger if row.status == Status.FEATURISED)
    counted = Counter(dict(facts.n_samples_by_embedder))
    return [
        *schema_problems("moments", facts, tables.MOMENTS_COLUMNS),
        *_counted("moments: {} rows have a mean or scatter of the wrong length", facts.n_wrong_length),
        *_counted("moments: {} rows hold NaN or infinity", facts.n_not_finite),
        *(
            f"moments: {counted[embedder]:,} samples of embedder '{embedder}', but the ledger has {featurised[embedder]:,} images of it"
            for embedder in sorted(featurised.keys() | counted.keys())
            if featurised[embedder] != counted[embedder]
        ),
    ]


def schema_problems(where: str, facts: TableFacts, columns: Sequence[str]) -> list[str]:
    """Exactly the contract's columns and types, in every file. A folder without files has no schema to be wrong."""
    expected = {name: tables.COLUMN_TYPES[name] for name in columns}
    problems = []
    for schema in facts.schemas:
        found = dict(schema)
        problems += [f"{where}: column '{name}' is missing" for name in expected if name not in found]
        problems += [f"{where}: column '{name}' is not in the contract" for name in found if name not in expected]
        problems += [
            f"{where}: column '{name}' is {found[name]}, not {kind}"
            for name, kind in expected.items()
            if name in found and found[name] != kind
        ]
    return problems


def vector_problems(where: str, facts: VectorFacts, length: int) -> list[str]:
    return [
        *_counted(f"{where}: {{}} vectors do not have {length} numbers", facts.n_wrong_length),
        *_counted(f"{where}: {{}} vectors hold NaN or infinity", facts.n_not_finite),
    ]


def _key_problems(where: str, expected: Collection[str], found: Sequence[str]) -> list[str]:
    counts = Counter(found)
    if expected and not counts:
        return [f"{where}: the partition is missing; the ledger has {len(expected):,} featurised images"]
    return [
        *_named(f"{where}: there more than once", (key for key, count in counts.items() if count > 1)),
        *_named(f"{where}: featurised in the ledger but missing here", (key for key in expected if key not in counts)),
        *_named(f"{where}: here but not featurised in the ledger", (key for key in counts if key not in expected)),
    ]


def _named(problem: str, keys: Iterable[str]) -> list[str]:
    """One sentence for all keys that share a problem, with a few of them by name."""
    found = sorted(keys)
    if not found:
        return []
    examples = ", ".join(found[:EXAMPLES_NAMED]) + (", ..." if len(found) > EXAMPLES_NAMED else "")
    return [f"{problem}: {len(found):,} ({examples})"]


def _counted(sentence: str, count: int) -> list[str]:
    return [sentence.format(f"{count:,}")] if count else []
