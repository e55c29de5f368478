"""Checks what a run wrote, date by date and file by file: compares everything that a ledger names with what is there,
and lists the problems.
"""

from __future__ import annotations

from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fruit_contract import lake as lake_layout
from fruit_contract import tables
from fruit_contract.books import unbalanced
from fruit_contract.commit import file_key, file_name
from fruit_contract.pca import FEWEST_IMAGES_OF_A_PCA
from fruit_contract.tables import Status
from fruit_pipeline.checks.ledger import LedgerTally, ListingDifferences, RowsOfFile
from fruit_pipeline.checks.pca import PcaFacts, pca_problems
from fruit_pipeline.checks.tables import (
    features_problems,
    garbage_problems,
    moments_problems,
    projection_names_problems,
    projections_problems,
    rejected_problems,
    schema_problems,
)
from fruit_pipeline.errors import DamagedFileError
from fruit_pipeline.lake.dates.date_files import lost_features, unswept_files
from fruit_pipeline.lake.dates.date_listing import list_date_files, projected_versions
from fruit_pipeline.lake.history import find_provenance, pca_versions
from fruit_pipeline.lake.summaries import read_extraction_summary, read_refresh_summary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pyarrow as pa

    from fruit_contract.books import Books
    from fruit_contract.commit import Commit
    from fruit_pipeline.lake.dates.date_files import ListedFiles
    from fruit_pipeline.lake.dates.date_ledger import DateLedger
    from fruit_pipeline.lake.dates.range_walk import RangeWalker
    from fruit_pipeline.lake.store import Lake

_DATES_AT_ONCE: Final = 8
_FILES_AT_ONCE: Final = 16


@dataclass(frozen=True)
class CheckResult:
    """Says what was looked at, and lists every problem found; without problems the check has passed. `pca_version` is
    None if the run's embedder has none yet, and for a single date. `notes` are sentences about what the next run will
    find.
    """

    ingest_dates: list[str]
    images_in_ledger: int
    featurised: int
    rejected: int
    partitions: int
    pca_version: str | None
    problems: list[str]
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class KeptVersion:
    """Describes a PCA version whose projections must be those of its embedder's features. A pending one is not complete
    yet.
    """

    version: str
    embedder_id: str
    k: int
    is_current: bool
    is_pending: bool


def check_run(
    lake: Lake, run_id: str, ingest_dates: Sequence[str], categories: Sequence[str], listed_before: datetime
) -> CheckResult:
    """Checks every date of a run, and the books that its features step kept of them. Returns the result of all dates
    together.

    There need not be a PCA version if the run's embedder has none: there was nothing to fit, or readers stay on another
    embedder's version until this one has caught up.
    """
    from fruit_pipeline.lake.dates.range_walk import (
        RangeWalker,
    )  # numpy and pyarrow load with the task, not with the DAG file

    books = read_extraction_summary(lake, run_id)["by_category"]
    refresh = read_refresh_summary(lake, run_id)
    pca = _read_pca(lake)
    # Nothing new is projected under a former version that can't be read.
    damaged = refresh.get("damaged_versions", [])
    versions = [version for version in kept_versions(lake) if version.is_current or version.version not in damaged]
    with (
        RangeWalker(lake) as walker,
        ThreadPoolExecutor(_FILES_AT_ONCE) as files_pool,
        ThreadPoolExecutor(_DATES_AT_ONCE) as dates_pool,
    ):
        check = partial(
            check_date,
            lake,
            walker,
            books=books,
            categories=categories,
            listed_before=listed_before,
            versions=versions,
            pool=files_pool,
        )
        results = list(dates_pool.map(check, ingest_dates))
    featurised = sum(result.featurised for result in results)
    several = len(results) > 1
    # If other runs keep changing what a version projects, it is not made the current one: the next run goes on with it.
    expects_pca = refresh["pca_version"] is not None and not refresh.get("unsettled_ingest_dates")
    return CheckResult(
        ingest_dates=list(ingest_dates),
        images_in_ledger=sum(result.images_in_ledger for result in results),
        featurised=featurised,
        rejected=sum(result.rejected for result in results),
        partitions=sum(result.partitions for result in results),
        pca_version=pca.version if pca and refresh["pca_version"] is not None else None,
        problems=[
            *_pca_problems(pca, featurised if expects_pca else 0),
            *(
                f"{day}: {problem}" if several else problem
                for day, result in zip(ingest_dates, results, strict=True)
                for problem in result.problems
            ),
            *unbalanced(books),
        ],
        notes=[note for result in results for note in result.notes],
    )


