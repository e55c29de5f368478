"""What a folder of categories holds, and whether it may become an image batch. Looks, and changes nothing.

The layout is that of Fruits-360: one folder a category, the images inside. Files in deeper folders belong to the category too.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fruit_cli.errors import CommandError
from fruit_contract import lake

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST_HEADER: Final = ["file", "subject_id"]
_KEY_LIMIT_BYTES: Final = 1024  # S3's
_LITTER: Final = frozenset({"thumbs.db", "desktop.ini"})
_IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".avif"})
_SPLIT_FOLDERS: Final = frozenset({"training", "test", "validation"})


class DeliveryRefusedError(CommandError):
    """A folder that can't be an image batch. The message names the file or folder, and what to do."""


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """One file to deliver. `file_name` is its path below the category folder, with slashes."""

    path: str
    category: str
    file_name: str
    size_bytes: int


@dataclass(frozen=True)
class DeliveryPlan:
    """One image batch to be. `ignored_files` counts what is left out: hidden files, system litter, other files beside the categories.

    `empty_folders` are folders in which no image was found.
    """

    ingest_date: str
    images: tuple[PlannedImage, ...]
    manifest: Path | None = None
    ignored_files: int = 0
    empty_folders: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        return sum(image.size_bytes for image in self.images)

    @property
    def categories(self) -> list[str]:
        return sorted({image.category for image in self.images})

    def key_of(self, image: PlannedImage) -> str:
        return lake.image_key(self.ingest_date, image.category, image.file_name)


def plan_delivery(directory: Path, ingest_date: str) -> DeliveryPlan:
    """Reads `directory` (names and sizes, not the images) and returns what to deliver, in a stable order.

    Raises:
        DeliveryRefusedError: the folder is missing, empty or malformed.
        LakeNameError: the date is no calendar day.
    """
    lake.parse_ingest_date(ingest_date)
    if not directory.is_dir():
        raise DeliveryRefusedError(f"There is no folder '{directory}'. Name a folder that holds one folder a category.")
    images: list[PlannedImage] = []
    ignored_files = 0
    manifest: Path | None = None
    loose_images: list[str] = []
    empty_folders: list[str] = []
    for entry in _sorted_entries(str(directory)):
        if entry.name == lake.MANIFEST:
            manifest = Path(entry.path)
        elif _is_left_out(entry.name):
            ignored_files += 1
        elif _is_directory(entry):
            found, left_out = _scan_category(entry, ingest_date)
            images += found
            if not found:
                empty_folders.append(entry.name)
            ignored_files += left_out
        elif Path(entry.name).suffix.lower() in _IMAGE_SUFFIXES:
            loose_images.append(entry.name)
        else:
            ignored_files += 1
    _refuse_loose_images(directory, loose_images)
    if not images:
        raise DeliveryRefusedError(
            f"'{directory}' holds no images. "
            f"Name a folder that holds one folder a category, with the images inside: '{directory}/Kiwi/1.jpg'."
        )
    if manifest:
        check_manifest(manifest)
    return DeliveryPlan(
        ingest_date=ingest_date,
        images=tuple(images),
        manifest=manifest,
        ignored_files=ignored_files,
        empty_folders=tuple(empty_folders),
    )


