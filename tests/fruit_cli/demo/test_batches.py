from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from datetime import date
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fruit_cli.demo.batches import (
    NOT_AN_IMAGE_NAME,
    TRUNCATED_NAME,
    deal,
    demo_dates,
    draw_fruit_folder,
    with_broken_files,
)
from fruit_cli.demo.fruit.renderer import CATEGORIES
from fruit_cli.errors import CommandError
from fruit_cli.lake.delivery_plan import PlannedImage, plan_delivery

if TYPE_CHECKING:
    from pathlib import Path

    from fruit_cli.lake.delivery_plan import DeliveryPlan


def images_of(counts: dict[str, int]) -> list[PlannedImage]:
    return [
        PlannedImage(f"/x/{category}/{number}.jpg", category, f"{number}.jpg", 10)
        for category, count in counts.items()
        for number in range(count)
    ]


counts_by_category = st.dictionaries(
    st.text("abcÄ 1", min_size=1, max_size=4), st.integers(1, 30), min_size=1, max_size=6
)


@given(counts_by_category, st.integers(1, 9))
def test_deals_every_image_exactly_once(counts: dict[str, int], days: int) -> None:
    images, dates = images_of(counts), demo_dates(days, date(2026, 11, 22))
    try:
        plans = deal(images, dates)
    except CommandError:
        assert max(counts.values()) < days
        return
    assert list(plans) == dates
    assert all(plan.ingest_date == ingest_date for ingest_date, plan in plans.items())
    dealt = [(image.category, image.file_name) for plan in plans.values() for image in plan.images]
    assert Counter(dealt) == Counter((image.category, image.file_name) for image in images)


@given(counts_by_category, st.integers(1, 9))
def test_deals_each_category_evenly(counts: dict[str, int], days: int) -> None:
    biggest = {category: count + days for category, count in counts.items()}
    plans = deal(images_of(biggest), demo_dates(days, date(2026, 11, 22)))
    for category in biggest:
        shares = [sum(image.category == category for image in plan.images) for plan in plans.values()]
        assert max(shares) - min(shares) <= 1
        assert min(shares) >= 1


def test_deals_in_the_order_of_the_numbers_in_the_names() -> None:
    plans = deal(images_of({"Kiwi": 12}), demo_dates(12, date(2026, 11, 22)))
    assert [plan.images[0].file_name for plan in plans.values()] == [f"{number}.jpg" for number in range(12)]


def test_refuses_more_days_than_images() -> None:
    with pytest.raises(CommandError, match="2 images can't be dealt over 3 dates"):
        deal(images_of({"Kiwi": 2}), demo_dates(3, date(2026, 11, 22)))