def kept_versions(lake: Lake) -> list[KeptVersion]:
    """Returns the PCA versions that were saved whole, which may be more than those that readers used. Those whose
    provenance can't be read are left out, and the log names them.
    """
    current = (lake.read_json_if_there(lake_layout.CURRENT_PCA_KEY) or {}).get("version", "")
    versions = []
    for version in sorted({*pca_versions(lake), *projected_versions(lake)}):
        provenance = find_provenance(lake, version)
        if provenance is not None:
            is_current, is_pending = version == current, version > current
            versions.append(
                KeptVersion(version, str(provenance["embedder_id"]), int(provenance["k"]), is_current, is_pending)
            )
    return versions


def check_date(
    lake: Lake,
    walker: RangeWalker,
    ingest_date: str,
    books: Books,
    categories: Sequence[str],
    listed_before: datetime,
    versions: Sequence[KeptVersion],
    pool: ThreadPoolExecutor,
) -> CheckResult:
    """Checks all files of one ingest date against its commit, and its ledger against the listing of the chosen
    `categories` and against the step's books.

    If a file can't be read, that is the only problem in the result, because others may come of it.
    """
    from fruit_pipeline.lake.dates.date_ledger import (
        find_ledger,
    )  # numpy and pyarrow load with the task, not with the DAG file

    try:
        ledger = find_ledger(lake, ingest_date)
        listed = list_date_files(lake, ingest_date, [version.version for version in versions], ledger.leftovers)
        date = _DateCheck(lake, walker, ingest_date, books.get(ingest_date, {}), categories, listed_before, listed)
        if ledger.is_of_earlier_form:
            problems, tally = (
                ["the ledger is still as a former release wrote it: the features step did not take the date over"],
                None,
            )
        elif ledger.commit is None:
            of_listing = date.against_listing(ledger).problems(is_as_step_listed=False)
            problems, tally = [*of_listing, *garbage_problems(unswept_files(None, listed))], None
        else:
            problems, tally = date.problems(ledger, ledger.commit, versions, pool)
        notes = date.notes
    except DamagedFileError as error:
        problems, tally, notes = [str(error)], None, []
    counts = tally.by_category if tally else {}
    featurised = {category: n for (category, status), n in counts.items() if status == Status.FEATURISED}
    n_images = sum(counts.values())
    return CheckResult(
        ingest_dates=[ingest_date],
        images_in_ledger=n_images,
        featurised=sum(featurised.values()),
        rejected=n_images - sum(featurised.values()),
        partitions=len(featurised),
        pca_version=None,
        problems=problems,
        notes=notes,
    )


