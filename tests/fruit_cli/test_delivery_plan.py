from __future__ import annotations

import os
from pathlib import Path

import pytest

from fruit_cli.delivery_plan import DeliveryRefusedError, files_named, plan_delivery
from fruit_contract.lake import LakeNameError, parse_image_key

DATE = "2026-11-22"


def names(folder: Path) -> list[str]:
    return [f"{image.category}/{image.file_name}" for image in plan_delivery(folder, DATE).images]


def test_plans_every_file_of_every_category_with_nested_names(fruit_folder: Path) -> None:
    assert names(fruit_folder) == ["Apple Red 1/0_100.jpg", "Apple Red 1/1_100.jpg", "Kiwi/2.jpg", "Kiwi/left/1.jpg", "Äpfel 50%/a#b?.jpg"]


def test_every_planned_key_is_an_image_of_its_category_in_the_contract(fruit_folder: Path) -> None:
    plan = plan_delivery(fruit_folder, DATE)
    for image in plan.images:
        parsed = parse_image_key(plan.key_of(image))
        assert parsed is not None
        assert (parsed.ingest_date, parsed.category, parsed.file_name) == (DATE, image.category, image.file_name)


def test_knows_sizes_and_categories(fruit_folder: Path) -> None:
    plan = plan_delivery(fruit_folder, DATE)
    assert plan.total_bytes == len(b"apple 0apple 1oddkiwi 1")
    assert plan.categories == ["Apple Red 1", "Kiwi", "Äpfel 50%"]


def test_leaves_out_hidden_files_and_system_litter_and_counts_them(fruit_folder: Path) -> None:
    before = names(fruit_folder)
    for name in [".DS_Store", "Kiwi/.DS_Store", "Kiwi/_tmp.jpg", "Kiwi/Thumbs.db", "Kiwi/desktop.ini", "Kiwi/.git/x.jpg", "README.md"]:
        path = fruit_folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert names(fruit_folder) == before
    assert plan_delivery(fruit_folder, DATE).ignored_files == 7


def test_follows_links_to_files_and_folders(fruit_folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "p.jpg").write_bytes(b"pear")
    (fruit_folder / "Pear").symlink_to(elsewhere)
    (fruit_folder / "Kiwi" / "linked.jpg").symlink_to(elsewhere / "p.jpg")
    assert {"Pear/p.jpg", "Kiwi/linked.jpg"} <= set(names(fruit_folder))


def test_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefusedError, match="There is no folder"):
        plan_delivery(tmp_path / "nowhere", DATE)


def test_refuses_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(DeliveryRefusedError, match="There is no folder"):
        plan_delivery(tmp_path / "a.jpg", DATE)


def test_refuses_a_folder_without_categories(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefusedError, match="holds no images"):
        plan_delivery(tmp_path, DATE)


def test_refuses_categories_without_images(tmp_path: Path) -> None:
    (tmp_path / "Kiwi").mkdir()
    with pytest.raises(DeliveryRefusedError, match="holds no images"):
        plan_delivery(tmp_path, DATE)


def test_refuses_images_outside_the_categories_and_says_where_they_belong(fruit_folder: Path) -> None:
    (fruit_folder / "lost.JPG").write_bytes(b"x")
    with pytest.raises(DeliveryRefusedError, match=r"no category folder.*'lost.JPG'.*/Kiwi/lost.JPG"):
        plan_delivery(fruit_folder, DATE)


@pytest.mark.parametrize("category", ["two\nlines"])
def test_refuses_a_category_the_contract_does_not_allow(fruit_folder: Path, category: str) -> None:
    (fruit_folder / category).mkdir()
    with pytest.raises(DeliveryRefusedError, match="is not a category"):
        plan_delivery(fruit_folder, DATE)


@pytest.mark.parametrize("ingest_date", ["22.11.2026", "2026-02-30", "", "2026-11-22T00:00"])
def test_refuses_a_date_that_is_no_calendar_day(fruit_folder: Path, ingest_date: str) -> None:
    with pytest.raises(LakeNameError, match="write a calendar day as yyyy-mm-dd"):
        plan_delivery(fruit_folder, ingest_date)


