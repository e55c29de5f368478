"""Checks that the pages say what the code has."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import pytest

from fruit_pipeline.planning.estimate import (
    PROJECTION_VCPU_SECONDS_PER_MILLION,
    REFIT_VCPU_SECONDS_PER_MILLION,
    REFIT_VCPU_SECONDS_PER_THOUSAND_FILES,
)
from fruit_pipeline.setting_fields import declaration_of
from fruit_pipeline.settings import VARIABLES, Settings
from local_cloud.page_table import PageTable, is_to_be_written
from local_cloud.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = "<!-- settings, written by tests/test_docs.py -->"
VCPUS_OF_THE_BENCHMARKS_MACHINE = 4
TABLE = PageTable(PROJECT / "docs" / "settings.md", MARKER, MARKER)


def test_the_page_of_settings_says_what_the_code_declares() -> None:
    """`FRUITS_WRITE_DOCS=1` writes the table anew."""
    declared = "".join(f"{line}\n" for line in _settings_table())
    if is_to_be_written():
        TABLE.write(declared)
    assert TABLE.read() == declared


def test_every_setting_says_what_it_is_for_and_accepts_its_default() -> None:
    for field in fields(Settings):
        declared = declaration_of(field)
        assert declared.meaning, field.name
        assert field.default is not MISSING, field.name
        if field.default != "":
            assert declared.kind.read(_text_of(field.default)) == field.default, field.name


def test_the_model_counts_what_the_saved_benchmarks_measured() -> None:
    history, pca = (
        (PROJECT / f"benchmarks/results/{name}-full.md").read_text(encoding="utf-8") for name in ("history", "pca")
    )
    per_million, per_thousand, per_20_000 = (
        float(row[1])
        for row in (
            re.search(r"^\| projecting, per million images \| ([\d.]+) \|$", history, re.MULTILINE),
            re.search(r"^\| projecting, per 1,000 partitions .* \| ([\d.]+) \|$", history, re.MULTILINE),
            re.search(r"^\| ours: project \| ([\d.]+) \|", pca, re.MULTILINE),
        )
        if row
    )
    measured = (per_million, per_thousand, per_20_000 * 50)
    counted = (
        REFIT_VCPU_SECONDS_PER_MILLION,
        REFIT_VCPU_SECONDS_PER_THOUSAND_FILES,
        PROJECTION_VCPU_SECONDS_PER_MILLION,
    )
    assert counted == pytest.approx([seconds * VCPUS_OF_THE_BENCHMARKS_MACHINE for seconds in measured], rel=0.05)


def _settings_table() -> Iterator[str]:
    yield "| variable | default | unit | what it does | what it may hold |"
    yield "| --- | --- | --- | --- | --- |"
    for field in fields(Settings):
        declared = declaration_of(field)
        if declared.part:
            yield f"| **{declared.part}** | | | | |"
        default = f"`{_text_of(field.default)}`" if field.default != "" else "none"
        yield (
            f"| `{VARIABLES[field.name]}` | {default} | {declared.unit} | {declared.meaning} | "
            f"{declared.kind.allowed} |"
        )


def _text_of(default: Any) -> str:
    """Returns what a variable would hold to say the same."""
    if isinstance(default, tuple):
        return json.dumps(dict(default))
    return f"{default:g}" if isinstance(default, float) else str(default)
