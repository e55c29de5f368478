"""Turns the 260 tensors into the files the engines load: `python -m fruit_cli.release.export <tensors.npz> <folder>`.

A process of its own, so that TensorFlow's seconds, memory and log noise stay out of the commands.
Prints the largest difference between each exported graph and Keras as JSON; one above the tolerance is an error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from fruit_contract import release
from fruit_contract.tables import N_FEATURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tensorflow as tf
    from keras import Model
    from numpy.typing import NDArray
    from onnx import ModelProto

    Floats = NDArray[np.float32]

INPUT: Final = "images"
OUTPUT: Final = "features"
IMAGE_SHAPE: Final = (224, 224, 3)
TOLERANCE: Final = 1e-4
# Understood by every ONNX Runtime since 1.12.
_OPSET: Final = 17
_N_TRIAL_IMAGES: Final = 4


def main(tensors_path: Path, directory: Path) -> None:
    with np.load(tensors_path) as stored:
        network = keras_network(dict(stored))
    exported = {release.TENSORFLOW_GRAPH: frozen_graph(network), release.ONNX_MODEL: onnx_model(network, scratch=directory)}
    for name, content in exported.items():
        (directory / name).write_bytes(content)
    images = trial_images()
    expected = network(images, training=False).numpy()
    differences = {
        release.ONNX_MODEL: largest_difference(expected, run_onnx(exported[release.ONNX_MODEL], images)),
        release.TENSORFLOW_GRAPH: largest_difference(expected, run_graph(exported[release.TENSORFLOW_GRAPH], images)),
    }
    print(json.dumps(differences))
    if not max(differences.values()) <= TOLERANCE:
        raise SystemExit(f"The exported graphs differ from Keras by more than {TOLERANCE}: {differences}")


def keras_network(tensors: Mapping[str, Floats]) -> Model:
    """Keras' MobileNetV2 1.0/224 without top, with global average pooling: float32[n, 224, 224, 3] to float32[n, 1280]."""
    import keras

    network = keras.applications.MobileNetV2(include_top=False, weights=None, pooling="avg", input_shape=IMAGE_SHAPE, alpha=1.0)
    for layer in network.layers:
        if layer.weights:
            layer.set_weights([tensors[f"{layer.name}/{variable.name}"] for variable in layer.weights])
    return network


def frozen_graph(network: Model) -> bytes:
    """The network as a TensorFlow GraphDef without variables, from `images:0` to `features:0`."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(lambda images: tf.identity(network(images, training=False), name=OUTPUT), input_signature=_signature())
    definition = convert_variables_to_constants_v2(function.get_concrete_function()).graph.as_graph_def()
    # What follows `features` only repeats it under the function's own return name.
    kept = tf.compat.v1.graph_util.extract_sub_graph(definition, [OUTPUT])
    return bytes(kept.SerializeToString(deterministic=True))


def onnx_model(network: Model, *, scratch: Path) -> bytes:
    """The network as ONNX, from `images` to `features`, with batch normalisation folded into the convolutions.

    Only ONNX Runtime's basic optimisations are applied: they use standard operators alone, so the file runs on any CPU.
    """
    import onnx
    import onnxruntime
    import tensorflow as tf
    import tf2onnx

    function = tf.function(lambda images: {OUTPUT: network(images, training=False)}, input_signature=_signature())
    converted, _ = tf2onnx.convert.from_function(function, input_signature=_signature(), opset=_OPSET)
    folded = scratch / "folded.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(converted.SerializeToString(), options, providers=["CPUExecutionProvider"])
    model = onnx.load(folded)
    folded.unlink()
    make_reproducible(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def make_reproducible(model: ModelProto) -> None:
    """Names every value after its place in the graph, in place.

    The converter's own names change from run to run; equal weights shall give equal bytes.
    """
    from onnx import TensorProto

    graph = model.graph
    names = {value.name: value.name for value in [*graph.input, *graph.output]}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    in_order = []
    for node in graph.node:
        for name in [*node.input, *node.output]:
            if name and name not in names:
                names[name] = f"value_{len(names)}"
                if name in stored:
                    in_order.append(TensorProto.FromString(stored[name].SerializeToString()))
                    in_order[-1].name = names[name]
        node.name = f"{node.op_type}_{names[node.output[0]]}"
        node.input[:] = [names.get(name, "") for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(in_order)
    graph.name = release.ARCHITECTURE
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "n_images"
    standard = [opset for opset in model.opset_import if not opset.domain]
    del model.opset_import[:]
    model.opset_import.extend(standard)


def trial_images() -> Floats:
    """Fine and coarse noise in [-1, 1], float32[4, 224, 224, 3].

    Flat images would not do: equal pixels round alike, and the errors add up to more than any photo shows.
    """
    random = np.random.default_rng(7)
    fine = random.uniform(-1, 1, (_N_TRIAL_IMAGES // 2, *IMAGE_SHAPE))
    coarse = random.uniform(-1, 1, (_N_TRIAL_IMAGES // 2, 28, 28, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return np.concatenate([fine, coarse]).astype(np.float32)


def run_onnx(model: bytes, images: Floats) -> Floats:
    import onnxruntime

    (features,) = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run([OUTPUT], {INPUT: images})
    return np.asarray(features, dtype=np.float32)


def run_graph(graph: bytes, images: Floats) -> Floats:
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(graph)
    function = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    return np.asarray(function.prune(f"{INPUT}:0", f"{OUTPUT}:0")(tf.constant(images)), dtype=np.float32)


def largest_difference(expected: Floats, found: Floats) -> float:
    if found.shape != (_N_TRIAL_IMAGES, N_FEATURES):
        raise SystemExit(f"The exported graph gives {found.shape} for {_N_TRIAL_IMAGES} images, expected {(_N_TRIAL_IMAGES, N_FEATURES)}")
    return float(np.abs(found - expected).max())


def _signature() -> list[tf.TensorSpec]:
    import tensorflow as tf

    return [tf.TensorSpec([None, *IMAGE_SHAPE], tf.float32, name=INPUT)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
