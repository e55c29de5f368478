"""What the pages say is what the code has."""

from __future__ import annotations

import json
import os
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fruit_pipeline.setting_fields import declaration_of
from fruit_pipeline.settings import VARIABLES, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS_PAGE = Path(__file__).resolve().parent.parent / "docs/settings.md"
MARKER = "<!-- settings, written by tests/test_docs.py -->\n"


def test_the_page_of_settings_says_what_the_code_declares() -> None:
    """`FRUITS_WRITE_DOCS=1` writes the table anew."""
    before, table, after = SETTINGS_PAGE.read_text(encoding="utf-8").split(MARKER)
    declared = "".join(f"{line}\n" for line in _settings_table())
    if os.environ.get("FRUITS_WRITE_DOCS"):
        SETTINGS_PAGE.write_text(MARKER.join([before, declared, after]), encoding="utf-8")
    else:
        assert table == declared


def test_every_setting_says_what_it_is_for_and_accepts_its_default() -> None:
    for field in fields(Settings):
        declared = declaration_of(field)
        assert declared.meaning, field.name
        assert field.default is not MISSING, field.name
        if field.default != "":
            assert declared.kind.read(_text_of(field.default)) == field.default, field.name


def _settings_table() -> Iterator[str]:
    yield "| variable | default | unit | what it does | what it may hold |"
    yield "| --- | --- | --- | --- | --- |"
    for field in fields(Settings):
        declared = declaration_of(field)
        if declared.part:
            yield f"| **{declared.part}** | | | | |"
        default = f"`{_text_of(field.default)}`" if field.default != "" else "none"
        yield f"| `{VARIABLES[field.name]}` | {default} | {declared.unit} | {declared.meaning} | {declared.kind.allowed} |"


def _text_of(default: Any) -> str:
    """What a variable would hold to say the same."""
    if isinstance(default, tuple):
        return json.dumps(dict(default))
    return f"{default:g}" if isinstance(default, float) else str(default)
