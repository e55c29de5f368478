from __future__ import annotations

import os
from pathlib import Path

import pytest

from fruit_cli.lake.delivery_plan import DeliveryRefusedError, files_named, plan_delivery
from fruit_cli.lake.litter import LeftOutKind
from fruit_contract.lake import LakeNameError, parse_image_key

DATE = "2026-11-22"


def names(folder: Path) -> list[str]:
    return [f"{image.category}/{image.file_name}" for image in plan_delivery(folder, DATE).images]


def test_plans_every_file_of_every_category_with_nested_names(fruit_folder: Path) -> None:
    assert names(fruit_folder) == [
        "Apple Red 1/0_100.jpg",
        "Apple Red 1/1_100.jpg",
        "Kiwi/2.jpg",
        "Kiwi/left/1.jpg",
        "Äpfel 50%/a#b?.jpg",
    ]


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


def test_leaves_out_hidden_files_and_system_litter_and_tells_them_by_kind(fruit_folder: Path) -> None:
    before = names(fruit_folder)
    for name in [
        *(".DS_Store", "Kiwi/.DS_Store", "Kiwi/left/._1.jpg", "Kiwi/.git/x.jpg", "Kiwi/.git/y.jpg"),
        *(
            "Kiwi/Thumbs.db",
            "Kiwi/Icon\r",
            "Kiwi/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg",
            "__MACOSX/Kiwi/._1.jpg",
            "Kiwi/2.jpg:Zone.Identifier",
        ),
        *("_old/1.jpg", "Kiwi/_old/1.jpg", "README.md", "_SUCCESS"),
    ]:
        path = fruit_folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    os.mkfifo(fruit_folder / "Kiwi" / "pipe")
    assert names(fruit_folder) == before
    plan = plan_delivery(fruit_folder, DATE)
    assert {found.kind: (found.count, found.examples) for found in plan.left_out} == {
        LeftOutKind.HIDDEN: (4, (".DS_Store", "Kiwi/.DS_Store", "Kiwi/.git/")),
        LeftOutKind.SYSTEM: (5, ("Kiwi/2.jpg:Zone.Identifier", "Kiwi/@eaDir/", "Kiwi/Icon\r")),
        LeftOutKind.UNDERSCORE: (2, ("Kiwi/_old/", "_old/")),
        LeftOutKind.BESIDE: (2, ("README.md", "_SUCCESS")),
        LeftOutKind.NO_FILE: (1, ("Kiwi/pipe",)),
    }
    assert str(plan.left_out[1]) == (
        r"5 left there by a system or a program: 'Kiwi/2.jpg:Zone.Identifier', 'Kiwi/@eaDir/', 'Kiwi/Icon\r', …"
    )


def test_names_that_cameras_begin_with_an_underscore_are_delivered(fruit_folder: Path) -> None:
    (fruit_folder / "Kiwi" / "_DSC0001.JPG").write_bytes(b"x")
    assert "Kiwi/_DSC0001.JPG" in names(fruit_folder)


def test_an_image_beside_the_categories_is_refused_though_its_name_begins_with_an_underscore(
    fruit_folder: Path,
) -> None:
    (fruit_folder / "_MG_0815.JPG").write_bytes(b"x")
    with pytest.raises(DeliveryRefusedError, match=r"no category folder.*'_MG_0815\.JPG'"):
        plan_delivery(fruit_folder, DATE)


def test_a_hidden_link_that_leads_nowhere_is_left_out(fruit_folder: Path) -> None:
    (fruit_folder / "Kiwi" / ".#1.jpg").symlink_to("somebody@somewhere.4711")
    (hidden,) = plan_delivery(fruit_folder, DATE).left_out
    assert (hidden.kind, hidden.count) == (LeftOutKind.HIDDEN, 1)


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


@pytest.mark.parametrize("category", ["two\nlines", "tab\there", "next line\x85", "é" * 124, "%" * 83])
def test_refuses_a_category_the_contract_does_not_allow_in_one_line(fruit_folder: Path, category: str) -> None:
    (fruit_folder / category).mkdir()
    with pytest.raises(DeliveryRefusedError, match=r"is not a category: .*Rename the folder '") as caught:
        plan_delivery(fruit_folder, DATE)
    assert str(caught.value).isprintable()


