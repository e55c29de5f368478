"""Where the project's files are, and which AWS account the local cloud plays."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parent.parent
# moto's, whose ARNs the local EMR answers with.
ACCOUNT: Final = "123456789012"
