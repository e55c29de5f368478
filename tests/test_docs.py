"""What the pages say is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from fruit_pipeline.settings import VARIABLES, Settings

DOCS = Path(__file__).resolve().parent.parent / "docs"
ROW = re.compile(r"\| `(?P<name>FRUITS_[A-Z_]+)` \| (?P<default>[^|]+) \|")


def test_the_operations_manual_has_every_setting_with_its_default() -> None:
    rows = {row["name"]: row["default"].strip().strip("`") for row in ROW.finditer((DOCS / "operations.md").read_text(encoding="utf-8"))}
    assert sorted(rows) == sorted(VARIABLES.values())
    defaults = Settings()
    for name, variable in VARIABLES.items():
        default = getattr(defaults, name)
        if isinstance(default, (int, float)):
            assert float(rows[variable]) == default, variable
        elif isinstance(default, str) and default:
            assert rows[variable] == default, variable
