from __future__ import annotations

import io

import h5py
import numpy as np
import pytest

from fruit_cli.errors import CommandError
from fruit_cli.release.weights import mobilenet_v2_shapes, read_tensors, tensors_sha256


@pytest.fixture(scope="module")
def tensors():
    random = np.random.default_rng(1)
    return {name: random.standard_normal(shape).astype("<f4") for name, shape in mobilenet_v2_shapes().items()}


def keras_file(tensors, *, inside_a_model=False, rename=lambda layer: layer, with_top=False):
    """Returns a file as Keras 2 writes it: a group for each layer, tensors below the layer's name once more, and
    depthwise kernels under another name.
    """
    layers: dict[str, dict[str, np.ndarray]] = {"input_1": {}}
    for name, array in tensors.items():
        layer, _, tensor = name.partition("/")
        layers.setdefault(layer, {})["depthwise_kernel" if layer.endswith("depthwise") else tensor] = array
    if with_top:
        layers["Logits"] = {"kernel": np.zeros((1280, 1000), "<f4"), "bias": np.zeros(1000, "<f4")}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        root = file.create_group("model_weights") if inside_a_model else file
        root.attrs["layer_names"] = [rename(layer).encode() for layer in layers]
        for layer, arrays in layers.items():
            group = root.create_group(rename(layer))
            group.attrs["weight_names"] = [f"{rename(layer)}/{tensor}:0".encode() for tensor in arrays]
            for tensor, array in arrays.items():
                group[f"{rename(layer)}/{tensor}:0"] = array
    return buffer.getvalue()


def test_knows_the_260_tensors_of_mobilenet_v2():
    shapes = mobilenet_v2_shapes()
    assert len(shapes) == 260
    assert shapes["Conv1/kernel"] == (3, 3, 3, 32)
    assert shapes["expanded_conv_depthwise/kernel"] == (3, 3, 32, 1)
    assert shapes["block_16_project/kernel"] == (1, 1, 960, 320)
    assert shapes["Conv_1_bn/moving_variance"] == (1280,)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 2_257_984  # as Keras' summary() counts them


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inside_a_model": True},
        {"with_top": True},
        {"rename": "other_{}".format},
        {"rename": "other_{}".format, "with_top": True},
    ],
    ids=["weights", "model", "with top", "other layer names", "other layer names with top"],
)
def test_reads_the_same_tensors_from_every_form_of_keras_file(tensors, options):
    found = read_tensors(keras_file(tensors, **options), "weights.h5")
    assert list(found) == list(mobilenet_v2_shapes())
    assert all(np.array_equal(found[name], tensors[name]) for name in tensors)
    assert tensors_sha256(found) == tensors_sha256(tensors)


def test_the_digest_ignores_order_and_memory_layout_but_no_value(tensors):
    digest = tensors_sha256(tensors)
    reordered = {name: np.asfortranarray(tensors[name]) for name in reversed(tensors)}
    assert tensors_sha256(reordered) == digest
    changed = dict(tensors) | {"Conv1/kernel": np.nextafter(tensors["Conv1/kernel"], np.float32(9))}
    assert tensors_sha256(changed) != digest
    swapped = dict(tensors) | {"bn_Conv1/gamma": tensors["bn_Conv1/beta"], "bn_Conv1/beta": tensors["bn_Conv1/gamma"]}
    assert tensors_sha256(swapped) != digest


def test_refuses_a_file_that_is_not_hdf5():
    with pytest.raises(CommandError, match=r"notes\.txt is not a Keras HDF5 file"):
        read_tensors(b"some text", "notes.txt")


def test_refuses_hdf5_that_keras_did_not_write():
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["numbers"] = [1, 2, 3]
    with pytest.raises(CommandError, match="is not a Keras HDF5 file"):
        read_tensors(buffer.getvalue(), "numbers.h5")


def test_refuses_weights_of_another_width(tensors):
    wrong = {name: array[..., : array.shape[-1] // 2] for name, array in tensors.items()}
    with pytest.raises(
        CommandError,
        match=r"does not hold the weights of MobileNetV2 1.0/224: 260 of 260 tensors .* \(the first is Conv1/kernel\)",
    ):
        read_tensors(keras_file(wrong), "half.h5")


def test_refuses_weights_with_a_layer_missing(tensors):
    short = {name: array for name, array in tensors.items() if not name.startswith("Conv_1")}
    with pytest.raises(CommandError, match="5 of 260 tensors are missing"):
        read_tensors(keras_file(short), "short.h5")


def test_refuses_weights_that_are_not_finite(tensors):
    broken = dict(tensors) | {"bn_Conv1/gamma": np.full(32, np.nan, "<f4")}
    with pytest.raises(CommandError, match="not finite"):
        read_tensors(keras_file(broken), "nan.h5")
