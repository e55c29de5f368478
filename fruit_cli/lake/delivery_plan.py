"""Says what a folder of categories holds, and whether it may become an image batch. It changes nothing.

The layout is that of Fruits-360: one folder a category, the images inside. Files in deeper folders belong to the
category too. Every file below a category folder is an image, as the contract has it, except for what `litter` leaves
out.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fruit_cli.errors import CommandError
from fruit_cli.lake.folder_shape import listed, shape_of
from fruit_cli.lake.litter import LeftOutKind, kind_of_file, kind_of_folder
from fruit_contract import lake

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fruit_cli.lake.folder_shape import FolderShape

_SHOWN_CHARACTERS: Final = 100
MANIFEST_HEADER: Final = ["file", "subject_id"]
_IMAGE_SUFFIXES: Final = frozenset(
    {
        *(
            ".jpg",
            ".jpeg",
            ".jpe",
            ".jfif",
            ".png",
            ".webp",
            ".bmp",
            ".gif",
            ".tif",
            ".tiff",
            ".heic",
            ".heif",
            ".avif",
            ".jp2",
            ".jxl",
        ),
        *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
    }
)
_NOT_UTF8: Final = (
    "The name of {!r} is not UTF-8, so it can't be a key in S3. Rename it (`convmv -f latin1 -t utf8` "
    "does it for a whole tree)."
)
_PROBLEMS_NAMED: Final = 8
_EXAMPLES: Final = 3


class DeliveryRefusedError(CommandError):
    """Raised for a folder that can't be an image batch. The message names the file or folder, and what to do."""


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """Describes a file to deliver. `file_name` is its path below the category folder, with slashes."""

    path: str
    category: str
    file_name: str
    size_bytes: int


@dataclass(frozen=True)
class LeftOut:
    """Describes the files and folders that are not delivered for one reason: how many, and the first few by their paths
    below the delivered folder.
    """

    kind: LeftOutKind
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        named = ", ".join(map(repr, self.examples)) + (", …" if self.count > len(self.examples) else "")
        return f"{self.count:,} {self.kind}: {named}"


@dataclass(frozen=True)
class DeliveryPlan:
    """Describes an image batch that is to be delivered. `left_out` is what will not be delivered, by kind; a folder
    counts once, whatever it holds.

    `empty_folders` are folders in which no image was found. `notes` say what may surprise, though nothing is wrong with
    it.
    """

    ingest_date: str
    images: tuple[PlannedImage, ...]
    manifest: Path | None = None
    left_out: tuple[LeftOut, ...] = ()
    empty_folders: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        return sum(image.size_bytes for image in self.images)

    @property
    def categories(self) -> list[str]:
        return sorted({image.category for image in self.images})

    def key_of(self, image: PlannedImage) -> str:
        return lake.image_key(self.ingest_date, image.category, image.file_name)


def plan_delivery(directory: Path, ingest_date: str, *, as_is: bool = False) -> DeliveryPlan:
    """Reads `directory` (names and sizes, not the images) and returns what to deliver, in a stable order.

    `as_is` takes the folders in it for categories whatever they look like.

    Raises:
        DeliveryRefusedError: the folder is missing, empty or malformed.
        LakeNameError: the date is no calendar day.
    """
    lake.parse_ingest_date(ingest_date)
    scan = _Scan(ingest_date)
    try:
        if not directory.is_dir():
            raise DeliveryRefusedError(
                f"There is no folder '{directory}'. Name a folder that holds one folder a category."
            )
        for entry in _sorted_entries(str(directory)):
            scan.look_at(entry)
    except OSError as error:
        raise DeliveryRefusedError(
            f"{error.filename!r} can't be read: {error.strerror}. Correct it, then type the same command."
        ) from error
    shape = shape_of((image.category, image.file_name) for image in scan.images)
    if not as_is:
        _refuse_misfit(directory, shape)
    _refuse_loose_images(directory, scan.loose_images)
    _refuse_problems(scan.problems)
    if not scan.images:
        raise DeliveryRefusedError(
            f"'{directory}' holds no images. "
            f"Name a folder that holds one folder a category, with the images inside: '{directory}/Kiwi/1.jpg'."
        )
    if scan.manifest:
        check_manifest(scan.manifest)
    return DeliveryPlan(
        ingest_date=ingest_date,
        images=tuple(scan.images),
        manifest=scan.manifest,
        left_out=tuple(
            LeftOut(kind, len(names), tuple(names[:_EXAMPLES]))
            for kind in LeftOutKind
            if (names := scan.left_out[kind])
        ),
        empty_folders=tuple(scan.empty_folders),
        notes=tuple(_notes(shape, sorted({image.category for image in scan.images}))),
    )


