"""Says what a delivery leaves out: what is hidden, and what systems and programs put beside people's pictures."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

# In small letters, as they are compared.
_FILES: Final = frozenset(
    {
        *(
            "thumbs.db",
            "thumbs.db:encryptable",
            "ehthumbs.db",
            "ehthumbs_vista.db",
            "desktop.ini",
            "folder.htt",
        ),  # Windows
        *("icon\r", "icon\uf00d"),  # macOS, and as Samba shows it
        *("picasa.ini", "zbthumbnail.info", "pspbrwse.jbf"),  # Picasa, ZoomBrowser, Paint Shop Pro
        "sthumbs.dat",  # Samsung
    }
)
_FOLDERS: Final = frozenset(
    {
        *("$recycle.bin", "recycler", "recycled", "system volume information"),  # Windows
        *("__macosx", "network trash folder", "temporary items"),  # macOS
        *("@eadir", "@tmp", "#recycle", "#snapshot"),  # Synology
        *("@__thumb", "@recycle", "@recently-snapshot"),  # QNAP
        *("lost+found", "picasaoriginals"),
    }
)
# Windows keeps where a file comes from in a stream beside it. Other systems see that as a file, whose name has a colon,
# Samba's character for it, or neither.
_STREAM: Final = re.compile(r"zone\.identifier(:\$data)?$")


class LeftOutKind(StrEnum):
    """Says why something is left out, in words for the person who delivers."""

    HIDDEN = "hidden (names that begin with '.')"
    SYSTEM = "left there by a system or a program"
    UNDERSCORE = "folders that begin with '_'"
    BESIDE = "beside the category folders"
    NO_FILE = "no files (pipes, sockets, devices)"


def kind_of_file(name: str) -> LeftOutKind | None:
    """Returns why a file of this name is left out, or None if it is delivered."""
    folded = name.casefold()
    if folded in _FILES or _STREAM.search(folded):
        return LeftOutKind.SYSTEM
    return LeftOutKind.HIDDEN if name.startswith(".") else None


def kind_of_folder(name: str) -> LeftOutKind | None:
    """Returns why a folder of this name is left out with all that it holds, or None if it is delivered."""
    if name.casefold() in _FOLDERS:
        return LeftOutKind.SYSTEM
    if name.startswith("_"):
        return LeftOutKind.UNDERSCORE
    return LeftOutKind.HIDDEN if name.startswith(".") else None
