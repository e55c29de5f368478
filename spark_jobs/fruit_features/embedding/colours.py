"""Turns any decoded picture into RGB: puts transparent ones over white, and keeps the highest 8 bits of deep levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fruit_features.embedding.containers.container import Container

    _Box = tuple[int, int, int, int]

_STRIP_PIXELS: Final = 1_000_000
# Pictures of floating-point numbers do not say which level is white.
_FLOAT_WHITES: Final = (1.0, 255.0, 65535.0)


def to_rgb(image: Image.Image, container: Container, low_bytes: Image.Image | None = None) -> Image.Image:
    """Returns the picture as RGB.

    Grey levels of 9 to 16 bits become their highest 8 bits. Grey levels of 32 bits are taken as 8, 16 or 32 bits deep,
    whatever the largest of them needs. Floats reach from black at 0 to white at 1, 255 or 65,535, whichever the largest
    fits. `low_bytes` has the low bytes of a picture with 16 bits a channel.
    """
    if image.mode.startswith("I"):
        return _by_strips(image, _grey_of_numbers(image, container))
    if image.mode == "F":
        return _by_strips(image, _grey_of_floats(image, container))
    if container.key:
        return _by_strips(
            image, lambda strip, box: _without_key(strip, None if low_bytes is None else low_bytes.crop(box), container)
        )
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        # The fourth byte is there for the alignment only, and other readers ignore it, too.
        return image.convert("RGB")
    if image.has_transparency_data:
        return _by_strips(image, lambda strip, _: _over_white(strip))
    return image.convert("RGB")


def _strips(image: Image.Image) -> Iterator[_Box]:
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _by_strips(image: Image.Image, convert: Callable[[Image.Image, _Box], Image.Image]) -> Image.Image:
    """Converts a picture to RGB a few rows at a time, so that a conversion needs little memory beside the picture."""
    result = Image.new("RGB", image.size)
    for box in _strips(image):
        strip = image.crop(box)
        strip.info = image.info
        result.paste(convert(strip, box).convert("RGB"), box)
    return result


def _grey_of_numbers(image: Image.Image, container: Container) -> Callable[[Image.Image, _Box], Image.Image]:
    """Returns the conversion of whole numbers to grey. Pillow gives them as unsigned 16 bits or as signed 32 bits."""

    def levels(strip: Image.Image) -> NDArray[np.integer[Any]]:
        numbers = np.asarray(strip)
        return numbers.view(np.uint32) if container.bits == 32 and not container.signed else np.maximum(numbers, 0)

    depth = container.bits if 8 < container.bits < 16 else 16
    # Pillow stretches those of a PGM to 16 bits.
    if image.mode == "I" and image.format != "PPM":
        largest = max(int(levels(image.crop(box)).max()) for box in _strips(image))
        # Files of 32 bits mostly hold levels of 16 bits, and sometimes of 8.
        depth = next((depth for depth in (8, 16) if largest < 1 << depth), 32)
    # A sign takes one bit.
    shift = depth - 8 - int(container.signed and depth == container.bits)

    def convert(strip: Image.Image, _: _Box) -> Image.Image:
        found = levels(strip)
        grey = np.minimum(found >> shift, 255).astype(np.uint8)
        if container.white_is_zero:
            grey = ~grey
        if container.key:
            grey[found == container.key[0]] = 255
        return Image.fromarray(grey)

    return convert


def _grey_of_floats(image: Image.Image, container: Container) -> Callable[[Image.Image, _Box], Image.Image]:
    def levels(strip: Image.Image, infinity: float) -> NDArray[np.float32]:
        return np.maximum(np.nan_to_num(np.asarray(strip), posinf=infinity, neginf=0), 0)

    largest = max(float(levels(image.crop(box), 0).max()) for box in _strips(image))
    white = next((white for white in _FLOAT_WHITES if largest <= white), largest)

    def convert(strip: Image.Image, _: _Box) -> Image.Image:
        grey = (levels(strip, white) * np.float32(255 / white)).astype(np.uint8)
        return Image.fromarray(~grey if container.white_is_zero else grey)

    return convert


def _without_key(strip: Image.Image, low_bytes: Image.Image | None, container: Container) -> Image.Image:
    """Returns a strip as RGB in which pixels of the transparent colour are white."""
    levels = np.asarray(strip.convert("L") if strip.mode == "1" else strip).reshape(strip.height, strip.width, -1)
    high = [level >> 8 for level in container.key] if container.bits == 16 else container.key
    matches = (levels == high).all(axis=-1)
    if low_bytes is not None:
        matches &= (np.asarray(low_bytes) == [level & 255 for level in container.key]).all(axis=-1)
    pixels = np.array(strip.convert("RGB"))
    pixels[matches] = 255
    return Image.fromarray(pixels)


def _over_white(strip: Image.Image) -> Image.Image:
    layer = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
