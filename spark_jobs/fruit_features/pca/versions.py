"""Keeps PCA versions in the lake: the models as Parquet, their provenances as JSON, and the pointer to one of them."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fruit_contract import lake, tables
from fruit_contract.pca_files import PointerContent, Provenance
from fruit_features.lake.commit import projected_versions, saved_versions
from fruit_features.lake.files import DamagedFileError
from fruit_features.lake.store import ObjectNotFoundError, at_once, to_json
from fruit_features.pca.fit import PcaModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Buffer

    from fruit_features.lake.store import Store

_VECTORS = ("mean", "scale", "explained_variance", "explained_variance_ratio", "spectrum")
_MODEL: Final = "model.parquet"


class PcaVersion(NamedTuple):
    """Holds a version as it lies in the lake: the model, and where it comes from."""

    model: PcaModel
    provenance: Provenance


class SavedVersions(NamedTuple):
    """Holds the versions that were saved whole, oldest first, and those whose provenance is there and can't be read."""

    provenances: dict[str, Provenance]
    damaged: set[str]


@dataclass(frozen=True)
class Pointer:
    """Holds what `pca/current.json` says: the version that readers use, and since when.

    `former` has the versions that readers used before, and until when. `etag` is that of the object that was read; it
    is None if there is no object, and `pointer_in_place` says what stands for it.
    """

    version: str
    since: datetime | None
    former: Mapping[str, datetime]
    etag: str | None


def version_name(model: PcaModel, created_at: datetime) -> str:
    """Returns the name of a new version, `<UTC time>-<digest of the model>`."""
    return f"{created_at:%Y%m%dT%H%M%SZ}-{model.digest()}"


def model_to_parquet(model: PcaModel) -> bytes:
    """Returns a model as Parquet with one row.

    `mean`, `scale` and `spectrum` are list<double>[d], `components` is list<list<double>>[k][d], `explained_variance`
    and `explained_variance_ratio` are list<double>[k].
    """
    columns = {name: _one_list(pa.array(getattr(model, name))) for name in _VECTORS}
    k, d = model.components.shape
    rows = pa.ListArray.from_arrays(
        pa.array(np.arange(0, (k + 1) * d, d, dtype=np.int32)), pa.array(model.components.ravel())
    )
    columns["components"] = _one_list(rows)
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, write_page_checksum=True)
    return stream.getvalue()


def model_from_parquet(content: Buffer) -> PcaModel:
    """Returns exactly the model that `model_to_parquet` wrote. Pages that carry a checksum are compared with it."""
    row = pq.ParquetFile(pa.BufferReader(pa.py_buffer(content)), page_checksum_verification=True).read(
        use_threads=False
    )
    vectors = {name: row.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False) for name in _VECTORS}
    components = row.column("components").combine_chunks().flatten().flatten().to_numpy(zero_copy_only=False)
    return PcaModel(components=components.reshape(-1, len(vectors["mean"])), **vectors)


def save_version(store: Store, model: PcaModel, provenance: Provenance) -> None:
    """Writes a version, its provenance last. Readers do not use it before the pointer names it."""
    store.write(f"{lake.pca_prefix(provenance.version)}{_MODEL}", model_to_parquet(model))
    store.write_json(lake.pca_provenance_key(provenance.version), asdict(provenance))


def load_version(store: Store, version: str) -> PcaVersion:
    """Reads a version.

    Raises ObjectNotFoundError if it is not there, and DamagedFileError if it is not as it was written: the model must
    have the digest that stands in the version's name.
    """
    key = f"{lake.pca_prefix(version)}{_MODEL}"
    content = store.read(key)
    try:
        model = model_from_parquet(content)
    except (pa.ArrowException, OSError, ValueError, LookupError, AttributeError) as error:
        raise DamagedFileError(f"{store.uri(key)} is not as it was written: {error}.") from error
    if not version.endswith(f"-{model.digest()}"):
        raise DamagedFileError(
            f"{store.uri(key)} is not as it was written: the digest of the model is {model.digest()} now."
        )
    return PcaVersion(model, _read_provenance(store, version))


def find_version(store: Store, version: str) -> PcaVersion | None:
    """Returns a version, or None if it is not there or is damaged, which is logged."""
    try:
        return load_version(store, version)
    except (ObjectNotFoundError, DamagedFileError) as error:
        print(f"{error} PCA version {version} counts as none.", flush=True)
        return None


def read_provenances(store: Store) -> SavedVersions:
    """Reads the provenances of all versions that were saved whole, even if readers never used them."""
    damaged: set[str] = set()

    def find(version: str) -> Provenance | None:
        try:
            return _read_provenance(store, version)
        except ObjectNotFoundError:
            return None
        except DamagedFileError as error:
            print(f"{error} PCA version {version} counts as none.", flush=True)
            damaged.add(version)
            return None

    names = saved_versions(store)
    found = zip(names, at_once(find, names), strict=True)
    return SavedVersions({version: provenance for version, provenance in found if provenance is not None}, damaged)


def read_pointer(store: Store) -> Pointer | None:
    """Returns the pointer, or None before the first version. Raises DamagedFileError if it can't be read."""
    found = store.find_with_etag(lake.CURRENT_PCA_KEY)
    if found is None:
        return None
    try:
        pointer: PointerContent = json.loads(bytes(found[0]))
    except ValueError as error:
        raise DamagedFileError(f"{store.uri(lake.CURRENT_PCA_KEY)} is not as it was written: {error}.") from error
    former = {entry["version"]: datetime.fromisoformat(entry["until"]) for entry in pointer.get("former", ())}
    since = datetime.fromisoformat(pointer["since"]) if "since" in pointer else None
    return Pointer(pointer["version"], since, former, found[1])


