"""A page keeps all that is not between the markers, and none is written that lacks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local_cloud.page_table import PageTable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("end", ["<!-- end -->", "<!-- table -->"])
def test_a_table_takes_the_place_of_the_one_before(tmp_path: Path, end: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n<!-- table -->\nold\n{end}\nafter\n", encoding="utf-8")
    table = PageTable(page, "<!-- table -->", end)
    assert table.read() == "old\n"
    table.write("new\nlines\n")
    assert table.read() == "new\nlines\n"
    assert page.read_text(encoding="utf-8") == f"before\n<!-- table -->\nnew\nlines\n{end}\nafter\n"


@pytest.mark.parametrize(
    "text", ["no marker\n", "<!-- table -->\nno end\n", "<!-- end -->\n<!-- table -->\nno end below\n"]
)
def test_a_page_without_a_place_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"page\.md has no '<!-- table -->' with '<!-- end -->' below it"):
        PageTable(page, "<!-- table -->", "<!-- end -->").write("new\n")
    assert page.read_text(encoding="utf-8") == text
