"""Stretches a picture to the side that the network takes, with the pixels of Pillow's BICUBIC.

A release holds `resizing.c` as machine code for the processors of its nodes, which takes a fraction of Pillow's time.
Where there is none, where it can't run, and for the few pictures that it is not made for, Pillow does it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Resize = Callable[[Image.Image], NDArray[np.uint8]]

IMAGE_SIDE: Final = 224
# It goes through 32 bytes of a row at a time, and copies the whole picture twice.
_LEAST_SIDE: Final = 11
_MOST_PIXELS: Final = 4_000_000
# The code is tried with pictures of these sizes before it is trusted. It takes the rows of the second one first.
_TRIALS: Final = ((97, 83), (250, 340))


def resize(image: Image.Image) -> NDArray[np.uint8]:
    """Returns an RGB picture stretched to the network's side, as uint8[224, 224, 3]."""
    by_code = _by_machine_code()
    if by_code is None or min(image.size) < _LEAST_SIDE or image.width * image.height > _MOST_PIXELS:
        return by_pillow(image)
    return by_code(image)


def by_pillow(image: Image.Image) -> NDArray[np.uint8]:
    """Does what `resize` does, wherever Pillow runs."""
    return np.asarray(image.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC), dtype=np.uint8)


def code_name(machine: str) -> str:
    """Returns the name of the machine code's file, beside this one, for a processor as `platform.machine` names it.

    Python would take a file that ends in `.so` for a module.
    """
    return f"resizing-{machine}.elf"


def load_code(code: bytes) -> Resize:
    """Returns what `resize` calls for most pictures: both sides must be 11 or more. Raises OSError if this machine
    can't load the code.
    """
    # A zip has no path that could be loaded.
    descriptor = os.memfd_create("fruits-resizing")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(code)
        library = ctypes.CDLL(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    library.fruits_scratch_bytes.argtypes = [ctypes.c_int, ctypes.c_int]
    library.fruits_scratch_bytes.restype = ctypes.c_int64
    library.fruits_resize.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    library.fruits_resize.restype = None

    def by_code(image: Image.Image) -> NDArray[np.uint8]:
        pixels = np.ascontiguousarray(image, dtype=np.uint8)
        height, width, _ = pixels.shape
        scratch = np.empty(library.fruits_scratch_bytes(width, height), np.uint8)
        small = np.empty((IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8)
        library.fruits_resize(pixels.ctypes.data, width, height, scratch.ctypes.data, small.ctypes.data)
        return small

    return by_code


@cache
def _by_machine_code() -> Resize | None:
    """Returns the release's machine code, if this machine can run it and it gives Pillow's pixels."""
    if sys.platform != "linux" or not _has_instructions():
        return None
    code = files(__package__) / code_name(platform.machine())
    if not code.is_file():
        return None
    try:
        by_code = load_code(code.read_bytes())
    except OSError as error:
        print(f"Pictures are resized by Pillow, which takes longer: {error}", flush=True)
        return None
    for size in _TRIALS:
        picture = _trial_picture(*size)
        if not np.array_equal(by_code(picture), by_pillow(picture)):
            print(f"Pictures are resized by Pillow, which takes longer: {code.name} gives other pixels.", flush=True)
            return None
    return by_code


def _has_instructions() -> bool:
    """Returns whether the processor has the instructions that the code for its kind takes for granted."""
    if platform.machine() != "x86_64":
        return True
    try:
        return " avx2 " in Path("/proc/cpuinfo").read_text(encoding="utf-8").replace("\n", " ")
    except OSError:
        return False


def _trial_picture(width: int, height: int) -> Image.Image:
    numbers = np.arange(height * width * 3, dtype=np.uint32) * np.uint32(2_654_435_761)
    return Image.fromarray((numbers >> 24).astype(np.uint8).reshape(height, width, 3))
