"""What lies below `code/<release>/`, and how a step calls it.

A release's id is the digest of its content, so a release never changes: `code/current.json` names the one in use.
"""

from __future__ import annotations

from typing import Final

# Below code/<release>/
EXTRACT_FEATURES_JOB: Final = "jobs/extract_features.py"
REFRESH_PCA_JOB: Final = "jobs/refresh_pca.py"
LIBRARY_ZIP: Final = "fruit_library.zip"
BOOTSTRAP_ACTION: Final = "bootstrap/install_cluster_packages.sh"
CLUSTER_REQUIREMENTS: Final = "bootstrap/requirements.txt"
WHEELHOUSE: Final = "bootstrap/wheelhouse/"
EMBEDDER: Final = "embedder/"
RELEASE_MANIFEST: Final = "release.json"

# Below code/<release>/embedder/
EMBEDDER_MANIFEST: Final = "manifest.json"
ONNX_MODEL: Final = "model.onnx"
TENSORFLOW_GRAPH: Final = "frozen_graph.pb"

# Steps, by the names EMR, the logs and the summaries show.
EXTRACT_FEATURES_STEP: Final = "extract_features"
REFRESH_PCA_STEP: Final = "refresh_pca"

# What the PCA step says it did when there is nothing to fit.
NO_PCA: Final = "nothing"

ENGINES: Final = ("onnxruntime", "tensorflow")
DEFAULT_ENGINE: Final = "onnxruntime"

ARCHITECTURE: Final = "mobilenetv2"
# From an image file's bytes to the pixels that the network sees (fruit_features/embedding/preprocessing.py): other pixels, another version.
PREPROCESSING_VERSION: Final = 2


def embedder_id(tensors_sha256: str, preprocessing_version: int) -> str:
    """The embedder's name: the weights by the digest of their tensors, and the preprocessing. Features of two ids never mix."""
    return f"{ARCHITECTURE}-{tensors_sha256[:12]}-p{preprocessing_version}"
