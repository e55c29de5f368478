"""Reads and replaces the commit of a date, and removes the files that no commit names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from fruit_contract import lake, tables
from fruit_contract.commit import METADATA_KEY, Commit, commit_from_metadata, commit_to_json
from fruit_features.lake import files
from fruit_features.lake.store import at_once

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import pyarrow as pa
    from obstore import Bytes

    from fruit_contract.listing import ListedObject
    from fruit_features.lake.store import Store

# A footer with the names of a few hundred files fits into so many bytes. A longer one takes a second request.
_FOOTER_BYTES: Final = 64 * 1024
_MAGIC_BYTES: Final = 8
# The ledgers of more dates than this are found sooner in a listing of all dates.
_LISTED_ALONE: Final = 32


@dataclass(frozen=True)
class Ledger:
    """Holds what the lake says of a date: `rows` sorted by key, in the columns of `files.LEDGER`.

    Without a commit there are no rows. `etag` is that of the object that was read. Only that one may be replaced.
    """

    ingest_date: str
    rows: pa.Table
    commit: Commit | None = None
    etag: str | None = None


def no_ledger(ingest_date: str) -> Ledger:
    """Returns the ledger of a date that nobody has committed yet: no rows, commit or ETag."""
    return Ledger(ingest_date, files.LEDGER.empty_table())


def read_ledger(store: Store, ingest_date: str) -> Ledger:
    """Reads the date's ledger as it is now.

    Raises DamagedFileError or CommitFormatError, which name the file, if it can't be read.
    """
    key = lake.ledger_key(ingest_date)
    found = store.find_with_etag(key)
    if found is None:
        return no_ledger(ingest_date)
    content, etag = found
    with files.open_parquet(store.uri(key), content) as file:
        commit = commit_from_metadata(store.uri(key), file.metadata.metadata)
        return Ledger(ingest_date, file.read(columns=files.LEDGER.names), commit, etag)


def read_commit(store: Store, ledger: ListedObject) -> tuple[Commit, str] | None:
    """Returns a date's commit and its ledger's ETag, from the footer of the listed `ledger`, or None if that is gone.

    If the ledger was replaced since it was listed, the new one is read. Raises what `read_ledger` raises.
    """
    found = store.find_end(ledger, _FOOTER_BYTES)
    if found is not None and _footer_bytes(found) > len(found):
        found = store.find_end(ledger, _footer_bytes(found))
    if found is not None:
        with files.open_parquet(store.uri(ledger.key), found) as footer:
            return commit_from_metadata(store.uri(ledger.key), footer.metadata.metadata), ledger.etag
    # It was replaced since it was listed.
    now = read_ledger(store, str(lake.ingest_date_of(ledger.key)))
    return None if now.commit is None or now.etag is None else (now.commit, now.etag)


def put_ledger(store: Store, before: Ledger, rows: pa.Table, commit: Commit) -> Ledger:
    """Replaces the ledger `before` by one with `commit` and its `rows`, sorted by key, and returns the new ledger.

    Raises LostPlaceError if somebody else has committed the date meanwhile.
    """
    content = files.rows_to_parquet(rows, {METADATA_KEY: commit_to_json(commit)})
    etag = store.replace(lake.ledger_key(commit.ingest_date), content, before.etag)
    return Ledger(commit.ingest_date, rows, commit, etag)


def put_rejected(store: Store, ledger: Ledger) -> None:
    """Writes the ledger's rejected rows, if there are any, to `rejected/` under the name of its commit."""
    if ledger.commit is None or not ledger.commit.n_rejected:
        return
    key = lake.rejected_key(ledger.ingest_date, ledger.commit.write)
    store.write(key, files.rows_to_parquet(files.rejected_rows(ledger.rows).select(files.REJECTED.names)))


@dataclass(frozen=True)
class DateFiles:
    """Holds the keys of what lies in the lake of a date, by table, whether a commit names it or not."""

    ingest_date: str
    features: frozenset[str]
    rejected: frozenset[str]
    moments: frozenset[str]
    ledger: frozenset[str]
    projections: frozenset[str]

    def garbage(self, commit: Commit | None) -> list[str]:
        """Returns the keys that the commit does not name, and which must therefore go, sorted."""
        named = commit.named_keys() if commit else set()
        there = self.features | self.rejected | self.moments | self.ledger
        stale = {key for key in self.projections if lake.features_file_key(key) not in named}
        return sorted((there - named) | stale)

    def has_rejected(self, commit: Commit | None) -> bool:
        """Says whether `rejected/` has what the commit says."""
        return commit is None or commit.rejected_keys() <= self.rejected


