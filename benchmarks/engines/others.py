"""Runs the network in what a release does not offer, for comparison: in ONNX Runtime, in OpenVINO, and in int8.

`make bench` installs these libraries.
"""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from fruit_contract.tables import N_FEATURES
from fruit_features.embedding.preprocessing import decode_image, network_input
from fruit_features.embedding.resizing import IMAGE_SIDE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

# Understood by every ONNX Runtime since 1.12.
_OPSET: Final = 17

F32: Final = "f32"
BF16: Final = "bf16"

# Instructions that add products of 8-bit numbers without overflowing 16 bits.
_VNNI: Final = frozenset({"avx512_vnni", "avx_vnni"})
# The pooling and what follows stay f32; otherwise the features themselves would have only 256 levels.
_QUANTISED: Final = ("Conv", "Clip", "Add")


def has_others() -> bool:
    return all(find_spec(package) for package in ("onnx", "onnxruntime", "openvino", "tf2onnx"))


def cpu_has_bf16() -> bool:
    """Says whether OpenVINO would compute in bf16 on this CPU; elsewhere it takes the hint and computes in f32."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def cpu_has_vnni() -> bool:
    """Says whether 8-bit weights may use all 8 bits; False if that can't be told, as everywhere but on Linux on x86."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(not _VNNI.isdisjoint(line.split()) for line in text.splitlines() if line.startswith("flags"))


class OnnxRuntimeEngine:
    """Runs the ONNX model in ONNX Runtime."""

    inference_batch = 1

    def __init__(self, model: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._images = self._session.get_inputs()[0].name

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turns float32[n, 224, 224, 3] in [-1, 1] into float32[n, 1280]."""
        (features,) = self._session.run(None, {self._images: images})
        return np.asarray(features, dtype=np.float32)


class OpenVinoEngine:
    """Runs the ONNX model in OpenVINO, compiled for one batch size, which is faster than a size left open."""

    def __init__(self, model: bytes, inference_batch: int, *, precision: str = F32) -> None:
        import openvino

        self.inference_batch = inference_batch
        core = openvino.Core()
        network = core.read_model(model=model)
        network.reshape([inference_batch, IMAGE_SIDE, IMAGE_SIDE, 3])
        settings = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": precision,
            # With pinning, every process would put its thread on the same first core.
            "ENABLE_CPU_PINNING": False,
        }
        self._request = core.compile_model(network, "CPU", settings).create_infer_request()

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turns float32[inference_batch, 224, 224, 3] in [-1, 1] into float32[inference_batch, 1280]; the next call
        overwrites the result.
        """
        features = self._request.infer([images], share_inputs=True, share_outputs=True)[0]
        return np.asarray(features, dtype=np.float32).reshape(self.inference_batch, N_FEATURES)


def make_onnx(graph: Path, place: Path) -> None:
    """Writes TensorFlow's frozen graph as the ONNX file `place`, with batch normalisation folded into the
    convolutions.
    """
    import onnxruntime
    import tensorflow as tf
    import tf2onnx

    definition = tf.compat.v1.GraphDef.FromString(graph.read_bytes())
    model, _ = tf2onnx.convert.from_graph_def(
        definition, input_names=["images:0"], output_names=["features:0"], opset=_OPSET
    )
    options = onnxruntime.SessionOptions()
    # This level keeps to standard operators, which OpenVINO knows, too.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(place)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def make_int8(model: Path, images: Sequence[str], place: Path) -> None:
    """Writes the ONNX file `model` to `place` with int8 weights (one scale for each channel) and uint8 activations,
    calibrated on the images.

    The ranges of activations are the smallest and largest values seen (static QDQ quantisation). Without VNNI the
    weights get 7 bits, because sums of products of 8-bit numbers would overflow.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Calibration(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = _decoded(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"images:0": batch}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(place),
            Calibration(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTISED),
            per_channel=True,
            reduce_range=not cpu_has_vnni(),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def _decoded(paths: Sequence[str]) -> Iterator[NDArray[np.float32]]:
    """Yields one image at a time as float32[1, 224, 224, 3]."""
    for path in paths:
        yield network_input(decode_image(Path(path).read_bytes()).pixels[None])