def test_dates_end_today() -> None:
    assert demo_dates(3, date(2026, 3, 1)) == ["2026-02-27", "2026-02-28", "2026-03-01"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_fruit_folder(folder, 2, lambda _: None)
    return folder


def broken_plans(folder: Path, scratch: Path, days: int) -> tuple[dict[str, DeliveryPlan], list[str]]:
    dates = demo_dates(days, date(2026, 11, 22))
    plans, broken = with_broken_files(deal(plan_delivery(folder, dates[0]).images, dates), scratch)
    return plans, [file.key for file in broken]


@pytest.mark.slow
def test_draws_a_folder_that_can_be_delivered(drawn: Path) -> None:
    plan = plan_delivery(drawn, "2026-11-22")
    assert plan.categories == sorted(CATEGORIES)
    assert len(plan.images) == 2 * len(CATEGORIES)


def test_breaks_one_file_of_the_first_date_and_one_of_the_last(drawn: Path, tmp_path: Path) -> None:
    plans, keys = broken_plans(drawn, tmp_path, 2)
    first, last = plans.values()
    assert keys == [
        f"raw/ingest_date=2026-11-21/Apple Red 1/{TRUNCATED_NAME}",
        f"raw/ingest_date=2026-11-22/Watermelon/{NOT_AN_IMAGE_NAME}",
    ]
    assert [plan.key_of(plan.images[-1]) for plan in (first, last)] == keys
    assert sum(len(plan.images) for plan in plans.values()) == 2 * len(CATEGORIES) + 2


def test_broken_files_are_really_broken(drawn: Path, tmp_path: Path) -> None:
    plans, _ = broken_plans(drawn, tmp_path, 2)
    truncated, text = (plan.images[-1].path for plan in plans.values())
    with Image.open(truncated) as image, pytest.raises(OSError, match="truncated"):
        image.load()
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(text)


def test_breaks_two_files_on_a_single_date(drawn: Path, tmp_path: Path) -> None:
    plans, keys = broken_plans(drawn, tmp_path, 1)
    (plan,) = plans.values()
    assert [plan.key_of(image) for image in plan.images[-2:]] == keys
    assert plan.images[-1].category != plan.images[-2].category


def test_breaks_a_copy_of_an_image_that_is_no_jpeg(tmp_path: Path) -> None:
    (tmp_path / "fruit" / "Kiwi").mkdir(parents=True)
    Image.new("RGBA", (64, 64), "green").save(tmp_path / "fruit" / "Kiwi" / "1.png")
    plans, _ = broken_plans(tmp_path / "fruit", tmp_path / "broken", 1)
    truncated = next(image for plan in plans.values() for image in plan.images if image.file_name == TRUNCATED_NAME)
    with Image.open(truncated.path) as image, pytest.raises(OSError, match="truncated"):
        image.load()


def test_gives_way_to_a_file_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "fruit" / "Kiwi").mkdir(parents=True)
    Image.new("RGB", (64, 64), "green").save(tmp_path / "fruit" / "Kiwi" / TRUNCATED_NAME)
    plans, keys = broken_plans(tmp_path / "fruit", tmp_path / "broken", 1)
    assert keys[0].endswith(f"/Kiwi/another_{TRUNCATED_NAME}")
    names = [image.file_name for plan in plans.values() for image in plan.images]
    assert len(set(names)) == len(names) == 3


def jpeg(colour: str = "green", size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "JPEG", **options)
    return stream.getvalue()


CAMERA_FILES = {
    "a film behind the picture": jpeg() + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 400,
    "a gain map behind the picture (Ultra HDR)": jpeg(size=(640, 480)) + jpeg(size=(320, 240)),
    "a thumbnail before the picture": jpeg(exif=b"Exif\0\0" + jpeg("red")),
    "a progressive picture": jpeg(size=(640, 480), progressive=True),
    "a picture of one pixel": jpeg(size=(1, 1)),
}


@pytest.mark.parametrize("content", CAMERA_FILES.values(), ids=CAMERA_FILES)
def test_the_copy_of_a_cameras_file_is_really_broken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fruit" / "Kiwi").mkdir(parents=True)
    (tmp_path / "fruit" / "Kiwi" / "1.jpg").write_bytes(content)
    assert_one_is_cut_off(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image", jpeg()[:300], b"\x89PNG\r\n\x1a\n" + bytes(64)])
def test_what_cannot_be_read_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fruit" / "Kiwi").mkdir(parents=True)
    (tmp_path / "fruit" / "Kiwi" / "1.jpg").write_bytes(content)
    (tmp_path / "fruit" / "Kiwi" / "2.jpg").write_bytes(jpeg())
    assert_one_is_cut_off(tmp_path)


@pytest.mark.parametrize("size", [(9000, 8000), (30_000, 30_000)])
def test_what_is_very_large_is_passed_over(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "fruit" / "Kiwi").mkdir(parents=True)
    header = b"IHDR" + struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "fruit" / "Kiwi" / "1.png").write_bytes(png)
    (tmp_path / "fruit" / "Kiwi" / "2.jpg").write_bytes(jpeg())
    assert_one_is_cut_off(tmp_path)


def assert_one_is_cut_off(folder: Path) -> None:
    plans, _ = broken_plans(folder / "fruit", folder / "broken", 1)
    truncated = next(image for plan in plans.values() for image in plan.images if image.file_name == TRUNCATED_NAME)
    with Image.open(truncated.path) as image, pytest.raises(OSError, match="truncated"):
        image.load()


def test_says_which_file_can_not_be_used(tmp_path: Path) -> None:
    (tmp_path / "fruit" / "Kiwi").mkdir(parents=True)
    (tmp_path / "fruit" / "Kiwi" / "1.jpg").write_bytes(b"no image")
    with pytest.raises(CommandError, match=r"Kiwi/1\.jpg' can't be read as an image"):
        broken_plans(tmp_path / "fruit", tmp_path / "broken", 1)