def list_date(store: Store, ingest_date: str, versions: Iterable[str]) -> DateFiles:
    """Lists what lies in the lake of a date, with the projections under `versions`."""
    by_table = [
        lake.date_prefix(table, ingest_date) for table in (lake.FEATURES, lake.REJECTED, lake.MOMENTS, lake.LEDGER)
    ]
    projections = [lake.projections_date_prefix(version, ingest_date) for version in versions]
    parts = lake.moments_parts_prefix(ingest_date)
    features, rejected, moments, ledger, parts_found, *projected = at_once(
        store.list_keys, [*by_table, parts, *projections]
    )
    return DateFiles(
        ingest_date,
        features=frozenset(features),
        rejected=frozenset(rejected),
        moments=frozenset([*moments, *parts_found]),
        ledger=frozenset(ledger),
        projections=frozenset(key for keys in projected for key in keys),
    )


def sweep_date(store: Store, ledger: Ledger) -> int:
    """Removes what the date's commit does not name, and returns how many objects that were.

    It removes nothing if another commit has taken the place of this one. Nobody may be writing the date.
    """
    garbage = list_date(store, ledger.ingest_date, projected_versions(store)).garbage(ledger.commit)
    return delete_of_date(store, ledger, garbage)


def delete_of_date(store: Store, ledger: Ledger, keys: Sequence[str]) -> int:
    """Removes objects that a date's commit does not name, and returns how many.

    It removes none if another commit has taken the place of this one.
    """
    if keys and store.find_etag(lake.ledger_key(ledger.ingest_date)) != ledger.etag:
        print(
            f"{ledger.ingest_date} was committed by another run meanwhile: what lies there is left to that one.",
            flush=True,
        )
        return 0
    store.delete(keys)
    return len(keys)


def projected_versions(store: Store) -> list[str]:
    """Lists the PCA versions that have projections, complete or not."""
    return _partitions(store, lake.PROJECTIONS, tables.PCA_VERSION)


def saved_versions(store: Store) -> list[str]:
    """Lists the PCA versions that have a model or a provenance, whole or not."""
    return _partitions(store, lake.PCA, "version")


def _partitions(store: Store, table: str, name: str) -> list[str]:
    return [
        folder.removeprefix(f"{name}=") for folder in store.list_folders(f"{table}/") if folder.startswith(f"{name}=")
    ]


@dataclass(frozen=True)
class LedgerListing:
    """Holds the ledgers of all committed dates, and the dates that have an earlier release's ledger.

    A date may have both. Then it was taken over, and what is left of the earlier form is still to be removed.
    """

    committed: dict[str, ListedObject]
    earlier: list[str]


def list_ledgers(store: Store) -> LedgerListing:
    """Lists the ledgers that there are now."""
    committed: dict[str, ListedObject] = {}
    earlier: set[str] = set()
    for entry in store.list_objects(f"{lake.LEDGER}/"):
        ingest_date = lake.ingest_date_of(entry.key)
        if ingest_date is not None and entry.key == lake.ledger_key(ingest_date):
            committed[ingest_date] = entry
        elif ingest_date is not None and is_of_earlier_ledger(entry.key):
            earlier.add(ingest_date)
    return LedgerListing(committed, sorted(earlier))


def is_of_earlier_ledger(key: str) -> bool:
    """Says whether an object below a date's prefix of `ledger/` is a file of an earlier release's ledger."""
    return key.endswith(".parquet") and key != lake.ledger_key(str(lake.ingest_date_of(key)))


def find_ledgers(store: Store, ingest_dates: Collection[str]) -> dict[str, ListedObject]:
    """Returns the ledgers of some dates as they are listed now, by date. Dates without one are left out."""
    if len(ingest_dates) > _LISTED_ALONE:
        return {day: entry for day, entry in list_ledgers(store).committed.items() if day in ingest_dates}
    listings = at_once(lambda day: store.list_objects(lake.date_prefix(lake.LEDGER, day)), ingest_dates)
    found = {entry.key: entry for entries in listings for entry in entries}
    return {day: found[lake.ledger_key(day)] for day in ingest_dates if lake.ledger_key(day) in found}


def read_commits(store: Store, ledgers: Mapping[str, ListedObject]) -> dict[str, tuple[Commit, str]]:
    """Returns the commits of dates, with their ledgers' ETags, as they are now. Dates without one are left out."""
    found = at_once(partial(read_commit, store), ledgers.values())
    return {day: commit for day, commit in zip(ledgers, found, strict=True) if commit is not None}


def _footer_bytes(end: Bytes) -> int:
    """Returns how many bytes the footer takes at the end of a Parquet file, which its last eight bytes say."""
    return int.from_bytes(bytes(end)[-_MAGIC_BYTES:-4], "little") + _MAGIC_BYTES
