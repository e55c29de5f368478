"""The frame that the report and the pages of Airflow's UI have in common. Pure.

No page has scripts; what a page puts in as text, it escapes itself.
"""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def html_page(title: str, body: Iterable[str], policy: str, *, style: str = "", renew_seconds: int | None = None) -> str:
    """A self-contained page. `policy` is its Content-Security-Policy, `style` is added to the common one, `renew_seconds` reloads it."""
    renew = [f'<meta http-equiv="refresh" content="{renew_seconds}">'] if renew_seconds else []
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            *renew,
            f"<title>Fruits! {escape(title)}</title>",
            f"<style>{_common_style()}{style}</style>",
            "</head>",
            "<body><main>",
            '<p class="brand">Fruits!</p>',
            *body,
            "</main></body>",
            "</html>",
            "",
        ]
    )


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """Value and label of each, as a row of tiles; nothing if there are none."""
    items = "".join(f"<li><b>{escape(value)}</b><span>{escape(label)}</span></li>" for value, label in facts)
    return f'<ul class="tiles">{items}</ul>' if items else ""


@cache
def _common_style() -> str:
    return (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