def pointer_in_place(
    store: Store, provenances: Mapping[str, Provenance], damaged: Iterable[str], days: Iterable[str], now: datetime
) -> Pointer | None:
    """Returns what stands for a pointer that is gone, or None if no version was ever complete.

    Readers had at most the newest version that is projected whole: of all dates it was fitted on that are still among
    `days`. All that have projections and are older, or can't be read, may have readers until now.
    """
    there = set(days)

    def is_whole(version: str) -> bool:
        needed = there.intersection(provenances[version].ingest_dates)
        folders = store.list_folders(lake.projections_prefix(version)) if needed else []
        return bool(needed) and needed <= {folder.removeprefix(f"{tables.INGEST_DATE}=") for folder in folders}

    # Two may be called by one second.
    newest_first = sorted(provenances, key=lambda version: (provenances[version].created_at, version), reverse=True)
    current = next(filter(is_whole, newest_first), None)
    if current is None:
        return None
    older = newest_first[newest_first.index(current) + 1 :]
    former = {version for version in older if is_whole(version)} | set(damaged).intersection(projected_versions(store))
    return Pointer(current, now, dict.fromkeys(sorted(former), now), None)


def flip_pointer(
    store: Store, before: Pointer | None, provenance: Provenance, now: datetime, versions: Iterable[str] = ()
) -> None:
    """Makes a version, whose projections must be complete, the one that readers use.

    The pointer also names those of `versions` that were used before, and all of them if there was none. Raises
    LostPlaceError if somebody else has flipped the pointer since `before` was read.
    """
    former = {version: now for version in versions if before is None or was_used(version, before)}
    former |= {**before.former, before.version: now} if before else {}
    former.pop(provenance.version, None)
    pointer: PointerContent = {
        "version": provenance.version,
        "k": provenance.k,
        "embedder_id": provenance.embedder_id,
        "since": now.isoformat(timespec="seconds"),
        "former": [
            {"version": version, "until": until.isoformat(timespec="seconds")}
            for version, until in sorted(former.items())
        ],
    }
    store.replace(lake.CURRENT_PCA_KEY, to_json(pointer), before.etag if before else None)


def was_used(version: str, pointer: Pointer | None) -> bool:
    """Says whether readers use a version or used it before.

    If the pointer does not say since when its version is used, all older versions count as used.
    """
    if pointer is None:
        return False
    return (
        version == pointer.version or version in pointer.former or (pointer.since is None and version < pointer.version)
    )


def unfinished_versions(versions: Iterable[str], pointer: Pointer | None) -> list[str]:
    """Returns the `versions` that steps have fitted after the current one and could not finish, the newest first."""
    newest_first = sorted(versions, reverse=True)
    return [
        version
        for version in newest_first
        if not was_used(version, pointer) and (pointer is None or version > pointer.version)
    ]


def versions_to_keep(
    provenances: Mapping[str, Provenance],
    pointer: Pointer | None,
    pending: str | None,
    keep: int,
    grace: timedelta,
    now: datetime,
) -> set[str]:
    """Returns the versions that must stay.

    They are the current version, the `keep - 1` used before it, those that were current less than `grace` ago, and the
    last one of each embedder that was used. A version that was never complete is kept only while it is `pending`.
    """
    # The names of two versions may have the same second.
    newest_first = sorted(provenances, key=lambda version: (provenances[version].created_at, version), reverse=True)
    used = [version for version in newest_first if was_used(version, pointer)]
    kept = {
        version
        for version in (pointer.version if pointer else None, pending)
        if version is not None and version in provenances
    }
    others = [version for version in used if version not in kept]
    kept.update(others[: max(0, keep - 1)])
    former = pointer.former if pointer else {}
    kept.update(version for version in others if version in former and now - former[version] < grace)
    last_by_embedder = {provenances[version].embedder_id: version for version in reversed(used)}
    return kept | set(last_by_embedder.values())


def damaged_to_keep(
    damaged: Iterable[str],
    provenances: Mapping[str, Provenance],
    pointer: Pointer | None,
    keep: int,
    grace: timedelta,
    now: datetime,
) -> set[str]:
    """Returns those of the versions that can't be read which would be kept if they could: the current one, the
    `keep - 1` used before it, and what readers may still hold.

    Nothing is added to them, but what there is of them stays.
    """
    former = pointer.former if pointer else {}
    # Their names begin with the time at which they were fitted; of some, nothing else is known.
    used = sorted((version for version in {*damaged, *provenances} if was_used(version, pointer)), reverse=True)
    others = [version for version in used if pointer is not None and version != pointer.version]
    held = {version for version in others if version in former and now - former[version] < grace}
    current = {pointer.version} if pointer else set()
    return set(damaged) & {*current, *others[: max(0, keep - 1)], *held}


def remove_versions(store: Store, versions: Iterable[str]) -> None:
    """Removes versions, their provenance first, so that a version with a provenance has all that belongs to it.

    A later step removes what an interrupted removal has left.
    """
    for version in versions:
        store.delete([lake.pca_provenance_key(version)])
        store.delete_below(lake.projections_prefix(version))
        store.delete_below(lake.pca_prefix(version))


def version_folders(store: Store) -> set[str]:
    """Returns the versions of which anything is in the lake, whole or not."""
    return {*saved_versions(store), *projected_versions(store)}


def _read_provenance(store: Store, version: str) -> Provenance:
    key = lake.pca_provenance_key(version)
    content = store.read(key)
    try:
        values = json.loads(bytes(content))
    except ValueError as error:
        raise DamagedFileError(f"{store.uri(key)} is not as it was written: {error}.") from error
    return Provenance.from_json(values)


def _one_list(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
