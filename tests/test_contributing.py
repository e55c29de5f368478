"""Checks that what CONTRIBUTING.md names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PAGE = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# All but what lies in a lake.
FILES = sorted(set(re.findall(r"`(?!code/|runs/)([\w.]+/[\w./-]*)`", PAGE)))
FOLDERS = (".", "plugins", "plugins/fruit_pipeline", "spark_jobs", "spark_jobs/fruit_features")


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_it_names_is_there(name: str) -> None:
    assert any((PROJECT / folder / name).exists() for folder in FOLDERS)


def test_every_target_that_it_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", PAGE, re.MULTILINE)) <= targets
