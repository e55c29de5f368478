"""Loads the published embedder once in a process: one manifest and one model file, both checked."""

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
    """Raised if the release's embedder can't be used. The message says why and what to publish."""


class EmbedderChangedError(RuntimeError):
    """Raised if the release's embedder is not as it was published."""


@dataclass(frozen=True)
class EmbedderArtefact:
    """Says where the model of one engine lies, and which `embedder_id` its features have."""

    store: Store
    release_id: str
    embedder_id: str
    engine: str
    model_key: str
    model_sha256: str


def find_embedder(store: Store, release_id: str, engine: str, release_folder: Path | None = None) -> EmbedderArtefact:
    """Finds the release's model for an engine, by the manifest in this node's checked copy or in the lake.

    Raises EmbedderArtefactError if the embedder does not fit this code or has no model for the engine.
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
    """Returns the process' engine, which is loaded on first use and kept. Only one thread may use it at a time."""
    return read_embedder(artefact)


def read_embedder(artefact: EmbedderArtefact) -> Engine:
    """Loads an engine of the caller's own.

    Raises EmbedderArtefactError if the model is not there, and EmbedderChangedError if it is not the published one.
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
