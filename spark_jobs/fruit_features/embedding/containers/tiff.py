"""Reads TIFF files, of which the first picture counts."""

from __future__ import annotations

from typing import Final

from fruit_contract.tables import RejectReason
from fruit_features.embedding.containers.container import Container, UnusableFileError
from fruit_features.embedding.containers.tiff_directory import Directory

_PIXEL_TAGS: Final = frozenset({
    254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338,
    339, 340, 341, 347,
    512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 34908, 34909, 34910, 50674,
})  # fmt: skip
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _ROWS = 256, 257, 258, 262, 277, 278
_TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 322, 323, 339
_SUBFILE, _SUB_DIRECTORIES, _REDUCED = 254, 330, 1
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _SIGNED = 0, 1, 2


def open_tiff(content: bytes) -> Container:
    """Keeps the tags that make the pixels of the first picture. Raises UnusableFileError if that is a thumbnail."""
    found = Directory.read(content)
    if found is None:
        return Container(content)
    if found.number(_SUBFILE, 0) & _REDUCED and _SUB_DIRECTORIES in found.entries:
        raise UnusableFileError(
            RejectReason.UNREADABLE, "a raw photo whose first picture is a thumbnail: export it as JPEG"
        )
    width, height = found.number(_WIDTH, 0), found.number(_HEIGHT, 0)
    bits = found.number(_BITS, 1)
    # Pillow inverts levels of up to 8 bits itself, and reads deeper inverted ones in one order of bytes only.
    white_is_zero = bits > 8 and found.number(_PHOTOMETRIC, _BLACK_IS_ZERO) == _WHITE_IS_ZERO
    if white_is_zero:
        found = found.with_number(_PHOTOMETRIC, _BLACK_IS_ZERO)
    rows = min(found.number(_ROWS, height), height)
    in_a_piece = found.number(_TILE_WIDTH, width) * found.number(_TILE_HEIGHT, rows)
    return Container(
        found.only(_PIXEL_TAGS),
        width,
        height,
        found.orientation,
        # A whole strip or tile is unpacked at once.
        extra_bytes=in_a_piece * bits * found.number(_SAMPLES, 1) // 8,
        bits=bits,
        signed=found.number(_SAMPLE_FORMAT, 1) == _SIGNED,
        white_is_zero=white_is_zero,
    )
