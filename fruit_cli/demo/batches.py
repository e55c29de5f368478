"""Makes the demo's image batches: fruit drawn or given and dealt over dates, with two broken files among them."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fruit_cli.demo.fruit.renderer import CATEGORIES, draw_jpeg
from fruit_cli.errors import CommandError
from fruit_cli.lake.delivery_plan import DeliveryPlan, PlannedImage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

TRUNCATED_NAME: Final = "broken_truncated.jpg"
NOT_AN_IMAGE_NAME: Final = "broken_not_an_image.jpg"
_NOT_AN_IMAGE: Final = b"This is a shopping list that somebody saved as a picture: apples, pears, plums.\n"
_START_OF_SCAN: Final = b"\xff\xda"
# The image that is cut off has this size, so that half of its pixels take many bytes.
_SMALL: Final = (256, 256)
_MOST_PIXELS: Final = 64_000_000
_NUMBERS: Final = re.compile(r"(\d+)")


@dataclass(frozen=True)
class BrokenFile:
    """Names a file that can't become features by the key under which it is delivered, and says what it is."""

    key: str
    what: str


def demo_dates(days: int, last: date) -> list[str]:
    """Returns `days` consecutive ingest dates, of which `last` is the last. Raises CommandError if the calendar does
    not go back so far.
    """
    if days >= last.toordinal():
        raise CommandError(f"There is no calendar for {days:,} days: choose fewer (DAYS=3).")
    return [(last - timedelta(days=back)).isoformat() for back in reversed(range(days))]


def draw_fruit_folder(folder: Path, images_per_category: int, drawn: Callable[[int], None]) -> None:
    """Draws a full turn of every fruit as <folder>/<category>/<number>_100.jpg, and calls `drawn` with 1 after each."""
    for category in CATEGORIES:
        (folder / category).mkdir(parents=True, exist_ok=True)
        for frame in range(images_per_category):
            (folder / category / f"{frame}_100.jpg").write_bytes(draw_jpeg(category, frame, images_per_category))
            drawn(1)


def deal(images: Sequence[PlannedImage], ingest_dates: Sequence[str]) -> dict[str, DeliveryPlan]:
    """Deals the images over the dates, each image once, in the order of their names, category by category like cards.

    A category with at least as many images as there are dates is in every batch; the first date of each category moves
    on by one, so that small categories don't all land on the first date. Raises CommandError if a date gets nothing.
    """
    by_category: dict[str, list[PlannedImage]] = defaultdict(list)
    for image in images:
        by_category[image.category].append(image)
    dealt: dict[str, list[PlannedImage]] = {ingest_date: [] for ingest_date in ingest_dates}
    for offset, category in enumerate(sorted(by_category)):
        for number, image in enumerate(sorted(by_category[category], key=_in_natural_order)):
            dealt[ingest_dates[(number + offset) % len(ingest_dates)]].append(image)
    if not all(dealt.values()):
        raise CommandError(
            f"{len(images)} images can't be dealt over {len(ingest_dates)} dates: choose fewer days, or more images."
        )
    return {ingest_date: DeliveryPlan(ingest_date, tuple(batch)) for ingest_date, batch in dealt.items()}


def with_broken_files(plans: dict[str, DeliveryPlan], folder: Path) -> tuple[dict[str, DeliveryPlan], list[BrokenFile]]:
    """Adds two broken files, kept in `folder`: a JPEG cut off in the middle to the first date, text named .jpg to the
    last. Returns the changed plans and the two files.

    They go to different categories if there are two. Raises CommandError if no image of the first date can be cut off.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dates = list(plans)
    first, last = plans[dates[0]], plans[dates[-1]]
    cut_of, cut_off = _cut_off(first)
    contents = [
        (
            dates[0],
            cut_of.category,
            TRUNCATED_NAME,
            cut_off,
            f"a cut-off copy of {cut_of.category}/{cut_of.file_name}",
        ),
        (
            dates[-1],
            max(last.categories, key=lambda category: (category != cut_of.category, category)),
            NOT_AN_IMAGE_NAME,
            _NOT_AN_IMAGE,
            "text",
        ),
    ]
    changed, broken = dict(plans), []
    for ingest_date, category, name, content, what in contents:
        path = folder / name
        path.write_bytes(content)
        plan = changed[ingest_date]
        image = PlannedImage(str(path), category, _free_name(plan, category, name), len(content))
        changed[ingest_date] = replace(plan, images=(*plan.images, image))
        broken.append(BrokenFile(plan.key_of(image), what))
    return changed, broken


def _cut_off(plan: DeliveryPlan) -> tuple[PlannedImage, bytes]:
    """Returns the first image that can be read, and a small JPEG of it that ends in the middle of its pixels. Raises
    CommandError if none can be read.
    """
    for image in plan.images:
        content = _small_jpeg(Path(image.path))
        if content:
            # Half of the pixels are kept, not half of the file: a file that is cut off in its header is no image at
            # all.
            pixels = content.index(_START_OF_SCAN)
            return image, content[: pixels + (len(content) - pixels) // 2]
    raise CommandError(
        f"'{plan.images[0].path}' can't be read as an image, nor can any other of the {len(plan.images):,} for "
        f"{plan.ingest_date}, or they have more than {_MOST_PIXELS // 10**6} megapixels. Take them out of the folder, "
        "or deliver it without the demo."
    )


def _small_jpeg(path: Path) -> bytes | None:
    """Returns the picture coded anew, so that nothing but its pixels is in it; None if it can't be read or is very
    large.
    """
    from PIL import Image

    stream = io.BytesIO()
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None
            image.draft("RGB", _SMALL)
            image.convert("RGB").resize(_SMALL).save(stream, "JPEG")
    except Exception:  # noqa: BLE001  # a decoder may fail on a camera's file in any way; another file will do
        return None
    return stream.getvalue()


def _free_name(plan: DeliveryPlan, category: str, name: str) -> str:
    taken = {image.file_name for image in plan.images if image.category == category}
    while name in taken:
        name = f"another_{name}"
    return name


def _in_natural_order(image: PlannedImage) -> tuple[tuple[object, ...], str]:
    """Returns a sort key that puts `2_100.jpg` before `10_100.jpg`. Every second part is a number, so like is compared
    with like.
    """
    parts = _NUMBERS.split(image.file_name)
    return tuple(int(part) if position % 2 else part for position, part in enumerate(parts)), image.file_name
