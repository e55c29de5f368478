"""Prepares the images of a benchmark, drawn fruit of several sizes or a folder in Fruits-360 layout, and lays them into
a lake as image batches.
"""

from __future__ import annotations

import io
import math
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from PIL import Image

from fruit_cli.demo.fruit.renderer import CATEGORIES, draw_jpeg
from fruit_cli.lake.delivery_plan import PlannedImage, plan_delivery
from fruit_contract import lake

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")


@dataclass(frozen=True)
class ImageKind:
    """Describes drawn fruit as a camera gives it: enlarged to `size` (width, height), with the sensor's noise (standard
    deviation in grey levels).
    """

    described: str
    size: tuple[int, int]
    noise: float
    jpeg_quality: int


SMALL_PICTURES: Final = ImageKind("drawn fruit, 100x100 JPEG", (100, 100), 0, 90)
PICTURES: Final = ImageKind("drawn fruit, 348x348 JPEG", (348, 348), 2, 90)
# These have 2 to 4 MB each, as phones write them.
PHONE_PHOTOS: Final = ImageKind("drawn fruit as phone photos, 4000x3000 JPEG", (4000, 3000), 7, 92)

_NOISE_TILE: Final = 512


def spread(items: Sequence[Item], n: int) -> list[Item]:
    """Returns `n` of the items (all if there are fewer) in their order, evenly spaced, so that every category has its
    share.
    """
    n = min(n, len(items))
    return [items[number * len(items) // n] for number in range(n)]


def drawn_images(n: int, folder: Path, n_processes: int, kind: ImageKind = SMALL_PICTURES) -> list[PlannedImage]:
    """Draws `n` different pictures of the demo's fruit into `folder`."""
    frames = math.ceil(n / len(CATEGORIES))
    with ProcessPoolExecutor(n_processes) as pool:
        # Each task draws a whole category, whose texture is baked once for all its frames.
        list(pool.map(_draw_category, CATEGORIES, repeat(frames), repeat(folder), repeat(kind)))
    return spread(plan_delivery(folder, "2026-01-01").images, n)


def commented_copies(images: Sequence[PlannedImage], n_copies: int, folder: Path) -> list[PlannedImage]:
    """Writes each JPEG `n_copies` times into `folder`: the same picture, in files that differ because each holds
    another comment.
    """
    copies = []
    for image in images:
        content = Path(image.path).read_bytes()
        place = folder / image.category
        place.mkdir(parents=True, exist_ok=True)
        for number in range(n_copies):
            file_name = f"{number}_{image.file_name}"
            commented = with_comment(content, f"copy {number}")
            (place / file_name).write_bytes(commented)
            copies.append(PlannedImage(str(place / file_name), image.category, file_name, len(commented)))
    return copies


def with_comment(jpeg: bytes, comment: str) -> bytes:
    """Returns the JPEG with a comment, which decoders skip."""
    text = comment.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def given_images(n: int, data: Path, folder: Path, say: Callable[[str], None]) -> list[PlannedImage]:
    """Copies up to `n` readable images of `data` into `folder`.

    Raises DeliveryRefusedError if `data` is no folder of categories.
    """
    chosen = spread(plan_delivery(data, "2026-01-01").images, n)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        readable = list(pool.map(_is_readable, chosen))
    if not all(readable):
        say(f"{readable.count(False):,} files that can't be decoded are left out: the notebook way would stop at them.")
    kept = [image for image, is_readable in zip(chosen, readable, strict=True) if is_readable]
    return [_copied(image, folder) for image in kept]


def lay_batch(images: Sequence[PlannedImage], bucket_folder: Path, ingest_date: str) -> None:
    """Puts the images into the lake's folder as the complete image batch of `ingest_date`."""
    for image in images:
        place = bucket_folder / lake.image_key(ingest_date, image.category, image.file_name)
        place.parent.mkdir(parents=True, exist_ok=True)
        # A link is enough: the pictures lie in the same temporary home, and nothing writes to them.
        os.link(image.path, place)
    (bucket_folder / lake.success_marker_key(ingest_date)).touch()


def _draw_category(category: str, frames: int, folder: Path, kind: ImageKind) -> None:
    (folder / category).mkdir(parents=True)
    for frame in range(frames):
        drawn = draw_jpeg(category, frame, frames)
        content = drawn if kind == SMALL_PICTURES else enlarged(drawn, kind, seed=frame)
        (folder / category / f"{frame}_{kind.size[0]}.jpg").write_bytes(content)


def enlarged(drawn: bytes, kind: ImageKind, seed: int) -> bytes:
    """Returns a drawn picture as a JPEG of `kind`."""
    with Image.open(io.BytesIO(drawn)) as small:
        picture = np.asarray(small.resize(kind.size, Image.Resampling.BICUBIC), dtype=np.int16)
    height, width = picture.shape[:2]
    tile = np.random.default_rng(seed).normal(0, kind.noise, (_NOISE_TILE, _NOISE_TILE, 3)).astype(np.int16)
    noise = np.tile(tile, (math.ceil(height / _NOISE_TILE), math.ceil(width / _NOISE_TILE), 1))[:height, :width]
    stream = io.BytesIO()
    Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=kind.jpeg_quality)
    return stream.getvalue()


def _is_readable(image: PlannedImage) -> bool:
    from fruit_features.embedding.preprocessing import UnreadableImageError, decode_image

    try:
        decode_image(Path(image.path).read_bytes())
    except UnreadableImageError:
        return False
    return True


def _copied(image: PlannedImage, folder: Path) -> PlannedImage:
    place = folder / image.category / image.file_name
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image.path, place)
    return PlannedImage(str(place), image.category, image.file_name, image.size_bytes)
