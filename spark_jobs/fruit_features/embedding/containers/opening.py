"""Opens a file by its format."""

from __future__ import annotations

from fruit_features.embedding.containers.container import MOST_PARTS, Container, refuse_many
from fruit_features.embedding.containers.jpeg import open_jpeg
from fruit_features.embedding.containers.png import open_png
from fruit_features.embedding.containers.tiff import open_tiff


def open_container(content: bytes, file_format: str) -> Container:
    """Cuts a file down to what makes its pixels; `file_format` is what Pillow calls its format.

    Raises:
        UnusableFileError: the header says that no picture can be had of it.
    """
    match file_format:
        case "JPEG":
            return open_jpeg(content)
        case "PNG":
            return open_png(content)
        case "TIFF":
            return open_tiff(content)
        case "WEBP":
            return Container(content, *_webp_size(content))
        case "AVIF" | "HEIF":
            return Container(_without_heif_exif(content))
        case _:
            return Container(content)


# Decoders of WebP and of the HEIF family, which includes AVIF, read everything when a file is opened.


def _webp_size(content: bytes) -> tuple[int, int]:
    """Returns the width and height of the canvas."""
    head = content[12:30].ljust(18, b"\0")
    if head.startswith(b"VP8X"):
        return int.from_bytes(head[12:15], "little") + 1, int.from_bytes(head[15:18], "little") + 1
    if head.startswith(b"VP8L"):
        bits = int.from_bytes(head[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(head[14:16], "little") & 0x3FFF, int.from_bytes(head[16:18], "little") & 0x3FFF


def _without_heif_exif(content: bytes) -> bytes:
    """Hides the file's EXIF under a name that no reader knows: a turn is among the picture's own properties."""
    position = n_boxes = 0
    while position + 8 <= len(content):
        n_boxes += 1
        refuse_many(n_boxes, MOST_PARTS, "boxes")
        length = int.from_bytes(content[position : position + 4], "big")
        if content[position + 4 : position + 8] == b"meta":
            end = position + length
            return content[:position] + content[position:end].replace(b"Exif", b"exif") + content[end:]
        if length < 8:
            break
        position += length
    return content
