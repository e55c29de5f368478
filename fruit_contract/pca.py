"""What both sides must know of a PCA."""

from __future__ import annotations

from typing import Final

# One image has no variance.
FEWEST_IMAGES_OF_A_PCA: Final = 2
