"""Says what lies below `code/<release>/`, and how a step calls it.

A release's id is the digest of its content, so a release never changes. `code/current.json` names the release in use,
and the digest of its list of files (`release.json`), which has the digest of each file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# These lie below code/<release>/.
EXTRACT_FEATURES_JOB: Final = "jobs/extract_features.py"
REFRESH_PCA_JOB: Final = "jobs/refresh_pca.py"
LIBRARY_ZIP: Final = "fruit_library.zip"
BOOTSTRAP_ACTION: Final = "bootstrap/install_cluster_packages.sh"
CLUSTER_REQUIREMENTS: Final = "bootstrap/requirements.txt"
WHEELHOUSE: Final = "bootstrap/wheelhouse/"
EMBEDDER: Final = "embedder/"
RELEASE_MANIFEST: Final = "release.json"

# What `code/current.json` says.
CURRENT_RELEASE: Final = "release"
MANIFEST_SHA256: Final = "manifest_sha256"

# This number in `release.json` says how nodes take a release. Raise it when Airflow's side can't start nodes with what
# was published before.
RELEASE_FORMAT: Final = 2
# A node has its checked copy of the release here.
NODE_FOLDER: Final = "/opt/fruits/release"

# These lie below code/<release>/embedder/.
EMBEDDER_MANIFEST: Final = "manifest.json"
LITERT_MODEL: Final = "model.tflite"
TENSORFLOW_GRAPH: Final = "frozen_graph.pb"

# EMR, the logs and the summaries show the steps by these names.
EXTRACT_FEATURES_STEP: Final = "extract_features"
REFRESH_PCA_STEP: Final = "refresh_pca"

# The PCA step says that it did this when there is nothing to fit.
NO_PCA: Final = "nothing"

TENSORFLOW: Final = "tensorflow"
ENGINES: Final = ("litert", TENSORFLOW)
DEFAULT_ENGINE: Final = "litert"
# An Airflow of an earlier release names the default of its time.
_EARLIER_DEFAULT_ENGINES: Final = frozenset({"onnxruntime"})

ARCHITECTURE: Final = "mobilenetv2"
# Preprocessing makes the pixels that the network sees of an image file's bytes
# (fruit_features/embedding/preprocessing.py). If it makes other pixels, it is another version.
PREPROCESSING_VERSION: Final = 2


@dataclass(frozen=True)
class PinnedRelease:
    """Names a release, and the SHA-256 that its `release.json` must have. Together they fix to the byte everything that
    nodes run.
    """

    release_id: str
    manifest_sha256: str


def release_id(digests: Mapping[str, str]) -> str:
    """Returns the first 16 hex digits of the digest over every (name, SHA-256), sorted by name."""
    digest = hashlib.sha256()
    for name, content_sha256 in sorted(digests.items()):
        digest.update(f"{name}\0{content_sha256}\n".encode())
    return digest.hexdigest()[:16]


def engine_named(name: str) -> str:
    """Returns the engine that a step means by a name. The default engine also answers to the names that it had in
    earlier releases.
    """
    return DEFAULT_ENGINE if name in _EARLIER_DEFAULT_ENGINES else name


def embedder_id(tensors_sha256: str, preprocessing_version: int) -> str:
    """Returns the embedder's name, made of the digest of its weights and its preprocessing version. Features of two ids
    never mix.
    """
    return f"{ARCHITECTURE}-{tensors_sha256[:12]}-p{preprocessing_version}"