def test_refuses_links_that_go_round_in_a_circle(fruit_folder: Path) -> None:
    (fruit_folder / "Kiwi" / "again").symlink_to(fruit_folder / "Kiwi")
    with pytest.raises(DeliveryRefusedError, match="links back to a folder it lies in"):
        plan_delivery(fruit_folder, DATE)


def test_refuses_a_category_that_links_to_the_folder_itself(fruit_folder: Path) -> None:
    (fruit_folder / "Self").symlink_to(fruit_folder)
    with pytest.raises(DeliveryRefusedError, match="links back to a folder it lies in"):
        plan_delivery(fruit_folder, DATE)


@pytest.mark.parametrize("target", ["nowhere.jpg", "broken.jpg"])
def test_refuses_a_link_that_leads_nowhere(fruit_folder: Path, target: str) -> None:
    (fruit_folder / "Kiwi" / "broken.jpg").symlink_to(fruit_folder / "Kiwi" / target)
    with pytest.raises(DeliveryRefusedError, match=r"broken\.jpg"):
        plan_delivery(fruit_folder, DATE)


def test_refuses_a_file_name_that_is_not_utf8(fruit_folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(fruit_folder / "Kiwi") + b"/caf\xe9.jpg")).write_bytes(b"x")
    with pytest.raises(DeliveryRefusedError, match=r"caf\\xe9.*not UTF-8"):
        plan_delivery(fruit_folder, DATE)


def test_refuses_a_category_name_that_is_not_utf8(fruit_folder: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(fruit_folder) + b"/\xc4pfel"))
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"x")
    with pytest.raises(DeliveryRefusedError, match="not UTF-8"):
        plan_delivery(fruit_folder, DATE)


def test_refuses_control_characters_in_a_file_name(fruit_folder: Path) -> None:
    (fruit_folder / "Kiwi" / "a\nb.jpg").write_bytes(b"x")
    with pytest.raises(DeliveryRefusedError, match="control character"):
        plan_delivery(fruit_folder, DATE)


def test_refuses_a_key_longer_than_s3_allows(fruit_folder: Path) -> None:
    folder = fruit_folder / "Kiwi"
    for _ in range(5):
        folder /= "x" * 240
    folder.mkdir(parents=True)
    (folder / "1.jpg").write_bytes(b"x")
    with pytest.raises(DeliveryRefusedError, match="more than 1024 bytes"):
        plan_delivery(fruit_folder, DATE)


def test_refuses_the_root_of_fruits_360_and_names_the_folder_to_deliver(tmp_path: Path) -> None:
    (tmp_path / "Training" / "Kiwi").mkdir(parents=True)
    (tmp_path / "Training" / "Kiwi" / "0_100.jpg").write_bytes(b"x")
    with pytest.raises(DeliveryRefusedError, match=r"not like a category: deliver '.*/Training'"):
        plan_delivery(tmp_path, DATE)


def test_takes_a_manifest_along(fruit_folder: Path) -> None:
    (fruit_folder / "_manifest.csv").write_text("file,subject_id\nKiwi/2.jpg,s-17\n", encoding="utf-8")
    plan = plan_delivery(fruit_folder, DATE)
    assert plan.manifest == fruit_folder / "_manifest.csv"
    assert len(plan.images) == 5


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"subject_id,file\nx,y\n",
        b"\xef\xbb\xbffile,subject_id\nKiwi/2.jpg,s\n",
        b"file,subject_id\nKiwi/2.jpg\n",
        b"file,subject_id\nKiwi/2.jpg,\n",
        b"file,subject_id\ncaf\xe9.jpg,s\n",
    ],
    ids=["empty", "columns swapped", "byte order mark", "row too short", "no subject", "latin-1"],
)
def test_refuses_a_manifest_that_is_not_the_contracts(fruit_folder: Path, content: bytes) -> None:
    (fruit_folder / "_manifest.csv").write_bytes(content)
    with pytest.raises(DeliveryRefusedError, match=r"_manifest\.csv"):
        plan_delivery(fruit_folder, DATE)


def test_reads_the_files_a_manifest_names() -> None:
    assert files_named(b'file,subject_id\n"Kiwi/a, b.jpg",s1\nKiwi/2.jpg,s2\n') == {"Kiwi/a, b.jpg", "Kiwi/2.jpg"}
