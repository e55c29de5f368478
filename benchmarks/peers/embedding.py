"""Does what a worker of any peer does with the images it has fetched, with the features step's own functions, in the
same order.

Everything that the peers take from the features step is imported here.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from fruit_contract import lake, release
from fruit_contract.tables import N_FEATURES
from fruit_features.embedding.artefact import EmbedderArtefact, find_embedder, read_embedder
from fruit_features.embedding.preprocessing import decode_image, network_input
from fruit_features.lake.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from fruit_features.embedding.engines import Engine

__all__ = ["EmbeddedImages", "EmbedderArtefact", "S3Access", "embed_images", "find_published_embedder", "output_key"]

OUTPUT: Final = "peers"
# A worker gets so many images at once: few enough for both workers to end at about the same time, and enough to be
# handed over cheaply.
IMAGES_AT_ONCE: Final = 64


@dataclass(frozen=True)
class EmbeddedImages:
    """Holds the computed columns of some images, in their order. `features` is float32[n, 1280]."""

    content_sha256: list[str]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    features: NDArray[np.float32]


@dataclass(frozen=True)
class S3Access:
    """Says how a peer's own S3 client reaches the local S3 server, from the environment that every way has."""

    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str

    @classmethod
    def from_environment(cls) -> S3Access:
        names = ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        return cls(*(os.environ[name] for name in names))


def output_key(peer: str, ingest_date: str) -> str:
    """Returns the folder into which a peer writes its features of a date."""
    return lake.date_prefix(f"{OUTPUT}/{peer}", ingest_date).rstrip("/")


def find_published_embedder(bucket: str, release_id: str) -> EmbedderArtefact:
    return find_embedder(Store(bucket), release_id, release.DEFAULT_ENGINE)


def embed_images(embedder: EmbedderArtefact, contents: Iterable[bytes], n_images: int) -> EmbeddedImages:
    """Decodes and embeds one image after the other, with the engine that this thread keeps. Raises UnreadableImageError
    if an image can't be decoded.
    """
    engine = _engine(embedder, threading.get_ident())
    digests = []
    sizes = np.empty((2, n_images), dtype=np.int32)
    features = np.empty((n_images, N_FEATURES), dtype=np.float32)
    for number, content in enumerate(contents):
        digests.append(hashlib.sha256(content).hexdigest())
        decoded = decode_image(content)
        sizes[:, number] = decoded.width, decoded.height
        features[number] = engine.embed(network_input(decoded.pixels[None]))[0]
    return EmbeddedImages(digests, sizes[0], sizes[1], features)


@cache
def _engine(embedder: EmbedderArtefact, thread: int) -> Engine:  # noqa: ARG001 - one for each: an engine works for one thread at a time
    return read_embedder(embedder)
