from __future__ import annotations

import pytest

from fruit_cli.lake.folder_shape import listed, shape_of


def misfit_of(*paths: str) -> tuple[str, tuple[str, ...]] | None:
    files = ((category, name) for category, _, name in (path.partition("/") for path in paths))
    found = shape_of(files).misfit()
    return (found.why, found.meant) if found else None


@pytest.mark.parametrize(
    "paths",
    [
        ["Kiwi/1.jpg", "Lemon/1.jpg"],
        ["Kiwi/1.jpg", "Kiwi/left/2.jpg", "Lemon/1.jpg"],
        ["Kiwi/1.jpg", "Citrus/Lemon/1.jpg"],
        ["Kiwi/0001", "007/0001"],
        ["Kiwi/1.jpg", "Kiwi/1.txt"],
        ["Kiwi/1.jpg", "test/1.jpg"],
        ["Kiwi/1.jpg", "images/1.jpg"],
        ["Kiwi/train/1.jpg", "Kiwi/test/1.jpg", "Lemon/train/1.jpg"],
        ["Val d'Isère/1.jpg", "Photos de pommes/1.jpg"],
        [],
    ],
)
def test_folders_of_pictures_are_categories(paths: list[str]) -> None:
    assert misfit_of(*paths) is None


@pytest.mark.parametrize(
    ("paths", "meant"),
    [
        (["train/Kiwi/1.jpg", "val/Kiwi/1.jpg"], ["train", "val"]),
        (["val/Kiwi/1.jpg", "val/Kiwi/2.jpg", "Train/Kiwi/1.jpg"], ["Train", "val"]),
        (
            ["training_set/training_set/cats/1.jpg", "test_set/test_set/cats/1.jpg"],
            ["training_set/training_set", "test_set/test_set"],
        ),
        (
            ["Training/Kiwi/1.jpg", "Test/Kiwi/1.jpg", "test-multiple_fruits/1.jpg", "papers/a.pdf"],
            ["Training", "Test"],
        ),
        (
            ["fruits-360/Training/Kiwi/1.jpg", "fruits-360/Test/Kiwi/1.jpg", "fruits-360/readme.md"],
            ["fruits-360/Training", "fruits-360/Test"],
        ),
        (
            [
                "a/fruits-360/test-multiple_fruits/1.jpg",
                "a/fruits-360/Training/Kiwi/1.jpg",
                "a/fruits-360/Test/Kiwi/1.jpg",
            ],
            ["a/fruits-360/Training", "a/fruits-360/Test"],
        ),
        (["seg_train/seg_train/sea/1.jpg", "seg_pred/seg_pred/1.jpg"], ["seg_train/seg_train"]),
        (["train2017/Kiwi/1.jpg", "Kiwi/1.jpg"], ["train2017"]),
        (["flower_photos/daisy/1.jpg", "flower_photos/LICENSE.txt"], ["flower_photos"]),
        (
            ["fruits/Kiwi/1.jpg", "fruits/Kiwi/2.jpg", "vegetables/Leek/1.jpg", "samples/1.jpg"],
            ["fruits", "vegetables"],
        ),
        (["Images/n02-Pug/1.jpg", "Annotation/n02-Pug/1"], ["Images"]),
        (["Kiwi/left/1.jpg", "Kiwi/right/1.jpg"], ["Kiwi"]),
        (["train/Kiwi/1.jpg", "train/Kiwi/left/1.jpg", "train/Kiwi/left/2.jpg", "train/_annotations.csv"], ["train"]),
    ],
)
def test_the_folder_that_was_meant_is_found_below(paths: list[str], meant: list[str]) -> None:
    found = misfit_of(*paths)
    assert found is not None
    assert list(found[1]) == meant


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        # Roboflow's exports for YOLO and for COCO, and the layouts of YOLO, COCO, VOC and Oxford's pets.
        (
            ["train/images/1.jpg", "train/labels/1.txt", "valid/images/1.jpg", "valid/labels/1.txt"],
            "'train' and 'valid' look like parts",
        ),
        (
            ["train/1.jpg", "train/_annotations.coco.json", "valid/1.jpg"],
            "'train' and 'valid' look like parts of a dataset, not like categories",
        ),
        (["images/train/1.jpg", "labels/train/1.txt"], "'images' looks like a part of a dataset, not like a category"),
        (
            ["train2017/1.jpg", "val2017/1.jpg", "annotations/instances_train2017.json"],
            "'train2017' and 'val2017' look like parts",
        ),
        (["JPEGImages/1.jpg", "Annotations/1.xml", "ImageSets/Main/train.txt"], "'JPEGImages' looks like a part"),
        (
            ["images/1.jpg", "annotations/trimaps/1.png", "annotations/xmls/1.xml"],
            "'annotations' and 'images' look like parts",
        ),
        (["Kiwi/1.jpg", "labels/1.txt"], "'labels' holds no pictures (the first file is 'labels/1.txt')"),
        (["docs/1.md", "labels/1.txt"], "'docs' and 'labels' hold no pictures (the first file is 'docs/1.md')"),
    ],
)
def test_a_dataset_without_a_folder_of_categories_is_told_from_one(paths: list[str], why: str) -> None:
    found = misfit_of(*paths)
    assert found is not None
    assert found[0].startswith(why)
    assert found[1] == ()


def test_many_folders_are_found_fast_and_few_are_named() -> None:
    paths = [f"fruits/{number:05}/{view}/1.jpg" for number in range(5_000) for view in ("left", "right")]
    found = misfit_of(*paths)
    assert found is not None
    assert len(found[1]) == 5_000


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "'a'"),
        (["a", "b"], "'a' and 'b'"),
        (["a", "b", "c", "d", "e"], "'a', 'b', 'c' and 2 more"),
        (["a\tb"], r"'a\tb'"),
    ],
)
def test_names_are_listed_as_a_sentence_has_them(names: list[str], text: str) -> None:
    assert listed(names) == text
