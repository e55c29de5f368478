"""Says where the project's files are, and which AWS account the local cloud plays."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parent.parent
# The account is moto's, because the local EMR answers with moto's ARNs.
ACCOUNT: Final = "123456789012"