class _DateCheck:
    """Checks one date, and holds what all parts of that check need."""

    def __init__(
        self,
        lake: Lake,
        walker: RangeWalker,
        ingest_date: str,
        books: Mapping[str, Mapping[str, int]],
        categories: Sequence[str],
        listed_before: datetime,
        listed: ListedFiles,
    ) -> None:
        self.notes: list[str] = []
        self._lake = lake
        self._walker = walker
        self._ingest_date = ingest_date
        self._books = books
        self._categories = categories
        self._listed_before = listed_before
        self._listed = listed

    def problems(
        self, ledger: DateLedger, commit: Commit, versions: Sequence[KeptVersion], pool: ThreadPoolExecutor
    ) -> tuple[list[str], LedgerTally | None]:
        from fruit_pipeline.checks.parquet_facts import read_ledger_facts

        facts = read_ledger_facts(self._lake, ledger)
        of_schema = schema_problems("ledger", facts, tables.LEDGER_COLUMNS)
        if of_schema:
            return of_schema, None
        tally = self._tally(ledger, commit)
        return [
            *(self._listing_problems(ledger, tally) if tally.is_sorted else []),
            *tally.problems(),
            *garbage_problems(unswept_files(commit, self._listed)),
            *self._rejected_problems(commit, tally),
            *self._files_problems(commit, tally, versions, pool),
        ], tally

    def _tally(self, ledger: DateLedger, commit: Commit) -> LedgerTally:
        from fruit_pipeline.checks.parquet_facts import ledger_rows

        tally = LedgerTally(commit, self._categories)
        for row in ledger_rows(self._lake, ledger):
            tally.add(row)
        return tally

    def _listing_problems(self, ledger: DateLedger, tally: LedgerTally) -> list[str]:
        differences = self.against_listing(ledger)
        is_as_step_listed = tally.is_as_listed(self._books)
        if is_as_step_listed:
            self.notes += differences.gone.problem(
                f"{self._ingest_date}: removed from raw/ since the run listed it; the next run of this date takes it "
                "out"
            )
        return differences.problems(is_as_step_listed=is_as_step_listed)

    def against_listing(self, ledger: DateLedger) -> ListingDifferences:
        from fruit_pipeline.checks.parquet_facts import listing_differences
        from fruit_pipeline.lake.dates.date_ledger import known_batches

        def differences(listed: pa.Table, known: pa.Table) -> ListingDifferences:
            return listing_differences(self._ingest_date, listed, known, self._categories, self._listed_before)

        prefix = lake_layout.raw_prefix(self._ingest_date)
        found = self._walker.walk(prefix, lambda: known_batches(self._lake, ledger), differences)
        return sum(found, ListingDifferences())

    def _rejected_problems(self, commit: Commit, tally: LedgerTally) -> list[str]:
        from fruit_pipeline.checks.parquet_facts import read_rejected

        key = lake_layout.rejected_key(self._ingest_date, commit.write)
        stored = self._listed.rejected.get(key)
        return rejected_problems(tally, key, read_rejected(self._lake, stored) if stored else None)

    def _files_problems(
        self, commit: Commit, tally: LedgerTally, versions: Sequence[KeptVersion], pool: ThreadPoolExecutor
    ) -> list[str]:
        """Returns what is wrong with the features and their projections, file by file, and then with each embedder's
        moments, which must be of the same images.
        """
        digests = array("Q", sorted(tally.digests))
        lost = lost_features(commit, self._listed)
        problems = [f"features/{file_name(key)} is not there; the ledger names it" for key in sorted(lost)]
        for embedder_id, said in sorted(commit.embedders.items()):
            own = [version for version in versions if version.embedder_id == embedder_id]
            for version in own:
                problems += self._names_problems(version, [file_key(self._ingest_date, name) for name in said.files])
            check = partial(self._file_problems, tally, digests, embedder_id, own)
            there = [name for name in sorted(said.files) if file_key(self._ingest_date, name) not in lost]
            digest = 0
            for found, of_file in pool.map(check, there, [said.files[name] for name in there]):
                problems += of_file
                digest ^= found
            problems += self._moments_problems(commit, embedder_id, digest if len(there) == len(said.files) else None)
        for version in versions:
            if version.embedder_id not in commit.embedders:
                problems += self._names_problems(version, [])
        return problems

    def _names_problems(self, version: KeptVersion, features_keys: Sequence[str]) -> list[str]:
        wanted = {lake_layout.projections_file_key(version.version, key) for key in features_keys}
        there = self._listed.projections[version.version].keys()
        # A pending version has not come to every date yet; files that no ledger names are told elsewhere.
        problems = projection_names_problems(version.version, wanted & there if version.is_pending else wanted, there)
        # Another run may have removed an old version since this check began.
        is_gone = bool(problems) and not (
            version.is_current or self._lake.is_there(lake_layout.pca_provenance_key(version.version))
        )
        return [] if is_gone else problems

    def _file_problems(
        self,
        tally: LedgerTally,
        digests: array[int],
        embedder_id: str,
        versions: Sequence[KeptVersion],
        name: str,
        n_rows: int,
    ) -> tuple[int, list[str]]:
        """Returns the digest of a file's images, and what is wrong with the file and its projections."""
        from fruit_pipeline.checks.parquet_facts import read_features, read_projections

        key = file_key(self._ingest_date, name)
        named = tally.named.get(key, array("Q"))
        features = read_features(self._lake, self._listed.features[key], digests, named)
        problems = features_problems(name, n_rows, embedder_id, tally.files.get(key, RowsOfFile()), features.facts)
        for version in versions:
            stored = self._listed.projections[version.version].get(
                lake_layout.projections_file_key(version.version, key)
            )
            if stored is not None:
                facts, differing = read_projections(
                    self._lake, stored, features.image_keys if version.is_current else None
                )
                below = f"{tables.INGEST_DATE}={self._ingest_date}/{name}"
                problems += projections_problems(version.version, below, n_rows, version.k, facts, differing)
        return features.facts.digest, problems

    def _moments_problems(self, commit: Commit, embedder_id: str, digest: int | None) -> list[str]:
        from fruit_pipeline.checks.parquet_facts import read_moments

        said = commit.embedders[embedder_id]
        stored = self._listed.moments.get(said.moments.key) if said.moments else None
        return moments_problems(embedder_id, said, digest, read_moments(self._lake, stored) if stored else None)


def _read_pca(lake: Lake) -> PcaFacts | None:
    from fruit_pipeline.checks.parquet_facts import (
        read_pca,
    )  # numpy and pyarrow load with the task, not with the DAG file

    return read_pca(lake)


def _pca_problems(pca: PcaFacts | None, featurised: int) -> list[str]:
    if pca:
        return pca_problems(pca)
    return (
        [f"There is no PCA version although {featurised:,} images have features."]
        if featurised >= FEWEST_IMAGES_OF_A_PCA
        else []
    )
