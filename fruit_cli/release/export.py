"""Turns the 260 tensors into the files the engines load: `python -m fruit_cli.release.export <tensors.npz> <folder>`.

It is a process of its own, so that TensorFlow's seconds, memory and log noise stay out of the commands. It prints the
largest difference between each exported graph and Keras as JSON; one above the tolerance is an error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from fruit_contract import release
from fruit_contract.tables import N_FEATURES
from fruit_features.embedding.engines import load_engine

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tensorflow as tf
    from keras import Model
    from numpy.typing import NDArray
    from tensorflow.types.experimental import ConcreteFunction

    Floats = NDArray[np.float32]

INPUT: Final = "images"
OUTPUT: Final = "features"
IMAGE_SHAPE: Final = (224, 224, 3)
TOLERANCE: Final = 1e-4
_N_TRIAL_IMAGES: Final = 4


def main(tensors_path: Path, directory: Path) -> None:
    with np.load(tensors_path) as stored:
        network = keras_network(dict(stored))
    graph = frozen_graph(network)
    model = litert_model(graph)
    (directory / release.TENSORFLOW_GRAPH).write_bytes(graph)
    (directory / release.LITERT_MODEL).write_bytes(model)
    images = trial_images()
    expected = network(images, training=False).numpy()
    differences = {
        release.LITERT_MODEL: largest_difference(expected, load_engine("litert", model).embed(images)),
        release.TENSORFLOW_GRAPH: largest_difference(expected, run_graph(graph, images)),
    }
    print(json.dumps(differences))
    if not max(differences.values()) <= TOLERANCE:
        raise SystemExit(f"The exported graphs differ from Keras by more than {TOLERANCE}: {differences}")


def keras_network(tensors: Mapping[str, Floats]) -> Model:
    """Returns Keras' MobileNetV2 1.0/224 with these weights, without top, with global average pooling. It maps
    float32[n, 224, 224, 3] to float32[n, 1280].
    """
    import keras

    network = keras.applications.MobileNetV2(
        include_top=False, weights=None, pooling="avg", input_shape=IMAGE_SHAPE, alpha=1.0
    )
    for layer in network.layers:
        if layer.weights:
            layer.set_weights([tensors[f"{layer.name}/{variable.name}"] for variable in layer.weights])
    return network


def frozen_graph(network: Model) -> bytes:
    """Returns the network as a serialised TensorFlow GraphDef without variables, from `images:0` to `features:0`."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(
        lambda images: tf.identity(network(images, training=False), name=OUTPUT), input_signature=_signature()
    )
    definition = convert_variables_to_constants_v2(function.get_concrete_function()).graph.as_graph_def()
    # What follows `features` only repeats it under the function's own return name.
    kept = tf.compat.v1.graph_util.extract_sub_graph(definition, [OUTPUT])
    return bytes(kept.SerializeToString(deterministic=True))


def litert_model(graph: bytes) -> bytes:
    """Returns the frozen graph as a LiteRT model for one image, which an interpreter widens to more. Batch
    normalisation is folded into convolutions.
    """
    import tensorflow as tf

    function = _function_of(graph)
    function.inputs[0].set_shape([1, *IMAGE_SHAPE])
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([function]).convert())


def trial_images() -> Floats:
    """Returns fine and coarse noise in [-1, 1], float32[4, 224, 224, 3].

    Flat images would not do: equal pixels round alike, and the errors add up to more than any photo shows.
    """
    random = np.random.default_rng(7)
    fine = random.uniform(-1, 1, (_N_TRIAL_IMAGES // 2, *IMAGE_SHAPE))
    coarse = random.uniform(-1, 1, (_N_TRIAL_IMAGES // 2, 28, 28, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return np.concatenate([fine, coarse]).astype(np.float32)


def run_graph(graph: bytes, images: Floats) -> Floats:
    import tensorflow as tf

    return np.asarray(_function_of(graph)(tf.constant(images)), dtype=np.float32)


def largest_difference(expected: Floats, found: Floats) -> float:
    if found.shape != (_N_TRIAL_IMAGES, N_FEATURES):
        raise SystemExit(
            f"The exported graph gives {found.shape} for {_N_TRIAL_IMAGES} images, expected "
            f"{(_N_TRIAL_IMAGES, N_FEATURES)}"
        )
    return float(np.abs(found - expected).max())


def _function_of(graph: bytes) -> ConcreteFunction:
    """Returns the frozen graph as a function of images."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(graph)
    function = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    return function.prune(f"{INPUT}:0", f"{OUTPUT}:0")


def _signature() -> list[tf.TensorSpec]:
    import tensorflow as tf

    return [tf.TensorSpec([None, *IMAGE_SHAPE], tf.float32, name=INPUT)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