def check_manifest(path: Path) -> None:
    """Raises DeliveryRefusedError if the manifest isn't a UTF-8 CSV file with the contract's two columns."""
    remedy = (
        f"Its first line must be '{','.join(MANIFEST_HEADER)}', and the file plain UTF-8 without a byte order mark."
    )
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for number, row in enumerate(csv.reader(stream, strict=True), start=1):
                if number == 1 and row != MANIFEST_HEADER:
                    raise DeliveryRefusedError(f"'{path}' begins with '{','.join(row)}'. {remedy}")
                if len(row) != len(MANIFEST_HEADER) or not all(row):
                    raise DeliveryRefusedError(
                        f"Line {number} of '{path}' must hold a file and a subject, not '{','.join(row)}'. Correct it, "
                        "then deliver again."
                    )
            if stream.tell() == 0:
                raise DeliveryRefusedError(f"'{path}' is empty. {remedy}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DeliveryRefusedError(f"'{path}' can't be read as CSV: {error}. {remedy}") from error
    except OSError as error:
        raise DeliveryRefusedError(f"'{path}' can't be read: {error.strerror}.") from error


def files_named(manifest: bytes) -> set[str]:
    """Returns the files that a manifest assigns to a subject."""
    rows = csv.reader(manifest.decode("utf-8-sig").splitlines())
    return {row[0] for row in rows if row and row != MANIFEST_HEADER}


class _Scan:
    """Collects what is found in the folder to deliver. A name that can't be a key is a problem, which is told with the
    others at the end.
    """

    def __init__(self, ingest_date: str) -> None:
        self._ingest_date = ingest_date
        self.images: list[PlannedImage] = []
        self.manifest: Path | None = None
        self.left_out: defaultdict[LeftOutKind, list[str]] = defaultdict(list)
        self.loose_images: list[str] = []
        self.empty_folders: list[str] = []
        self.problems: list[str] = []

    def look_at(self, entry: os.DirEntry[str]) -> None:
        """Takes in an entry that lies directly in the folder."""
        if _is_directory(entry):
            kind = kind_of_folder(entry.name)
            if kind:
                self.left_out[kind].append(f"{entry.name}/")
            else:
                self._look_into_category(entry)
        elif entry.name == lake.MANIFEST:
            self.manifest = Path(entry.path)
        elif kind := kind_of_file(entry.name):
            self.left_out[kind].append(entry.name)
        elif Path(entry.name).suffix.lower() in _IMAGE_SUFFIXES:
            self.loose_images.append(entry.name)
        else:
            self.left_out[LeftOutKind.BESIDE].append(entry.name)

    def _look_into_category(self, folder: os.DirEntry[str]) -> None:
        problem = _problem_of_category(folder)
        if problem:
            self.problems.append(problem)
            return
        n_before = len(self.images)
        for entry, kind in _walk(folder.path, ancestors=frozenset()):
            relative = entry.path[len(folder.path) + 1 :].replace(os.sep, "/")
            if kind:
                self.left_out[kind].append(f"{folder.name}/{relative}" + ("/" if entry.is_dir() else ""))
                continue
            problem = _problem_of_file(relative, entry.path, lake.image_key(self._ingest_date, folder.name, relative))
            if problem:
                self.problems.append(problem)
            else:
                self.images.append(PlannedImage(entry.path, folder.name, relative, entry.stat().st_size))
        if len(self.images) == n_before:
            self.empty_folders.append(folder.name)


def _walk(folder: str, ancestors: frozenset[tuple[int, int]]) -> Iterator[tuple[os.DirEntry[str], LeftOutKind | None]]:
    """Yields every file below `folder`, links followed, with the reason if it is left out. Of a folder that is left out
    it yields only the folder itself.

    Raises DeliveryRefusedError for a link back to a folder it lies in, which would never end, and for folders nested
    deeper than the longest key.
    """
    status = Path(folder).stat()
    identity = (status.st_dev, status.st_ino)
    if identity in ancestors:
        raise DeliveryRefusedError(
            f"'{folder}' links back to a folder it lies in: the images would have no end. Remove that link."
        )
    if len(ancestors) > lake.MOST_KEY_BYTES // len("a/"):
        raise DeliveryRefusedError(
            f"A folder in '{folder[:_SHOWN_CHARACTERS]}…' lies deeper than any key can name it (S3 takes "
            f"{lake.MOST_KEY_BYTES} bytes). Move what lies there up, or leave it out."
        )
    for entry in _sorted_entries(folder):
        if not _is_directory(entry):
            yield entry, kind_of_file(entry.name) or (None if entry.is_file() else LeftOutKind.NO_FILE)
        elif kind := kind_of_folder(entry.name):
            yield entry, kind
        else:
            yield from _walk(entry.path, ancestors | {identity})


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
        # Editors leave hidden links that lead nowhere.
        if entry.is_symlink() and not kind_of_file(entry.name) and not Path(entry.path).exists():
            raise DeliveryRefusedError(
                f"{entry.path!r} is a link that leads nowhere. Remove it, or put the image in its place."
            )
    except OSError as error:
        raise DeliveryRefusedError(f"{entry.path!r} can't be followed: {error.strerror}. Remove that link.") from error
    return False


def _problem_of_category(folder: os.DirEntry[str]) -> str | None:
    if not _is_utf8(folder.name):
        return _NOT_UTF8.format(os.fsencode(folder.path))
    try:
        lake.check_category(folder.name)
    except lake.LakeNameError as error:
        return f"{error} Rename the folder {folder.path!r}."
    return None


def _problem_of_file(relative: str, path: str, key: str) -> str | None:
    if not _is_utf8(relative):
        return _NOT_UTF8.format(os.fsencode(path))
    if lake.has_control_character(relative):
        return f"The name of {path!r} holds a line break, a tab or another control character. Rename it."
    if len(key.encode()) > lake.MOST_KEY_BYTES:
        return (
            f"{path!r} would get a key of more than {lake.MOST_KEY_BYTES} bytes, which S3 doesn't allow. Shorten "
            "its name."
        )
    return None


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_problems(problems: Sequence[str]) -> None:
    if problems:
        more = [f"And {len(problems) - _PROBLEMS_NAMED:,} more like these."] if len(problems) > _PROBLEMS_NAMED else []
        raise DeliveryRefusedError("\n".join([*problems[:_PROBLEMS_NAMED], *more]))


def _refuse_misfit(directory: Path, shape: FolderShape) -> None:
    misfit = shape.misfit()
    if misfit is None:
        return
    first, *others = (f"'{directory}/{folder}'" for folder in misfit.meant) if misfit.meant else ("",)
    if first:
        besides = f" (or {' or '.join(others[:2])}{', …' if len(others) > 2 else ''})" if others else ""
        remedy = f": deliver {first} itself{besides}"
    elif misfit.beside:
        remedy = f". Take {'them' if len(misfit.beside) > 1 else 'it'} out of the folder"
    elif shape.pictures:
        remedy = f". Put the images of each category into a folder of its own, as in '{directory}/Kiwi/1.jpg'"
    else:
        remedy = ". Name a folder that holds one folder a category, with the images inside"
    raise DeliveryRefusedError(
        f"{misfit.why}{remedy}; or say AS_IS=1 (`--as-is`) to deliver each folder in it as a category."
    )


def _notes(shape: FolderShape, categories: Sequence[str]) -> Iterator[str]:
    deep = shape.only_folders()
    if deep:
        yield f"The images of {listed(deep)} lie in deeper folders; the category is the outer one."
    alike = defaultdict(list)
    for category in categories:
        alike[lake.looks_of(category)].append(category)
    for names in alike.values():
        if len(names) > 1:
            # These names look the same, so they are shown in ASCII, where their characters differ.
            yield f"These are {len(names)} categories, which may look like one: {', '.join(map(ascii, names))}."


def _refuse_loose_images(directory: Path, loose_images: list[str]) -> None:
    if loose_images:
        raise DeliveryRefusedError(
            f"'{directory}' holds images that lie in no category folder ({len(loose_images)}, the first is "
            f"{loose_images[0]!r}). Put each into the folder of its category, as in "
            f"'{directory}/Kiwi/{loose_images[0]}'; or name the folder above '{directory}'."
        )
