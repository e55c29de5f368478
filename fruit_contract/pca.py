"""Holds what both sides must know of a PCA."""

from __future__ import annotations

from typing import Final

# A single image has no variance.
FEWEST_IMAGES_OF_A_PCA: Final = 2
