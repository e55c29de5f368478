"""Makes the embedder of a release. It is exported once for a set of weights, then kept under the local home."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fruit_cli.errors import CommandError
from fruit_cli.release.wheels import file_sha256
from fruit_contract import release
from fruit_contract.tables import N_FEATURES
from local_cloud.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable

    from fruit_cli.lake.connection import LakeConnection
    from fruit_cli.release.weights import Tensors
    from fruit_cli.release.weights_sources import WeightsFile

# It is kept with an export. Raise it when the exported graphs change for the same weights.
EXPORT_FORMAT: Final = 2
_GRAPH_FILES: Final = (release.LITERT_MODEL, release.TENSORFLOW_GRAPH)
_IMAGENET_LICENCE: Final = "Apache-2.0 (the ImageNet weights of Keras Applications)"
_UNKNOWN_LICENCE: Final = "not known: the weights were given by whoever published them"


@dataclass(frozen=True)
class ExportedEmbedder:
    """Names a folder with `manifest.json`, `model.tflite` and `frozen_graph.pb`, which is whole and checked."""

    embedder_id: str
    directory: Path

    def files(self) -> dict[str, Path]:
        """Returns the local file for each name below `code/<release>/embedder/`."""
        return {name: self.directory / name for name in (release.EMBEDDER_MANIFEST, *_GRAPH_FILES)}


def exported_embedder(
    connection: LakeConnection, home: Path, *, weights: str | None = None, say: Callable[[str], None] = print
) -> ExportedEmbedder:
    """Returns the embedder for `weights` (a file or `s3://` address), or for the default weights.

    Exports it if it isn't kept under `home` yet.

    Raises:
        CommandError: the weights can't be had, are not MobileNetV2's, or the export failed.
    """
    if weights is None:
        return default_embedder(home, say)
    from fruit_cli.release.weights_sources import named_weights

    return _embedder_of(named_weights(weights, connection), weights, home / "embedder", say)


def default_embedder(home: Path, say: Callable[[str], None]) -> ExportedEmbedder:
    """Returns the embedder for the default weights, as `exported_embedder` does. It needs no lake, so it may be made
    before there is one.
    """
    root = home / "embedder"
    from fruit_cli.release.weights_sources import IMAGENET_TENSORS_SHA256, default_weights

    if kept := _kept(root, release.embedder_id(IMAGENET_TENSORS_SHA256, release.PREPROCESSING_VERSION)):
        return kept
    file = default_weights(home / "cache", say)
    return _embedder_of(file, file.source, root, say, expected_sha256=IMAGENET_TENSORS_SHA256)


def _embedder_of(
    file: WeightsFile, named: str, root: Path, say: Callable[[str], None], expected_sha256: str | None = None
) -> ExportedEmbedder:
    """Returns the embedder of a file of weights, exporting it if it isn't kept. `named` is what an error calls the
    weights. Raises CommandError if their digest is not the expected one.
    """
    # This loads numpy and h5py, which a second publish does without.
    from fruit_cli.release.weights import read_tensors, require_digest, tensors_sha256

    tensors = read_tensors(file.content, named)
    digest = tensors_sha256(tensors)
    if expected_sha256:
        require_digest(digest, expected_sha256, named)
    embedder = _kept(root, release.embedder_id(digest, release.PREPROCESSING_VERSION))
    if embedder is None:
        say("Exporting the embedder (once for these weights, about 30 s) ...")
        embedder = _export(tensors, _manifest(digest, file.source), root)
    return embedder


def _kept(root: Path, embedder_id: str) -> ExportedEmbedder | None:
    """Returns the embedder under `root`, or None if it isn't there, is damaged, or is of another preprocessing or
    format.
    """
    embedder = ExportedEmbedder(embedder_id, root / embedder_id)
    manifest = _read_json(embedder.directory / release.EMBEDDER_MANIFEST)
    if not manifest or manifest["exported_with"]["format"] != EXPORT_FORMAT:
        return None
    if manifest["preprocessing_version"] != release.PREPROCESSING_VERSION:
        return None
    files = embedder.files()
    if any(
        not files[name].is_file() or file_sha256(files[name]) != digest for name, digest in manifest["files"].items()
    ):
        return None
    return embedder


def _manifest(tensors_sha256: str, source: str) -> dict[str, Any]:
    from fruit_cli.release.weights_sources import IMAGENET_TENSORS_SHA256

    return {
        "embedder_id": release.embedder_id(tensors_sha256, release.PREPROCESSING_VERSION),
        "architecture": "MobileNetV2, alpha 1.0, 224x224, no top, global average pooling",
        "tensors_sha256": tensors_sha256,
        "preprocessing_version": release.PREPROCESSING_VERSION,
        "input": {"name": "images", "shape": [None, 224, 224, 3], "dtype": "float32"},
        "output": {"name": "features", "shape": [None, N_FEATURES], "dtype": "float32"},
        "weights_source": source,
        "licence": _IMAGENET_LICENCE if tensors_sha256 == IMAGENET_TENSORS_SHA256 else _UNKNOWN_LICENCE,
        "exported_with": {"format": EXPORT_FORMAT}
        | {name: version(name) for name in ("ai-edge-litert", "keras", "tensorflow-cpu")},
    }


def _export(tensors: Tensors, manifest: dict[str, Any], root: Path) -> ExportedEmbedder:
    """Exports into a scratch folder and moves that into place as a whole, so that half of an export is never taken for
    one. Returns the embedder.
    """
    import numpy as np

    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".export-") as scratch:
        directory = Path(scratch) / "embedder"
        directory.mkdir()
        tensors_path = Path(scratch) / "tensors.npz"
        # numpy's stub takes no mapping of arrays beside its own keyword.
        np.savez(tensors_path, allow_pickle=False, **tensors)
        differences = _run_export(tensors_path, directory)
        digests = {name: file_sha256(directory / name) for name in _GRAPH_FILES}
        _write_json(
            directory / release.EMBEDDER_MANIFEST,
            manifest | {"files": digests, "largest_difference_from_keras": differences},
        )
        embedder = ExportedEmbedder(manifest["embedder_id"], root / manifest["embedder_id"])
        shutil.rmtree(embedder.directory, ignore_errors=True)
        directory.rename(embedder.directory)
    return embedder


def _run_export(tensors_path: Path, directory: Path) -> dict[str, float]:
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    finished = subprocess.run(
        [sys.executable, "-m", "fruit_cli.release.export", str(tensors_path), str(directory)],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT,
        env={**os.environ, **quiet},
    )
    if finished.returncode:
        last_words = "\n".join(finished.stderr.strip().splitlines()[-15:])
        raise CommandError(
            f"The embedder could not be exported (exit code {finished.returncode}). Its last words:\n{last_words}"
        )
    return {str(name): float(value) for name, value in json.loads(finished.stdout.strip().splitlines()[-1]).items()}


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)
