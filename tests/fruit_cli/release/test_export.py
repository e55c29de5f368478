from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import LakeConnection
from fruit_cli.release import embedder as artefact_module
from fruit_cli.release import weights_sources
from fruit_cli.release.embedder import exported_embedder
from fruit_cli.release.export import TOLERANCE, largest_difference, trial_images
from fruit_cli.release.weights import mobilenet_v2_shapes, read_tensors, tensors_sha256
from fruit_cli.release.wheels import file_sha256
from fruit_contract import release
from fruit_contract.release import PREPROCESSING_VERSION
from fruit_features.embedding.engines import engine_file, load_engine

NOWHERE = LakeConnection(bucket="fruits-lake", region="eu-west-1", endpoint_url="http://127.0.0.1:1")


def trained_looking_tensors():
    """Returns weights whose activations neither vanish nor explode: He-scaled kernels, batch normalisation near the
    identity.
    """
    random = np.random.default_rng(11)
    tensors = {}
    for name, shape in mobilenet_v2_shapes().items():
        if name.endswith("kernel"):
            fan_in = np.prod(shape[:2]) if "depthwise" in name else np.prod(shape[:3])
            tensors[name] = random.normal(0, np.sqrt(2 / fan_in), shape)
        elif name.endswith(("gamma", "moving_variance")):
            tensors[name] = random.uniform(0.8, 1.2, shape)
        else:
            tensors[name] = random.uniform(-0.1, 0.1, shape)
    return {name: array.astype("<f4") for name, array in tensors.items()}


KERAS_PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from fruit_cli.release.export import keras_network, trial_images
folder = Path(sys.argv[1])
network = keras_network(dict(np.load(folder / "tensors.npz")))
network.save(folder / "own.h5")
np.save(folder / "expected.npy", network(trial_images(), training=False).numpy())
shapes = {variable.path: tuple(variable.shape) for variable in network.weights}
(folder / "shapes.json").write_text(json.dumps(shapes))
"""


@pytest.fixture(scope="module")
def keras_folder(tmp_path_factory):
    """Returns a folder with what Keras itself says and writes for this module's weights: `own.h5`, `expected.npy`,
    `shapes.json`.

    It comes from another process: TensorFlow's thread settings can't be changed once it has worked, and other tests set
    theirs.
    """
    folder = tmp_path_factory.mktemp("keras")
    np.savez(folder / "tensors.npz", **trained_looking_tensors())
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    subprocess.run([sys.executable, "-c", KERAS_PROGRAM, str(folder)], check=True, env=environment, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def weights_file(keras_folder):
    return keras_folder / "own.h5"


@pytest.fixture(scope="module")
def expected(keras_folder):
    """Returns Keras' features of the trial images."""
    return np.load(keras_folder / "expected.npy")


@pytest.fixture(scope="module")
def said():
    return []


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def artefact(weights_file, home, said):
    return exported_embedder(NOWHERE, home, weights=str(weights_file), say=said.append)


@pytest.mark.slow
def test_names_shapes_and_their_order_are_keras_own(keras_folder):
    found = json.loads((keras_folder / "shapes.json").read_text(encoding="utf-8"))
    assert [(name, tuple(shape)) for name, shape in found.items()] == list(mobilenet_v2_shapes().items())


def test_reads_what_keras_itself_writes(weights_file):
    found = read_tensors(weights_file.read_bytes(), "own.h5")
    assert tensors_sha256(found) == tensors_sha256(trained_looking_tensors())


@pytest.mark.slow
def test_the_manifest_tells_what_the_contract_asks(artefact):
    manifest = json.loads(artefact.files()[release.EMBEDDER_MANIFEST].read_text(encoding="utf-8"))
    digest = tensors_sha256(trained_looking_tensors())
    assert manifest["embedder_id"] == artefact.embedder_id == f"mobilenetv2-{digest[:12]}-p{PREPROCESSING_VERSION}"
    assert manifest["tensors_sha256"] == digest
    assert manifest["preprocessing_version"] == PREPROCESSING_VERSION
    assert manifest["input"] == {"name": "images", "shape": [None, 224, 224, 3], "dtype": "float32"}
    assert manifest["output"] == {"name": "features", "shape": [None, 1280], "dtype": "float32"}
    assert manifest["files"] == {
        name: file_sha256(artefact.directory / name) for name in ("model.tflite", "frozen_graph.pb")
    }
    assert manifest["weights_source"] == "file own.h5"
    assert manifest["licence"].startswith("not known")
    assert 0 < max(manifest["largest_difference_from_keras"].values()) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("engine", release.ENGINES)
def test_every_engine_gives_keras_features(artefact, expected, engine):
    images = trial_images()
    loaded = load_engine(engine, (artefact.directory / engine_file(engine)).read_bytes())
    found = loaded.embed(images)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= TOLERANCE
    assert expected.std() > 0.01, "features that are all alike would prove nothing"
    # One image alone gives what it gives among others.
    assert np.abs(loaded.embed(images[2:3]) - expected[2:3]).max() <= TOLERANCE


