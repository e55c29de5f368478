"""Names MobileNetV2's 260 tensors, reads them from a Keras file, and computes the digest that is their identity."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fruit_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from h5py import File
    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[np.float32]]
    Shape = tuple[int, ...]

# Expansion, output channels and repeats of each group of blocks (Sandler et al. 2018, table 2).
_BLOCK_GROUPS: Final = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
_BATCH_NORM_TENSORS: Final = ("gamma", "beta", "moving_mean", "moving_variance")


def mobilenet_v2_shapes() -> dict[str, Shape]:
    """Returns the shape of every tensor of Keras' MobileNetV2 (alpha 1.0, no top) by name, in Keras' own order:
    `Conv1/kernel` is (3, 3, 3, 32).
    """
    return {f"{layer}/{tensor}": shape for layer, tensors in _layers() for tensor, shape in tensors.items()}


def read_tensors(content: bytes, name: str) -> Tensors:
    """Returns the 260 tensors of a Keras HDF5 file by name. The file is a model or only its weights, with or without a
    top.

    Layers are found by name; a file that names them otherwise is read in its own order, as Keras does.

    Raises:
        CommandError: the file is not HDF5, or the tensors of MobileNetV2 1.0/224 are not in it. The message calls it
            `name`.
    """
    import h5py  # loads a native library that the other commands don't need

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            stored = _stored_layers(file)
    except (OSError, KeyError) as error:
        raise CommandError(
            f"{name} is not a Keras HDF5 file with weights ({error}). Give MobileNetV2's .h5 file as Keras publishes "
            "it."
        ) from error
    layers = _layers()
    named_alike = all(layer in stored for layer, _ in layers)
    chosen = [stored[layer] for layer, _ in layers] if named_alike else list(stored.values())
    tensors = {
        f"{layer}/{tensor}": np.ascontiguousarray(found[tensor], dtype="<f4")
        for (layer, wanted), found in zip(layers, chosen, strict=False)
        for tensor in wanted
        if tensor in found
    }
    _check_shapes(tensors, name)
    return tensors


def tensors_sha256(tensors: Mapping[str, NDArray[np.float32]]) -> str:
    """Returns the SHA-256 over name, dtype, shape and little-endian bytes of every tensor, sorted by name.

    The same weights give the same digest, whatever file they came in.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name], dtype="<f4")
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def require_digest(found: str, expected: str, named: str) -> None:
    """Raises CommandError unless the digest of the weights called `named` is that of the default weights."""
    if found != expected:
        raise CommandError(
            f"{named} holds other tensors (digest {found[:12]}) than the ImageNet weights that are taken when none are "
            f"named ({expected[:12]}). Nothing was published. If a copy of these weights was altered or damaged, "
            "remove it and try again. To publish weights of your own, name them: `make publish WEIGHTS=<file or s3:// "
            "address>`."
        )


def _layers() -> list[tuple[str, dict[str, Shape]]]:
    """Returns every layer that has weights, with its tensors' shapes, in Keras' order."""
    layers = [*_convolution("Conv1", "bn_Conv1", (3, 3, 3, 32))]
    channels, number = 32, 0
    for expansion, output_channels, repeats in _BLOCK_GROUPS:
        for _ in range(repeats):
            block = f"block_{number}" if number else "expanded_conv"
            expanded = channels * expansion
            if number:
                layers += _convolution(f"{block}_expand", f"{block}_expand_BN", (1, 1, channels, expanded))
            layers += _convolution(
                f"{block}_depthwise", f"{block}_depthwise_BN", (3, 3, expanded, 1), output_channels=expanded
            )
            layers += _convolution(f"{block}_project", f"{block}_project_BN", (1, 1, expanded, output_channels))
            channels, number = output_channels, number + 1
    return [*layers, *_convolution("Conv_1", "Conv_1_bn", (1, 1, channels, 1280))]


def _convolution(
    layer: str, batch_norm: str, kernel: Shape, output_channels: int | None = None
) -> Iterator[tuple[str, dict[str, Shape]]]:
    yield layer, {"kernel": kernel}
    yield batch_norm, dict.fromkeys(_BATCH_NORM_TENSORS, (output_channels or kernel[-1],))


def _stored_layers(file: File) -> dict[str, dict[str, NDArray[Any]]]:
    """Returns the values by tensor of each layer that has weights, by layer, in the file's order."""
    root = file.get("model_weights", file)
    stored = {}
    for layer in map(_text, root.attrs["layer_names"]):
        group = root[layer]
        tensors = {_tensor_name(_text(path)): group[_text(path)][()] for path in group.attrs["weight_names"]}
        if tensors:
            stored[layer] = tensors
    return stored


def _tensor_name(path: str) -> str:
    """Returns a tensor's name in Keras 3, such as `kernel` for Keras 2's `block_1_depthwise/depthwise_kernel:0`."""
    name = path.rpartition("/")[2].partition(":")[0]
    return "kernel" if name == "depthwise_kernel" else name


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _check_shapes(tensors: Mapping[str, NDArray[np.float32]], name: str) -> None:
    expected = mobilenet_v2_shapes()
    wrong = [tensor for tensor, shape in expected.items() if tensor not in tensors or tensors[tensor].shape != shape]
    if wrong:
        raise CommandError(
            f"{name} does not hold the weights of MobileNetV2 1.0/224: {len(wrong)} of {len(expected)} tensors are "
            "missing "
            f"or have another shape (the first is {wrong[0]}). Give the file for alpha 1.0, with or without the top."
        )
    if any(not np.isfinite(array).all() for array in tensors.values()):
        raise CommandError(f"{name} holds weights that are not finite numbers: the file is damaged. Fetch it again.")
