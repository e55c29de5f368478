"""PCA versions in the lake: the model as one Parquet row, its provenance as JSON, and the pointer to the current one."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fruit_contract import lake
from fruit_features.lake import store as object_store
from fruit_features.pca.fit import PcaModel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import NDArray

_VECTORS = ("mean", "scale", "explained_variance", "explained_variance_ratio", "spectrum")


@dataclass(frozen=True)
class Provenance:
    """Where a PCA version comes from. `moments_state` is `history_tree.states_digest` of the moments it was fitted on."""

    version: str
    embedder_id: str
    n_samples: int
    ingest_dates: tuple[str, ...]
    target_variance: float
    k: int
    variance_kept: float
    target_reached: bool
    release: str
    created_at: str
    moments_state: str = ""


def version_name(model: PcaModel, created_at: datetime) -> str:
    """`<UTC time>-<digest of the model>`."""
    return f"{created_at:%Y%m%dT%H%M%SZ}-{model.digest()}"


def model_to_parquet(model: PcaModel) -> bytes:
    """One row: mean, scale, spectrum list<double>[d]; components list<list<double>>[k][d]; explained_variance(_ratio) list<double>[k]."""
    columns = {name: pa.array([getattr(model, name).tolist()], pa.list_(pa.float64())) for name in _VECTORS}
    columns["components"] = pa.array([model.components.tolist()], pa.list_(pa.list_(pa.float64())))
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def model_from_parquet(content: bytes) -> PcaModel:
    """The reverse of `model_to_parquet`, to the bit."""
    row = pq.read_table(io.BytesIO(content)).to_pylist()[0]
    vectors = {name: _doubles(row[name]) for name in _VECTORS}
    return PcaModel(components=_doubles(row["components"]).reshape(-1, len(vectors["mean"])), **vectors)


def save_version(bucket: str, model: PcaModel, provenance: Provenance) -> None:
    """Writes an immutable version, its provenance last. Nobody reads it before the pointer names it."""
    prefix = lake.pca_prefix(provenance.version)
    object_store.write_object(bucket, f"{prefix}model.parquet", model_to_parquet(model))
    object_store.write_json(bucket, lake.pca_provenance_key(provenance.version), asdict(provenance))


def load_version(bucket: str, version: str) -> tuple[PcaModel, Provenance]:
    """The model and its provenance."""
    prefix = lake.pca_prefix(version)
    model = model_from_parquet(object_store.read_object(bucket, f"{prefix}model.parquet"))
    provenance = object_store.read_json(bucket, lake.pca_provenance_key(version))
    return model, Provenance(**provenance | {"ingest_dates": tuple(provenance["ingest_dates"])})


def list_versions(bucket: str) -> list[str]:
    """Every version that was saved whole, oldest first, whether or not readers ever used it."""
    keys = (entry.key for entry in object_store.list_objects(bucket, f"{lake.PCA}/version="))
    versions = (lake.partition_values(key)["version"] for key in keys)
    return sorted(version for version in set(versions) if object_store.read_object_if_there(bucket, lake.pca_provenance_key(version)))


def version_with_digest(bucket: str, digest: str) -> str | None:
    """An earlier version of the same model: left by a run that was interrupted, or fitted on the same images before."""
    return next((version for version in reversed(list_versions(bucket)) if version.endswith(f"-{digest}")), None)


def versions_to_remove(versions: Sequence[str], current: str, keep: int) -> list[str]:
    """All but the current version and the `keep - 1` newest others. Names begin with their time."""
    others = sorted((version for version in versions if version != current), reverse=True)
    return sorted(others[max(0, keep - 1) :])


def current_version(bucket: str) -> str | None:
    """The version readers use, or None before the first one."""
    pointer = object_store.read_json_if_there(bucket, lake.CURRENT_PCA_KEY)
    return None if pointer is None else str(pointer["version"])


def flip_current(bucket: str, provenance: Provenance) -> None:
    """Makes a version the one readers use. Called last, when its projections are complete."""
    pointer = {"version": provenance.version, "k": provenance.k, "embedder_id": provenance.embedder_id}
    object_store.write_json(bucket, lake.CURRENT_PCA_KEY, pointer)


def _doubles(values: list[Any]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)
