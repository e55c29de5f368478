"""Checks the templates: they are found wherever the package lies, are strict about what they are given, and never trust
it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from jinja2 import UndefinedError

import fruit_contract
import fruit_pipeline
from fruit_pipeline.html_page import render_page
from fruit_pipeline.progress.page import message_page

PACKAGE = Path(fruit_pipeline.__file__).parent
CONTRACT = Path(fruit_contract.__file__).parent


def test_templates_are_found_in_a_zip(tmp_path: Path) -> None:
    archive = tmp_path / "plugins.zip"
    with ZipFile(archive, "w") as zipped:
        for package in (PACKAGE, CONTRACT):
            for file in package.rglob("*"):
                if "__pycache__" not in file.parts:
                    zipped.write(file, file.relative_to(package.parent))
    code = "from fruit_pipeline.progress.page import message_page; print(message_page('A title', 'A text.'), end='')"
    environment = {**os.environ, "PYTHONPATH": str(archive)}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert found.stdout == message_page("A title", "A text.")


def test_what_a_template_asks_for_must_be_given() -> None:
    with pytest.raises(UndefinedError, match="'text' is undefined"):
        render_page("message.html.j2", "default-src 'none'", title="A title")


@pytest.mark.parametrize("source", [*PACKAGE.rglob("*.j2"), *PACKAGE.rglob("*.py")], ids=lambda path: path.name)
def test_nothing_is_said_to_be_safe(source: Path) -> None:
    assert not re.search(
        r"\|\s*safe\b|Markup|\{%-?\s*autoescape|autoescape=(?!True)", source.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("template", [*PACKAGE.rglob("*.j2")], ids=lambda path: path.name)
def test_attributes_stand_in_quotes(template: Path) -> None:
    """What is put in between quotes can't leave them; without quotes, a blank would begin another attribute."""
    assert not re.search(r"=\s*\{\{", re.sub(r"\{%.*?%\}", "", template.read_text(encoding="utf-8")))
