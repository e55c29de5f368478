from __future__ import annotations

import pytest

from fruit_cli.lake.litter import LeftOutKind, kind_of_file, kind_of_folder


@pytest.mark.parametrize(
    "name",
    [
        *("Thumbs.db", "THUMBS.DB", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "Desktop.ini"),
        *("Icon\r", "Icon\uf00d", "Picasa.ini", "ZbThumbnail.info"),
        *("1.jpg:Zone.Identifier", "1.jpg\uf03aZone.Identifier", "1.jpg:Zone.Identifier:$DATA", "1.jpgZone.Identifier"),
    ],
)
def test_what_a_system_leaves_beside_pictures_is_known(name: str) -> None:
    assert kind_of_file(name) == LeftOutKind.SYSTEM


@pytest.mark.parametrize(
    "name",
    ["@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "#recycle", "lost+found", "@Recently-Snapshot"],
)
def test_folders_of_systems_are_known(name: str) -> None:
    assert kind_of_folder(name) == LeftOutKind.SYSTEM


@pytest.mark.parametrize("name", [".DS_Store", "._1.jpg", ".picasa.ini", "..."])
def test_names_that_begin_with_a_dot_are_hidden(name: str) -> None:
    assert kind_of_file(name) == kind_of_folder(name) == LeftOutKind.HIDDEN


@pytest.mark.parametrize(
    "name",
    [
        "_DSC0001.JPG",
        "_MG_1.jpg",
        "_",
        "Thumbs.jpg",
        "Icon",
        "Icon.png",
        "desktop.jpg",
        "no suffix",
        "1.txt",
        "zone.identifier.jpg",
    ],
)
def test_other_files_are_delivered(name: str) -> None:
    assert kind_of_file(name) is None


def test_a_folder_that_begins_with_an_underscore_is_left_out_and_a_file_is_not() -> None:
    assert kind_of_folder("_old") == LeftOutKind.UNDERSCORE
    assert kind_of_folder("old_") is None