def test_refuses_all_bad_names_at_once_a_line_each_and_names_the_first_few(fruit_folder: Path) -> None:
    (fruit_folder / "tab\there").mkdir()
    for number in range(20):
        (fruit_folder / "Kiwi" / f"{number:02}\t.jpg").write_bytes(b"x")
    with pytest.raises(DeliveryRefusedError) as caught:
        plan_delivery(fruit_folder, DATE)
    lines = str(caught.value).split("\n")
    assert [
        repr(str(fruit_folder / "Kiwi" / f"{number:02}\t.jpg")) in line for number, line in enumerate(lines[:8])
    ] == [True] * 8
    assert lines[8:] == ["And 13 more like these."]


@pytest.mark.parametrize(
    "category", ["a, b", " Kiwi ", "Kiwi.", "CON", "-x", "‛", "a／b", "e\u0301", "\xe9", "x" * 246, "50%", "a\\b", "*?"]
)
def test_odd_names_are_categories_byte_for_byte(fruit_folder: Path, category: str) -> None:
    (fruit_folder / category).mkdir()
    (fruit_folder / category / f"{category[:100]} .jpg").write_bytes(b"x")
    assert f"{category}/{category[:100]} .jpg" in names(fruit_folder)


def test_says_which_categories_may_look_like_one_and_whose_images_lie_deeper(fruit_folder: Path) -> None:
    for name in ["e\u0301/1.jpg", "\xe9/1.jpg", "Citrus/Lemon/1.jpg"]:
        (fruit_folder / name).parent.mkdir(parents=True)
        (fruit_folder / name).write_bytes(b"x")
    assert plan_delivery(fruit_folder, DATE).notes == (
        "The images of 'Citrus' lie in deeper folders; the category is the outer one.",
        r"These are 2 categories, which may look like one: 'e\u0301', '\xe9'.",
    )


def test_what_can_not_be_read_is_named(fruit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(DeliveryRefusedError, match=r"'.*fruit' can't be read: Permission denied"):
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


def test_refuses_folders_nested_deeper_than_any_key(fruit_folder: Path) -> None:
    deepest = fruit_folder.joinpath(*["a"] * 600)
    deepest.mkdir(parents=True)
    with pytest.raises(DeliveryRefusedError, match="deeper than any key can name it"):
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
    with pytest.raises(
        DeliveryRefusedError, match=r"not like a category: deliver '.*/Training' itself; or say AS_IS=1"
    ):
        plan_delivery(tmp_path, DATE)
    assert plan_delivery(tmp_path, DATE, as_is=True).categories == ["Training"]


def test_names_some_of_the_folders_that_may_have_been_meant(tmp_path: Path) -> None:
    for name in ["train/Kiwi", "val/Kiwi", "test/Kiwi", "holdout/Kiwi"]:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.jpg").write_bytes(b"x")
    with pytest.raises(DeliveryRefusedError) as caught:
        plan_delivery(tmp_path, DATE)
    assert str(caught.value) == (
        "'holdout', 'test', 'train' and 1 more look like parts of a dataset, not like categories: deliver "
        f"'{tmp_path}/train' itself (or '{tmp_path}/holdout' or '{tmp_path}/test', …); or say AS_IS=1 (`--as-is`) to "
        "deliver each folder in it as a category."
    )


def test_says_how_images_are_laid_out_where_no_folder_of_categories_is_found(tmp_path: Path) -> None:
    for name in ["train/images/1.jpg", "train/labels/1.txt", "data.yaml"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(
        DeliveryRefusedError, match=r"'train' looks like .*Put the images of each category into a folder of its own"
    ):
        plan_delivery(tmp_path, DATE)


def test_a_folder_of_texts_beside_the_categories_shall_be_taken_out(fruit_folder: Path) -> None:
    (fruit_folder / "labels").mkdir()
    (fruit_folder / "labels" / "1.txt").write_bytes(b"x")
    with pytest.raises(
        DeliveryRefusedError, match=r"'labels' holds no pictures.*\)\. Take it out of the folder; or say AS_IS=1"
    ):
        plan_delivery(fruit_folder, DATE)
    assert "labels" in plan_delivery(fruit_folder, DATE, as_is=True).categories


def test_a_folder_of_texts_holds_no_categories(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "1.txt").write_bytes(b"x")
    with pytest.raises(
        DeliveryRefusedError, match=r"'labels' holds no pictures.*Name a folder that holds one folder a category"
    ):
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
