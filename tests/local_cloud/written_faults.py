"""Writes the faults that a local cloud is to commit."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from local_cloud.faults import faults_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from local_cloud.faults import Fault


def write_faults(home: Path, faults: Sequence[Fault]) -> None:
    """Replaces all faults at once, so that nobody reads half of them. Without any fault, removes the file."""
    path = faults_path(home)
    if not faults:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps([asdict(fault) for fault in faults], indent=2), encoding="utf-8")
    temporary.replace(path)