def test_the_model_holds_ordinary_operators_only_and_no_batch_normalisation(artefact):
    model = schema.ModelT.InitFromPackedBuf((artefact.directory / release.LITERT_MODEL).read_bytes())
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    assert {names[code.builtinCode] for code in model.operatorCodes} == {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "MEAN"}
    assert {tensor.type for graph in model.subgraphs for tensor in graph.tensors} <= {
        schema.TensorType.FLOAT32,
        schema.TensorType.INT32,
    }


@pytest.mark.slow
def test_the_same_weights_give_the_same_bytes(artefact, weights_file, tmp_path):
    again = exported_embedder(NOWHERE, tmp_path, weights=str(weights_file), say=lambda _: None)
    for name in (release.LITERT_MODEL, release.TENSORFLOW_GRAPH, release.EMBEDDER_MANIFEST):
        assert file_sha256(again.directory / name) == file_sha256(artefact.directory / name), name


def test_a_kept_artefact_is_taken_without_exporting_again(artefact, weights_file, home, monkeypatch, said):
    monkeypatch.setattr(artefact_module, "_run_export", lambda *_: pytest.fail("exported again"))
    assert exported_embedder(NOWHERE, home, weights=str(weights_file), say=said.append) == artefact
    assert [line for line in said if "Exporting" in line] == said[:1]


def test_a_damaged_artefact_is_exported_again(artefact, weights_file, tmp_path, monkeypatch):
    copy = tmp_path / "embedder" / artefact.embedder_id
    copy.mkdir(parents=True)
    for name, path in artefact.files().items():
        (copy / name).write_bytes(path.read_bytes())
    (copy / release.LITERT_MODEL).write_bytes(b"half")

    def stub_export(tensors_path, directory):
        for name in (release.LITERT_MODEL, release.TENSORFLOW_GRAPH):
            (directory / name).write_bytes(b"whole " + name.encode())
        return {}

    monkeypatch.setattr(artefact_module, "_run_export", stub_export)
    found = exported_embedder(NOWHERE, tmp_path, weights=str(weights_file), say=lambda _: None)
    assert found.files()[release.LITERT_MODEL].read_bytes() == b"whole model.tflite"


def make_default(monkeypatch, weights_file, *, known):
    """Makes the file the one that is found when no weights are named, and `known` the digest of ImageNet's weights."""
    found = weights_sources.WeightsFile(weights_file.read_bytes(), "the place they come from")
    monkeypatch.setattr(weights_sources, "default_weights", lambda *_: found)
    monkeypatch.setattr(weights_sources, "IMAGENET_TENSORS_SHA256", known)


def test_the_default_weights_are_resolved_once(weights_file, artefact, tmp_path, monkeypatch):
    def stub_export(_, directory):
        for name in (release.LITERT_MODEL, release.TENSORFLOW_GRAPH):
            shutil.copy(artefact.directory / name, directory / name)
        return {}

    monkeypatch.setattr(artefact_module, "_run_export", stub_export)
    make_default(monkeypatch, weights_file, known=tensors_sha256(trained_looking_tensors()))
    first = exported_embedder(NOWHERE, tmp_path, say=lambda _: None)
    assert first.embedder_id == artefact.embedder_id
    monkeypatch.setattr(weights_sources, "default_weights", lambda *_: pytest.fail("resolved again"))
    assert exported_embedder(NOWHERE, tmp_path, say=lambda _: None) == first


def test_other_weights_than_the_known_ones_are_taken_only_when_they_are_named(
    weights_file, artefact, tmp_path, monkeypatch
):
    make_default(monkeypatch, weights_file, known=weights_sources.IMAGENET_TENSORS_SHA256)
    monkeypatch.setattr(artefact_module, "_run_export", lambda *_: pytest.fail("exported"))
    with pytest.raises(CommandError, match=r"(?s)^the place they come from holds other tensors.*make publish WEIGHTS="):
        exported_embedder(NOWHERE, tmp_path, say=lambda _: None)
    shutil.copytree(artefact.directory, tmp_path / "embedder" / artefact.embedder_id)
    named = exported_embedder(NOWHERE, tmp_path, weights=str(weights_file), say=lambda _: None)
    assert named.embedder_id == artefact.embedder_id


def test_a_failed_export_leaves_nothing_and_tells_the_last_words(weights_file, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CommandError, match=r"could not be exported \(exit code 1\)"):
        exported_embedder(NOWHERE, tmp_path, weights=str(weights_file), say=lambda _: None)
    assert list((tmp_path / "embedder").iterdir()) == []


def test_a_graph_of_another_shape_is_refused():
    with pytest.raises(SystemExit, match="gives"):
        largest_difference(np.zeros((4, 1280), np.float32), np.zeros((4, 1000), np.float32))
