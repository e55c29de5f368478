"""Loads the published embedder once a process: one manifest and one model file, both checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from fruit_contract import lake, release
from fruit_features.embedding.engines import Engine, engine_file, load_engine

if TYPE_CHECKING:
    from pathlib import Path

    from fruit_features.lake.store import Store


class EmbedderArtefactError(RuntimeError):
    """The release's embedder can't be used. The message says why and what to publish."""


class EmbedderChangedError(RuntimeError):
    """The release's embedder is not as it was published."""


@dataclass(frozen=True)
class EmbedderArtefact:
    """Where one engine's model lies, and the identity of the features it gives."""

    store: Store
    release_id: str
    embedder_id: str
    engine: str
    model_key: str
    model_sha256: str


def find_embedder(store: Store, release_id: str, engine: str, release_folder: Path | None = None) -> EmbedderArtefact:
    """Reads the release's embedder manifest, from this node's checked copy of the release if there is one.

    Raises EmbedderArtefactError if it does not fit this code.
    """
    prefix = lake.release_prefix(release_id) + release.EMBEDDER
    if release_folder:
        manifest = json.loads((release_folder / release.EMBEDDER / release.EMBEDDER_MANIFEST).read_bytes())
    else:
        manifest = store.read_json(prefix + release.EMBEDDER_MANIFEST)
    if manifest["preprocessing_version"] != release.PREPROCESSING_VERSION:
        raise EmbedderArtefactError(
            f"Release {release_id} holds an embedder for preprocessing version {manifest['preprocessing_version']}, "
            f"its jobs do version {release.PREPROCESSING_VERSION}: run `make publish`."
        )
    file = engine_file(engine)
    if file not in manifest["files"]:
        raise EmbedderArtefactError(
            f"Release {release_id} holds no {file}, which engine '{engine}' needs: run `make publish`."
        )
    return EmbedderArtefact(store, release_id, manifest["embedder_id"], engine, prefix + file, manifest["files"][file])


@cache
def load_embedder(artefact: EmbedderArtefact) -> Engine:
    """Returns the engine, loaded on first use in a process and kept: that costs as much as some images, and one thread
    has it at a time.
    """
    return read_embedder(artefact)


def read_embedder(artefact: EmbedderArtefact) -> Engine:
    """Returns an engine of the caller's own. Raises EmbedderArtefactError if the model is not there, or is not what its
    manifest says.
    """
    content = artefact.store.find(artefact.model_key)
    if content is None:
        raise EmbedderArtefactError(f"{artefact.store.uri(artefact.model_key)} is not there: run `make publish`.")
    model = bytes(content)
    found = hashlib.sha256(model).hexdigest()
    if found != artefact.model_sha256:
        raise EmbedderChangedError(
            f"The release is not as it was published: {artefact.store.uri(artefact.model_key)} has SHA-256 {found}, "
            f"and was published with {artefact.model_sha256}."
        )
    return load_engine(artefact.engine, model)
