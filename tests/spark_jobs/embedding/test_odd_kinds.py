"""Checks what becomes of each kind of odd picture, what it takes, and what becomes of files nobody thought of."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fruit_features.embedding.isolation import decode
from fruit_features.embedding.preprocessing import UnreadableImageError, decode_image
from local_cloud.page_table import PageTable, is_to_be_written
from local_cloud.project import PROJECT
from tests.spark_jobs.embedding.odd_pictures import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = "<!-- kinds -->"
TABLE = PageTable(PROJECT / "docs" / "reliability.md", MARKER, MARKER)
# A process that has only Python, NumPy and Pillow, as the one that decodes apart.
MEASURE = """
import json, sys, time
from pathlib import Path
from fruit_features.embedding.preprocessing import UnreadableImageError, decode_image
from tests.spark_jobs.embedding.odd_pictures import KINDS

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

found = {}
for name, kind in KINDS.items():
    content = kind.content()
    Path("/proc/self/clear_refs").write_text("5")
    started = time.process_time()
    try:
        decode_image(content)
        outcome = "featurised"
    except UnreadableImageError as error:
        outcome = error.reason.value
    found[name] = {"outcome": outcome, "seconds": time.process_time() - started, "megabytes": peak()}
json.dump(found, sys.stdout)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_each_kind_shows_what_it_holds_or_says_why_not(name: str) -> None:
    kind = KINDS[name]
    content = kind.content()

    if kind.shows is None:
        with pytest.raises(UnreadableImageError) as caught:
            decode_image(content)
        assert caught.value.reason in kind.reasons
        assert caught.value.detail
    else:
        shown = kind.shows().convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        # Lossy formats and 8 bits instead of 16 move some levels; a turn, a negative or white in place of a colour move
        # dozens.
        assert np.abs(np.asarray(shown).astype(int) - decode_image(content).pixels).mean() < 6


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_no_kind_takes_more_memory_or_time_than_a_worker_has_for_it(measured: dict[str, Any]) -> None:
    assert {name for name, took in measured.items() if took["megabytes"] > 700 or took["seconds"] > 10} == set()


def test_the_page_on_reliability_tells_what_becomes_of_each_kind(measured: dict[str, Any]) -> None:
    """`FRUITS_WRITE_DOCS=1` writes the table anew; memory and time are those of the machine that did."""
    lines = list(_table(measured))
    if is_to_be_written():
        TABLE.write("".join(f"{line}\n" for line in lines))

    def without_measurements(line: str) -> str:
        return line.rsplit("|", 3)[0]

    assert [without_measurements(line) for line in TABLE.read().splitlines()] == [
        without_measurements(line) for line in lines
    ]


def _table(measured: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of a table, one for each format."""
    yield "| format | kinds | featurised | rejected | most MB | most s of CPU |"
    yield "| --- | ---: | ---: | --- | ---: | ---: |"
    for file_format in sorted({kind.file_format for kind in KINDS.values()}):
        took = [measured[name] for name, kind in KINDS.items() if kind.file_format == file_format]
        reasons = Counter(one["outcome"] for one in took)
        featurised = reasons.pop("featurised", 0)
        rejected = ", ".join(f"{count} `{reason}`" for reason, count in sorted(reasons.items()))
        most = max(one["megabytes"] for one in took), max(one["seconds"] for one in took)
        yield f"| {file_format} | {len(took)} | {featurised} | {rejected} | {most[0]:.0f} | {most[1]:.2f} |"


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """Draws a file of some kind with bytes changed, left out, put in or repeated."""
    content = bytearray(KINDS[draw(st.sampled_from(_SMALL))].content())
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(content) - 1, 0)))
        end = start + draw(st.integers(0, 40))
        # Most of what a decoder may trip over stands in front.
        start, end = (start % 200, end % 240) if draw(st.booleans()) else (start, end)
        match draw(st.sampled_from(["change", "cut", "insert", "repeat", "end"])):
            case "change":
                content[start:end] = draw(st.binary(min_size=1, max_size=8))
            case "cut":
                del content[start:end]
            case "insert":
                content[start:start] = draw(st.binary(max_size=40))
            case "repeat":
                content[start:start] = content[start:end] * draw(st.integers(1, 30))
            case _:
                del content[start:]
    return bytes(content)


_SMALL = [
    name for name, kind in KINDS.items() if kind.shows is not None and "60,000" not in name and "2 MB" not in name
]


@pytest.mark.slow
@settings(
    max_examples=int(os.environ.get("FRUITS_TORTURE_EXAMPLES", "300")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(content=damaged_files())
def test_a_damaged_file_gives_pixels_or_a_reason(content: bytes) -> None:
    # In the other process, so that a crash is found out without ending the tests.
    with contextlib.suppress(UnreadableImageError):
        assert decode(content, apart=True).pixels.shape == (224, 224, 3)
