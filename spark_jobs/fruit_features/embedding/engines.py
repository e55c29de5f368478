"""Runs the network with LiteRT (the default), or with TensorFlow as the reference.

Both need nothing but the published artefact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from fruit_contract import release
from fruit_contract.tables import N_FEATURES

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Engine(Protocol):
    """Turns images into feature vectors, for one thread at a time."""

    # With so many images at once, the engine does the most images a second on one core.
    inference_batch: int

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turns images, float32[n, 224, 224, 3] in [-1, 1], into features, float32[n, 1280]."""
        ...


class UnknownEngineError(ValueError):
    """Raised for an engine's name that is none of `fruit_contract.release.ENGINES`."""


def engine_file(engine: str) -> str:
    """Returns the name of the artefact's file that `engine` loads. Raises UnknownEngineError for an unknown engine."""
    files = {"litert": release.LITERT_MODEL, "tensorflow": release.TENSORFLOW_GRAPH}
    try:
        return files[engine]
    except KeyError:
        raise UnknownEngineError(f"Engine '{engine}' is unknown: choose one of {', '.join(release.ENGINES)}.") from None


def load_engine(engine: str, model: bytes) -> Engine:
    """Loads an engine from the content of its `engine_file`. It has one thread, because Spark runs a worker a core."""
    engine_file(engine)
    if engine == "tensorflow":
        return _TensorFlowEngine(model)
    return _LiteRtEngine(model)


class _LiteRtEngine:
    # The activations of one image (a few MB) stay in a core's cache from layer to layer. Those of 32 images go through
    # the memory 52 times.
    inference_batch = 1

    def __init__(self, model: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._network = Interpreter(model_content=model, num_threads=1)
        self._network.allocate_tensors()
        (images,), (features,) = self._network.get_input_details(), self._network.get_output_details()
        self._images, self._features = images["index"], features["index"]
        self._shape = tuple(images["shape"])

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        if images.shape != self._shape:
            self._network.resize_tensor_input(self._images, images.shape)
            self._network.allocate_tensors()
            self._shape = images.shape
        self._network.set_tensor(self._images, images)
        self._network.invoke()
        return _checked(self._network.get_tensor(self._features), len(images))


class _TensorFlowEngine:
    inference_batch = 4

    def __init__(self, graph: bytes) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        definition = tf.compat.v1.GraphDef()
        definition.ParseFromString(graph)
        wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
        self._embed = wrapped.prune("images:0", "features:0")
        self._tensor = tf.constant

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return _checked(self._embed(self._tensor(images)).numpy(), len(images))


def _checked(features: object, n_images: int) -> NDArray[np.float32]:
    array = np.asarray(features, dtype=np.float32)
    if array.shape != (n_images, N_FEATURES):
        raise ValueError(
            f"The embedder gave {array.shape} for {n_images} images, expected ({n_images}, {N_FEATURES}): publish it "
            "again."
        )
    return array
