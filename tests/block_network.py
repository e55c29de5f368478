"""Makes small networks with the embedder's input and output, as LiteRT models. TensorFlow, which makes the real
network, takes long to import.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from fruit_features.embedding.resizing import IMAGE_SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FILE_IDENTIFIER = b"TFL3"
_MODEL_VERSION = 3


def block_network(weights: NDArray[np.float32]) -> bytes:
    """Returns a network that multiplies the means of an image's square blocks with `weights`, [blocks * 3, outputs],
    and cuts the products off below zero.
    """
    n_inputs, n_outputs = weights.shape
    n_blocks = isqrt(n_inputs // 3)
    block = IMAGE_SIDE // n_blocks
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor("images", [1, IMAGE_SIDE, IMAGE_SIDE, 3]),
        _tensor("row_means", [1, IMAGE_SIDE, n_blocks, 3]),
        _tensor("means", [1, n_blocks, n_blocks, 3]),
        _tensor("weights", [n_outputs, n_inputs], buffer=1),
        _tensor("features", [1, n_outputs]),
    ]
    # Means of means, for float32 rounds less in two short sums than in a long one.
    graph.operators = [
        _operator(0, schema.BuiltinOptions.Pool2DOptions, _mean_of(1, block), [0], [1]),
        _operator(0, schema.BuiltinOptions.Pool2DOptions, _mean_of(block, 1), [1], [2]),
        _operator(1, schema.BuiltinOptions.FullyConnectedOptions, _with_relu(), [2, 3, -1], [4]),
    ]
    graph.inputs, graph.outputs = [0], [4]
    model = schema.ModelT()
    model.version = _MODEL_VERSION
    model.operatorCodes = [_code(schema.BuiltinOperator.AVERAGE_POOL_2D), _code(schema.BuiltinOperator.FULLY_CONNECTED)]
    model.subgraphs = [graph]
    # The first buffer is that of all tensors that have none.
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(np.ascontiguousarray(weights.T, dtype="<f4").tobytes(), np.uint8)
    builder = flatbuffers.Builder(weights.nbytes + 4096)
    builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
    return bytes(builder.Output())


def _tensor(name: str, shape: Sequence[int], buffer: int = 0) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, schema.TensorType.FLOAT32, buffer
    return tensor


def _operator(code: int, kind: int, options: Any, inputs: Sequence[int], outputs: Sequence[int]) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator


def _mean_of(rows: int, columns: int) -> Any:
    options = schema.Pool2DOptionsT()
    options.padding = schema.Padding.VALID
    options.filterHeight = options.strideH = rows
    options.filterWidth = options.strideW = columns
    return options


def _with_relu() -> Any:
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    return options


def _code(operator: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = operator
    code.version = 1
    return code