def check_manifest(path: Path) -> None:
    """Raises DeliveryRefusedError if the manifest isn't a UTF-8 CSV file with the contract's two columns."""
    remedy = f"Its first line must be '{','.join(MANIFEST_HEADER)}', and the file plain UTF-8 without a byte order mark."
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for number, row in enumerate(csv.reader(stream, strict=True), start=1):
                if number == 1 and row != MANIFEST_HEADER:
                    raise DeliveryRefusedError(f"'{path}' begins with '{','.join(row)}'. {remedy}")
                if len(row) != len(MANIFEST_HEADER) or not all(row):
                    raise DeliveryRefusedError(
                        f"Line {number} of '{path}' must hold a file and a subject, not '{','.join(row)}'. Correct it, then deliver again."
                    )
            if stream.tell() == 0:
                raise DeliveryRefusedError(f"'{path}' is empty. {remedy}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DeliveryRefusedError(f"'{path}' can't be read as CSV: {error}. {remedy}") from error
    except OSError as error:
        raise DeliveryRefusedError(f"'{path}' can't be read: {error.strerror}.") from error


def files_named(manifest: bytes) -> set[str]:
    """The files that a manifest assigns to a subject."""
    rows = csv.reader(manifest.decode("utf-8-sig").splitlines())
    return {row[0] for row in rows if row and row != MANIFEST_HEADER}


def _scan_category(folder: os.DirEntry[str], ingest_date: str) -> tuple[list[PlannedImage], int]:
    """The images of one category folder, and how many files are left out."""
    _require_utf8(folder.name, folder.path)
    try:
        category = lake.check_category(folder.name)
    except lake.LakeNameError as error:
        raise DeliveryRefusedError(f"{error} Rename the folder {folder.path!r}.") from error
    images: list[PlannedImage] = []
    ignored_files = 0
    for entry in _walk(folder.path, ancestors=frozenset()):
        relative = entry.path[len(folder.path) + 1 :].replace(os.sep, "/")
        if any(_is_left_out(part) for part in relative.split("/")) or not entry.is_file():
            ignored_files += 1
            continue
        _check_file_name(relative, entry.path, lake.image_key(ingest_date, category, relative))
        images.append(PlannedImage(path=entry.path, category=category, file_name=relative, size_bytes=entry.stat().st_size))
    if category.casefold() in _SPLIT_FOLDERS and images and all("/" in image.file_name for image in images):
        raise DeliveryRefusedError(
            f"'{folder.name}' looks like one of Fruits-360's sets of images, not like a category: deliver '{folder.path}' itself."
        )
    return images, ignored_files


def _walk(folder: str, ancestors: frozenset[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
    """Every file below `folder`, links followed. A link back to a folder it lies in is refused: it would never end."""
    status = Path(folder).stat()
    identity = (status.st_dev, status.st_ino)
    if identity in ancestors:
        raise DeliveryRefusedError(f"'{folder}' links back to a folder it lies in: the images would have no end. Remove that link.")
    for entry in _sorted_entries(folder):
        if _is_directory(entry):
            yield from _walk(entry.path, ancestors | {identity})
        else:
            yield entry


def _sorted_entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            # By bytes, so that the order is the same everywhere, also for names that aren't UTF-8.
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise DeliveryRefusedError(f"'{folder}' can't be read: {error.strerror}. Check its permissions.") from error


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        if entry.is_dir():
            return True
        if entry.is_symlink() and not Path(entry.path).exists():
            raise DeliveryRefusedError(f"'{entry.path}' is a link that leads nowhere. Remove it, or put the image in its place.")
    except OSError as error:
        raise DeliveryRefusedError(f"'{entry.path}' can't be followed: {error.strerror}. Remove that link.") from error
    return False


def _is_left_out(name: str) -> bool:
    return name.startswith((".", "_")) or name.casefold() in _LITTER


def _require_utf8(name: str, path: str) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DeliveryRefusedError(
            f"The name of {os.fsencode(path)!r} is not UTF-8, so it can't be a key in S3. "
            "Rename it (`convmv -f latin1 -t utf8` does it for a whole tree)."
        ) from error


def _check_file_name(relative: str, path: str, key: str) -> None:
    _require_utf8(relative, path)
    if any(ord(character) < 0x20 or character == "\x7f" for character in relative):
        raise DeliveryRefusedError(f"The name of {path!r} holds a line break or another control character. Rename it.")
    if len(key.encode("utf-8")) > _KEY_LIMIT_BYTES:
        raise DeliveryRefusedError(
            f"'{path}' would get a key of more than {_KEY_LIMIT_BYTES} bytes, which S3 doesn't allow. Shorten its name."
        )


def _refuse_loose_images(directory: Path, loose_images: list[str]) -> None:
    if loose_images:
        raise DeliveryRefusedError(
            f"'{directory}' holds images that lie in no category folder ({len(loose_images)}, the first is '{loose_images[0]}'). "
            f"Put each into the folder of its category, as in '{directory}/Kiwi/{loose_images[0]}'; or name the folder above '{directory}'."
        )
